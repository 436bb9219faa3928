# Videos, for `tern detect --input`: FFmpeg's libraries. Their headers are needed here; the libraries, with the hundred
# that they need themselves, are loaded when a video is opened (vision/video/ffmpeg.c).
add_library(tern_video_libraries INTERFACE)
if(PKG_CONFIG_FOUND)
  pkg_check_modules(FFMPEG QUIET libavformat libavcodec libswscale libavutil)
endif()
if(FFMPEG_FOUND)
  message(STATUS "FFmpeg: found")
  target_include_directories(tern_video_libraries SYSTEM INTERFACE ${FFMPEG_INCLUDE_DIRS})
  target_compile_definitions(tern_video_libraries INTERFACE HAVE_FFMPEG=1)
  target_link_libraries(tern_video_libraries INTERFACE ${CMAKE_DL_LIBS})
else()
  message(STATUS "FFmpeg: not found, so `tern detect --input` reads no videos "
                 "(apt install libavformat-dev libavcodec-dev libswscale-dev libavutil-dev)")
endif()
