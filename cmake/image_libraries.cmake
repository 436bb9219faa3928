# Picture formats beyond those that need no library (BMP, PNM). Each one found defines HAVE_<NAME>; what is missing is
# said once, with the Debian package that brings it, and the formats are then refused by name at run time.
find_package(PkgConfig)
add_library(tern_image_libraries INTERFACE)

# Defines HAVE_<name> and <name>_SONAME for a library that is loaded when it is needed (vision/library): "libtiff.so.6" for
# .../libtiff.so.
function(tern_loaded_library target scope name file)
  execute_process(COMMAND ${CMAKE_OBJDUMP} -p ${file} OUTPUT_VARIABLE headers ERROR_QUIET)
  if(NOT headers MATCHES "SONAME +([^\n ]+)")
    message(FATAL_ERROR "${file} is no shared library (${CMAKE_OBJDUMP} -p says no SONAME)")
  endif()
  target_compile_definitions(${target} ${scope} HAVE_${name}=1 ${name}_SONAME="${CMAKE_MATCH_1}")
  target_link_libraries(${target} ${scope} ${CMAKE_DL_LIBS})
endfunction()

function(tern_image_library name package debian)
  if(PKG_CONFIG_FOUND)
    pkg_check_modules(${name} QUIET IMPORTED_TARGET ${package})
  endif()
  if(NOT ${name}_FOUND)
    message(STATUS "${name}: not found, so ${name} pictures can not be read (apt install ${debian})")
    return()
  endif()
  message(STATUS "${name}: found")
  target_link_libraries(tern_image_libraries INTERFACE PkgConfig::${name})
  target_compile_definitions(tern_image_libraries INTERFACE HAVE_${name}=1)
endfunction()

tern_image_library(JPEG libjpeg libjpeg-dev)
tern_image_library(PNG libpng libpng-dev)

# The others are loaded when they are needed: each one takes time of every start.
function(tern_loaded_package name package debian lost)
  if(PKG_CONFIG_FOUND)
    pkg_check_modules(${name} QUIET ${package})
  endif()
  if(NOT ${name}_FOUND AND name STREQUAL "GIF") # giflib has no pkg-config file in some releases
    find_package(GIF QUIET)
    set(GIF_INCLUDE_DIRS ${GIF_INCLUDE_DIR})
    set(GIF_LINK_LIBRARIES ${GIF_LIBRARY})
  endif()
  if(NOT ${name}_FOUND)
    message(STATUS "${name}: not found, so ${lost} (apt install ${debian})")
    return()
  endif()
  message(STATUS "${name}: found")
  target_include_directories(tern_image_libraries SYSTEM INTERFACE ${${name}_INCLUDE_DIRS})
  list(GET ${name}_LINK_LIBRARIES 0 file)
  tern_loaded_library(tern_image_libraries INTERFACE ${name} "${file}")
endfunction()

tern_loaded_package(WEBP libwebp libwebp-dev "WebP pictures can not be read")
tern_loaded_package(WEBPDEMUX libwebpdemux libwebp-dev "WebP pictures can not be read")
tern_loaded_package(GIF libgif libgif-dev "GIF pictures can not be read")
tern_loaded_package(JPEG2000 libopenjp2 libopenjp2-7-dev "JPEG 2000 pictures can not be read")
tern_loaded_package(TIFF libtiff-4 libtiff-dev "TIFF pictures can not be read")
tern_loaded_package(CAIRO cairo libcairo2-dev "boxes can not be drawn into pictures")
