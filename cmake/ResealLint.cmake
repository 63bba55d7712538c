# SPDX-License-Identifier: Apache-2.0
# `format`, `format-check` and `lint` as targets; reseal_lint_tests() makes tests of them.
file(GLOB_RECURSE reseal_c_files CONFIGURE_DEPENDS
     ${PROJECT_SOURCE_DIR}/include/*.h ${PROJECT_SOURCE_DIR}/src/*.[ch]
     ${PROJECT_SOURCE_DIR}/hsm/*.[ch] ${PROJECT_SOURCE_DIR}/tests/*.[ch])

find_program(CLANG_FORMAT NAMES clang-format-14 clang-format)
if(CLANG_FORMAT)
  set(reseal_format_check ${CLANG_FORMAT} --dry-run --Werror ${reseal_c_files})
  add_custom_target(format COMMAND ${CLANG_FORMAT} -i ${reseal_c_files} VERBATIM)
  add_custom_target(format-check COMMAND ${reseal_format_check} VERBATIM)
endif()

find_program(CPPCHECK cppcheck)
if(CPPCHECK)
  # Not gnu.cfg, which says that accept4() takes no NULL. hsm/module.c: a token's module stays
  # loaded until the process ends, on purpose. LOG_TEXT() asks of every text whether it is NULL, of
  # literals too.
  set(reseal_lint ${CPPCHECK} --project=${CMAKE_BINARY_DIR}/compile_commands.json --quiet
      --error-exitcode=1 --enable=warning,portability,performance --inline-suppr --std=c11
      --library=posix,openssl,sqlite3,libcurl
      --library=${PROJECT_SOURCE_DIR}/cmake/cppcheck.cfg --suppress=missingIncludeSystem
      --suppress=resourceLeak:*/hsm/module.c --suppress=incorrectStringBooleanError)
  add_custom_target(lint COMMAND ${reseal_lint} VERBATIM)
endif()

find_program(SHELLCHECK shellcheck)

# Tests that look at the sources, and at what the programs are linked with. What is not installed is
# told, not passed over in silence; tests/run installs all of it.
function(reseal_lint_tests)
  set(missing)
  # Releases of both tools differ in what they find and how they format: those of Debian 12 count.
  set(version)
  if(CPPCHECK)
    execute_process(COMMAND ${CPPCHECK} --version OUTPUT_VARIABLE version)
  endif()
  if(version MATCHES "Cppcheck 2\\.10")
    add_test(NAME lint-cppcheck COMMAND ${reseal_lint})
  else()
    list(APPEND missing "cppcheck 2.10")
  endif()

  set(version)
  if(CLANG_FORMAT)
    execute_process(COMMAND ${CLANG_FORMAT} --version OUTPUT_VARIABLE version)
  endif()
  if(version MATCHES "version 14\\.")
    add_test(NAME lint-format COMMAND ${reseal_format_check})
  else()
    list(APPEND missing "clang-format 14")
  endif()

  find_program(PYTHON3 NAMES python3 PATHS /usr/bin NO_DEFAULT_PATH REQUIRED)
  add_test(NAME lint-layers COMMAND ${PYTHON3} -B ${PROJECT_SOURCE_DIR}/scripts/lint-layers.py
           ${PROJECT_SOURCE_DIR} ${CMAKE_BINARY_DIR}/bin)

  if(SHELLCHECK)
    file(GLOB scripts CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/scripts/*.sh ${PROJECT_SOURCE_DIR}/docker/*.sh)
    add_test(NAME lint-shell COMMAND ${SHELLCHECK} ${PROJECT_SOURCE_DIR}/quickstart
             ${PROJECT_SOURCE_DIR}/tests/run ${PROJECT_SOURCE_DIR}/tests/fuzz/run
             ${PROJECT_SOURCE_DIR}/.ci/run ${scripts})
  else()
    list(APPEND missing shellcheck)
  endif()

  if(missing)
    list(JOIN missing ", " missing)
    message(WARNING "Not installed, so these tests are left out: ${missing}")
  endif()
endfunction()
