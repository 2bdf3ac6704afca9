# What the tests, benchmarks and examples need; the library itself needs nothing.
#
# Each is looked for on the machine first, fetched at a pinned revision second; a machine that has neither gets one
# message that says what to do.  -DFETCHCONTENT_SOURCE_DIR_<NAME>=DIR uses a source tree that is there already.
include(FetchContent)

# One message for everything that is missing, so that one installation is enough.
function(weir_missing_dependency name why)
  message(FATAL_ERROR
    "weir: ${name} is not on this machine and ${why}.\n"
    "Run cmake/setup (Debian and Ubuntu), install it by other means, or leave out what needs it: "
    "-DWEIR_BUILD_TESTS=OFF -DWEIR_BUILD_BENCH=OFF -DWEIR_BUILD_EXAMPLES=OFF. The library itself needs nothing.")
endfunction()

# Builds `name` from source as a part of this build: weir_from_source(NAME REVISION...), where REVISION is what
# FetchContent takes.  In a function of its own, so that the flags below hold for that source alone.
function(weir_from_source name)
  string(TOUPPER ${name} upper)
  if(NOT FETCHCONTENT_SOURCE_DIR_${upper})
    message(STATUS "weir: ${name} was not found, fetching it")
    # In a process of its own: a failure to fetch is ours to report.
    set(tree ${CMAKE_BINARY_DIR}/_deps/${name})
    execute_process(
      COMMAND ${CMAKE_COMMAND} "-DNAME=${name}" "-DTREE=${tree}" "-DREVISION=${ARGN}"
              -P ${PROJECT_SOURCE_DIR}/cmake/fetch.cmake
      RESULT_VARIABLE failed OUTPUT_VARIABLE output ERROR_VARIABLE output)
    if(failed)
      file(WRITE ${tree}-fetch.log "${output}")
      weir_missing_dependency(${name} "it could not be fetched (see ${tree}-fetch.log)")
    endif()
    set(FETCHCONTENT_SOURCE_DIR_${upper} ${tree}/src)
  endif()
  string(APPEND CMAKE_CXX_FLAGS " -w")  # our warnings are for our own code
  set(CMAKE_CXX_STANDARD 20)            # libpqxx is to be built in the language level that it is used in
  set(CMAKE_CXX_CLANG_TIDY)
  set(BUILD_SHARED_LIBS OFF)
  set(BENCHMARK_ENABLE_TESTING OFF)
  set(BENCHMARK_ENABLE_INSTALL OFF)
  set(JSON_BuildTests OFF)
  set(CLI11_BUILD_TESTS OFF)
  set(CLI11_BUILD_EXAMPLES OFF)
  set(CLI11_BUILD_DOCS OFF)
  set(SKIP_BUILD_TEST ON)
  set(CMAKE_POLICY_DEFAULT_CMP0077 NEW)  # the values above win over the options of those projects
  FetchContent_Declare(${name} SYSTEM)
  FetchContent_MakeAvailable(${name})
endfunction()

if(WEIR_BUILD_TESTS)
  find_package(Catch2 3.4 CONFIG QUIET)
  if(NOT TARGET Catch2::Catch2WithMain)
    weir_from_source(Catch2 GIT_REPOSITORY https://github.com/catchorg/Catch2.git
                     GIT_TAG fa43b77429ba76c462b1898d6cd2f2d7a9416b14)  # 3.7.1
    FetchContent_GetProperties(Catch2)
    list(APPEND CMAKE_MODULE_PATH ${catch2_SOURCE_DIR}/extras)
  endif()
  include(Catch)
endif()

if(WEIR_BUILD_BENCH)
  find_package(benchmark 1.6 CONFIG QUIET)
  if(NOT TARGET benchmark::benchmark_main)
    weir_from_source(benchmark GIT_REPOSITORY https://github.com/google/benchmark.git
                     GIT_TAG c58e6d0710581e3a08d65c349664128a8d9a2461)  # 1.9.1
  endif()

  # What we are compared with: libraries that distributions package.  One that is not here is left out of the table.
  add_library(weir_peers INTERFACE)
  find_package(TBB CONFIG QUIET)
  if(TARGET TBB::tbb)
    target_link_libraries(weir_peers INTERFACE TBB::tbb)
    target_compile_definitions(weir_peers INTERFACE WEIR_PEER_TBB)
  else()
    message(STATUS "weir: oneTBB was not found: no benchmark compares with it")
  endif()
  find_path(WEIR_MOODYCAMEL blockingconcurrentqueue.h PATH_SUFFIXES concurrentqueue concurrentqueue/moodycamel)
  if(WEIR_MOODYCAMEL)
    target_include_directories(weir_peers SYSTEM INTERFACE ${WEIR_MOODYCAMEL})
    target_compile_definitions(weir_peers INTERFACE WEIR_PEER_MOODYCAMEL)
  else()
    message(STATUS "weir: moodycamel's ConcurrentQueue was not found: no benchmark compares with it")
  endif()
  find_path(WEIR_BOOST_LOCKFREE boost/lockfree/queue.hpp)
  if(WEIR_BOOST_LOCKFREE)
    target_include_directories(weir_peers SYSTEM INTERFACE ${WEIR_BOOST_LOCKFREE})
    target_compile_definitions(weir_peers INTERFACE WEIR_PEER_BOOST)
  else()
    message(STATUS "weir: Boost.Lockfree was not found: no benchmark compares with it")
  endif()
endif()

if(WEIR_BUILD_EXAMPLES)
  find_package(nlohmann_json 3.10 CONFIG QUIET)
  if(NOT TARGET nlohmann_json::nlohmann_json)
    weir_from_source(nlohmann_json GIT_REPOSITORY https://github.com/nlohmann/json.git
                     GIT_TAG 9cca280a4d0ccf0c08f47a99aa71d1b0e52f8d03)  # 3.11.3
  endif()

  find_package(CLI11 2.1 CONFIG QUIET)
  if(NOT TARGET CLI11::CLI11)
    weir_from_source(CLI11 GIT_REPOSITORY https://github.com/CLIUtils/CLI11.git
                     GIT_TAG 6c7b07a878ad834957b98d0f9ce1dbe0cb204fc9)  # 2.4.2
  endif()

  # Packaged by every distribution, and too large or too closely bound to a server to be built here.
  find_package(Boost 1.74 QUIET)
  if(NOT TARGET Boost::headers)
    weir_missing_dependency(Boost "its headers (1.74 or later) are not fetched")
  endif()
  find_package(SQLite3 3.35 QUIET)
  if(NOT TARGET SQLite::SQLite3)
    weir_missing_dependency(SQLite "it is not fetched")
  endif()

  # libpqxx 7.8 does not link into a C++20 program when it was itself built as C++17, so it is passed over.
  find_package(PkgConfig QUIET)
  if(PkgConfig_FOUND)
    pkg_check_modules(libpqxx QUIET IMPORTED_TARGET libpqxx>=6.4)
  endif()
  if(TARGET PkgConfig::libpqxx AND NOT libpqxx_VERSION MATCHES "^7\\.8")
    add_library(weir_libpqxx INTERFACE)
    target_link_libraries(weir_libpqxx INTERFACE PkgConfig::libpqxx)
  else()
    weir_from_source(libpqxx URL https://github.com/jtv/libpqxx/archive/refs/tags/7.10.5.tar.gz
                     URL_HASH SHA256=a827dc8a02f4b6110bce66a56d8d97e4526a5128e2f36fa698fd2b1dfb1b9044)
    add_library(weir_libpqxx INTERFACE)
    target_link_libraries(weir_libpqxx INTERFACE pqxx)
  endif()
endif()
