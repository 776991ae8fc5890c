# The dashboard's part of the build, included by CMakeLists.txt: finds Node, installs what the bundle is made of into
# the build tree (never into the source tree), bundles, and compiles the result into the server's library.
set(ORCHESTRATOR_DASHBOARD "AUTO" CACHE STRING "Build the web dashboard: AUTO (if Node and npm can), ON or OFF")
set_property(CACHE ORCHESTRATOR_DASHBOARD PROPERTY STRINGS AUTO ON OFF)

set(dashboard_source ${CMAKE_SOURCE_DIR}/src/dashboard)
set(dashboard_build ${CMAKE_BINARY_DIR}/dashboard)
file(MAKE_DIRECTORY ${dashboard_build})

# Why it cannot be built, into `why`; empty if it can. What was installed for the same lockfile is kept.
function(prepare_dashboard why)
  set(${why} "" PARENT_SCOPE)
  find_program(NODE_PROGRAM node)
  find_program(NPM_PROGRAM npm)
  if(NOT NODE_PROGRAM OR NOT NPM_PROGRAM)
    set(${why} "there is no node with npm (scripts/setup installs them)" PARENT_SCOPE)
    return()
  endif()
  execute_process(COMMAND ${NODE_PROGRAM} --version OUTPUT_VARIABLE version OUTPUT_STRIP_TRAILING_WHITESPACE
    ERROR_QUIET)
  string(REGEX REPLACE "^v" "" version "${version}")
  if(NOT version OR version VERSION_LESS 18)
    set(${why} "${NODE_PROGRAM} is version '${version}', and 18 or newer is needed" PARENT_SCOPE)
    return()
  endif()
  file(SHA256 ${dashboard_source}/package-lock.json wanted)
  set(stamp ${dashboard_build}/installed)
  set(installed "")
  if(EXISTS ${stamp})
    file(READ ${stamp} installed)
  endif()
  if(installed STREQUAL wanted)
    return()
  endif()
  file(REMOVE ${stamp})
  foreach(name package.json package-lock.json .npmrc)
    configure_file(${dashboard_source}/${name} ${dashboard_build}/${name} COPYONLY)
  endforeach()
  message(STATUS "Dashboard: `npm ci` installs what it is bundled with; without a registry this fails within a minute")
  execute_process(COMMAND ${NPM_PROGRAM} ci --ignore-scripts --omit=dev --loglevel=error --fetch-retries=1
    --fetch-timeout=15000
    WORKING_DIRECTORY ${dashboard_build} RESULT_VARIABLE failed OUTPUT_VARIABLE said ERROR_VARIABLE said TIMEOUT 300)
  if(failed)
    string(REGEX REPLACE "\n.*" "" said "${said}")
    set(${why} "`npm ci` failed (is there a registry?): ${said}" PARENT_SCOPE)
    return()
  endif()
  file(WRITE ${stamp} ${wanted})
endfunction()

set(dashboard_obstacle "ORCHESTRATOR_DASHBOARD is OFF")
if(NOT ORCHESTRATOR_DASHBOARD STREQUAL "OFF")
  prepare_dashboard(dashboard_obstacle)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${dashboard_source}/package-lock.json)
endif()

set(dashboard_generated ${dashboard_build}/dashboard_files.cpp)
if(dashboard_obstacle STREQUAL "")
  message(STATUS "Dashboard: built in")
  file(GLOB dashboard_files CONFIGURE_DEPENDS ${dashboard_source}/*.ts ${dashboard_source}/*.tsx
    ${dashboard_source}/*.css ${dashboard_source}/*.html ${dashboard_source}/*.mjs ${dashboard_source}/*.json)
  add_custom_command(OUTPUT ${dashboard_generated}
    COMMAND ${NODE_PROGRAM} ${dashboard_source}/build.mjs ${dashboard_build}
    DEPENDS ${dashboard_files} ${dashboard_build}/installed
    COMMENT "Bundling the dashboard" VERBATIM)
elseif(ORCHESTRATOR_DASHBOARD STREQUAL "ON")
  message(FATAL_ERROR "Dashboard: cannot be built, and ORCHESTRATOR_DASHBOARD is ON: ${dashboard_obstacle}")
else()
  message(STATUS "Dashboard: NOT built in: ${dashboard_obstacle}")
  configure_file(${dashboard_source}/no_dashboard.cpp.in ${dashboard_build}/no_dashboard.cpp COPYONLY)
  set(dashboard_generated ${dashboard_build}/no_dashboard.cpp)
endif()
target_sources(orchestrator_server PRIVATE ${dashboard_generated})
