# SPDX-License-Identifier: Apache-2.0
# `format`, `format-check` and `lint` as targets.
file(GLOB_RECURSE reseal_c_files CONFIGURE_DEPENDS
     ${PROJECT_SOURCE_DIR}/include/*.h ${PROJECT_SOURCE_DIR}/src/*.[ch]
     ${PROJECT_SOURCE_DIR}/hsm/*.[ch] ${PROJECT_SOURCE_DIR}/tests/*.[ch])
find_program(CLANG_FORMAT clang-format)
if(CLANG_FORMAT)
  add_custom_target(format COMMAND ${CLANG_FORMAT} -i ${reseal_c_files} VERBATIM)
  add_custom_target(format-check COMMAND ${CLANG_FORMAT} --dry-run --Werror ${reseal_c_files} VERBATIM)
endif()
find_program(CPPCHECK cppcheck)
if(CPPCHECK)
  add_custom_target(lint
    COMMAND ${CPPCHECK} --project=${CMAKE_BINARY_DIR}/compile_commands.json --quiet --error-exitcode=1
            --enable=warning,portability,performance --inline-suppr --std=c11 --check-library
            --suppress=missingIncludeSystem --suppress=checkLibraryFunction
            --suppress=checkLibraryNoReturn --suppress=checkLibraryUseIgnore
            --suppress=checkLibraryCheckType
    VERBATIM)
endif()
