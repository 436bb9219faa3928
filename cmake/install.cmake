# Headers, both libraries, the command, a pkg-config file and a CMake package.
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/tern)
install(DIRECTORY include/tern DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")
install(TARGETS tern_static tern_shared EXPORT tern
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(TARGETS tern RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(EXPORT tern NAMESPACE tern:: FILE tern-targets.cmake DESTINATION ${package_dir})

configure_package_config_file(cmake/tern-config.cmake.in tern-config.cmake INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(tern-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/tern-config.cmake ${CMAKE_BINARY_DIR}/tern-config-version.cmake
  DESTINATION ${package_dir})

# The paths in tern.pc are relative to the file, so the tree may be moved.
file(RELATIVE_PATH TERN_PC_PREFIX /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
string(REGEX REPLACE "/$" "" TERN_PC_PREFIX "${TERN_PC_PREFIX}")
configure_file(cmake/tern.pc.in tern.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/tern.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
