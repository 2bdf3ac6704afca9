# Installs the headers and the package files by which find_package(weir) makes weir::weir.
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

set(weir_config_dir ${CMAKE_INSTALL_DATADIR}/cmake/weir)

install(TARGETS weir EXPORT weir_targets FILE_SET HEADERS)
install(EXPORT weir_targets NAMESPACE weir:: FILE weirTargets.cmake DESTINATION ${weir_config_dir})
configure_package_config_file(cmake/weirConfig.cmake.in ${PROJECT_BINARY_DIR}/weirConfig.cmake
                              INSTALL_DESTINATION ${weir_config_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/weirConfigVersion.cmake
                                 COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
install(FILES ${PROJECT_BINARY_DIR}/weirConfig.cmake ${PROJECT_BINARY_DIR}/weirConfigVersion.cmake
        DESTINATION ${weir_config_dir})
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DATADIR}/licenses/weir)
