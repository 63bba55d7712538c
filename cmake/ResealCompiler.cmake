# SPDX-License-Identifier: Apache-2.0
# Language, warnings and hardening for every target, as the interface library reseal-flags.
include(CheckCCompilerFlag)

set(CMAKE_C_STANDARD 17)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
include(CheckPIESupported)
check_pie_supported(LANGUAGES C)

add_library(reseal-flags INTERFACE)
target_compile_definitions(reseal-flags INTERFACE
  _POSIX_C_SOURCE=200809L _DEFAULT_SOURCE
  RESEAL_VERSION="${PROJECT_VERSION}"
  RESEAL_LIBEXECDIR="${CMAKE_INSTALL_FULL_LIBEXECDIR}/reseal")
target_compile_options(reseal-flags INTERFACE
  -Wall -Wextra -Wshadow -Wconversion -Wsign-conversion -Wcast-qual -Wstrict-prototypes
  -Wmissing-prototypes -Wformat=2 -Wvla -Wnull-dereference -fno-common)
if(RESEAL_WERROR)
  target_compile_options(reseal-flags INTERFACE -Werror)
endif()

if(RESEAL_ASAN AND RESEAL_TSAN)
  message(FATAL_ERROR "RESEAL_ASAN and RESEAL_TSAN exclude each other")
elseif(RESEAL_FUZZ)
  if(RESEAL_TSAN OR NOT CMAKE_C_COMPILER_ID STREQUAL Clang)
    message(FATAL_ERROR "RESEAL_FUZZ wants clang, and no RESEAL_TSAN: cmake -DCMAKE_C_COMPILER=clang")
  endif()
  set(sanitizers -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined
      -fno-omit-frame-pointer)
elseif(RESEAL_ASAN)
  set(sanitizers -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer)
elseif(RESEAL_TSAN)
  set(sanitizers -fsanitize=thread -fno-omit-frame-pointer)
endif()
if(sanitizers)
  target_compile_options(reseal-flags INTERFACE ${sanitizers})
  target_link_options(reseal-flags INTERFACE ${sanitizers})
  target_compile_definitions(reseal-flags INTERFACE RESEAL_SANITIZED=1)
else()
  target_compile_options(reseal-flags INTERFACE
    $<$<NOT:$<CONFIG:Debug>>:-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3>)
endif()

foreach(flag -fstack-protector-strong -fstack-clash-protection -fcf-protection=full)
  string(MAKE_C_IDENTIFIER "have${flag}" have)
  check_c_compiler_flag(${flag} ${have})
  if(${have})
    target_compile_options(reseal-flags INTERFACE ${flag})
  endif()
endforeach()
target_link_options(reseal-flags INTERFACE -Wl,-z,relro,-z,now,-z,noexecstack -Wl,--as-needed)
