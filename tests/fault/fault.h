/* SPDX-License-Identifier: Apache-2.0 */
/* clang-format off */
/*
 * libreseal-fault.so: a PKCS#11 module for tests. It forwards every call to a real module, and by a
 * script answers some of them otherwise, lies, delays, hangs or dies.
 *
 * The script is a text, one statement a line, '#' begins a comment. It is read from the file that
 * the environment variable RESEAL_FAULT names, and again whenever that file is another one (replace
 * it by rename, not in place); a test in the same process sets it by fault_control.set. A script
 * with an error is told on standard error: C_Initialize fails, and so does every call later on.
 *
 *   module PATH             the real module; stays the same for the life of the process
 *   log PATH FUNCTION...    appends a line "PID FUNCTION CKR_NAME real|fault" for each call of these
 *                           functions, when it returns; * is all of them
 *   private-key-delay MS    C_UnwrapKey, C_Decrypt and C_Sign take so much longer; the delay holds no
 *                           lock, so that sessions wait at once, as with a network HSM
 *   private-key-time MS     they take so long altogether: what the real module leaves of it is waited
 *                           for, in the same way
 *   sessions-max N          C_OpenSession answers CKR_SESSION_COUNT while N are open
 *   text-max N              C_DeriveKey takes no string of more than N bytes (CKR_DATA_LEN_RANGE)
 *   gone                    the token is away: all its sessions end, with them the login
 *   slot +N                 the token comes back in another slot: its number is higher by N
 *   FUNCTION CALLS [of ATTRIBUTE] FAULT [late] [once]
 *
 * CALLS counts from the moment at which the script was read, per rule and process: "3", "3..5",
 * "from 3" or "*". "of CKA_VALUE" is for C_GetAttributeValue alone: calls that ask for it are meant
 * and counted. Several rules may meet in one call. FAULT is one of
 *
 *   return CKR [EFFECT...]  instead of the call (the same: before CKR)
 *   after CKR [EFFECT...]   after the call was made; a session that it opened is closed again
 *   delay MSms              and then the call
 *   hang                    until another script is set in this process
 *   die, abort              _exit(FAULT_EXIT), abort()
 *   length N                the length, count or handle that the call gives back: N, +N or -N of the
 *                           true one, or "unavailable" (CK_UNAVAILABLE_INFORMATION)
 *   value HEX               what the attribute's value is said to be (with "of")
 *   garbage FIELD           label, serial, manufacturer or model (C_GetTokenInfo), or library
 *                           (C_GetInfo), without an end and no UTF-8
 *   flags CKF...            that the token has as well (C_GetTokenInfo); CKF_USER_PIN_... and others
 *
 * EFFECT is "logout", "close" or "close-all" and is done to the real session that the call is
 * about. "late" lets delay, hang, die and abort come after the call. "once" is once for all
 * processes: the first to get there makes the file SCRIPT.once-LINE (with set(): once per set).
 *
 * CKR and CKA are names of the standard, or numbers (0x7777, CKR_VENDOR_DEFINED+0x12). For example:
 *
 *   module /usr/lib/softhsm/libsofthsm2.so
 *   C_UnwrapKey 3 return CKR_DEVICE_ERROR
 *   C_Decrypt from 2 after CKR_USER_NOT_LOGGED_IN logout
 *   C_WrapKey * delay 25ms
 *   C_UnwrapKey 2 hang once
 *   C_GetAttributeValue * of CKA_SENSITIVE value 00
 */
/* clang-format on */
#ifndef RESEAL_TESTS_FAULT_H
#define RESEAL_TESTS_FAULT_H

#include <stdbool.h>
#include <stddef.h>

#define FAULT_EXIT 77 /* status of a process that "die" ends */

struct fault_counter {
    const char *function;
    unsigned long calls;   /* that came in */
    unsigned long reached; /* of these, those that the real module saw */
};

/* The module's symbol `reseal_fault_control`, found by dlsym. */
struct fault_control {
    /* False, with a word on standard error, where the script has an error. A script without a
     * "module" keeps the module of before. Counting for CALLS begins anew; counters go on. */
    bool (*set)(const char *script);
    /* Counters of all functions into `out`; how many there are. */
    size_t (*counters)(struct fault_counter *out, size_t max);
    unsigned long (*calls)(const char *function);
    unsigned long (*reached)(const char *function);
    /* All counters, and that of faults, to zero. */
    void (*reset)(void);
    /* How often a rule, the limit of sessions or an absent token has changed something. */
    unsigned long (*faults)(void);
    /* Sessions that were opened for the caller, and neither closed nor ended by an answer that says
     * so. */
    size_t (*sessions)(void);
    /* What was left for C_Finalize to end, since the last reset. */
    size_t (*left_open)(void);
};

#define FAULT_CONTROL       "reseal_fault_control"
#define FAULT_FUNCTIONS_MAX 80

#endif
