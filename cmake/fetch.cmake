# Fetches the source of one dependency: cmake -DNAME= -DTREE= -DREVISION="GIT_REPOSITORY;...;GIT_TAG;..." -P fetch.cmake
cmake_minimum_required(VERSION 3.25)
include(FetchContent)
FetchContent_Populate(${NAME} ${REVISION}
                      SOURCE_DIR ${TREE}/src BINARY_DIR ${TREE}/build SUBBUILD_DIR ${TREE}/fetch QUIET)
