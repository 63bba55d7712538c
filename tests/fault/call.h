/* SPDX-License-Identifier: Apache-2.0 */
/* One call on its way through the fault module. */
#ifndef RESEAL_TESTS_FAULT_CALL_H
#define RESEAL_TESTS_FAULT_CALL_H

#include <time.h>
#include "script.h"

#define FAULTS_AT_ONCE 8 /* rules that meet in one call */

struct fault_call {
    enum fault_function function;
    /* What of its arguments the faults have to do with; see functions.h. */
    CK_SESSION_HANDLE session;
    CK_SLOT_ID *slot;             /* the caller's number, then the real one */
    CK_SESSION_HANDLE_PTR opened; /* C_OpenSession */
    CK_ULONG_PTR output;          /* the length, count or handle that it gives back */
    CK_SLOT_ID_PTR slots;         /* that are given back, *output of them */
    CK_BBOOL present;             /* only those with a token */
    CK_SLOT_INFO_PTR slot_info;   /* each of these is filled by one function */
    CK_TOKEN_INFO_PTR token_info;
    CK_INFO_PTR info;
    CK_SESSION_INFO_PTR session_info;
    CK_ATTRIBUTE_PTR rows;
    CK_ULONG row_count;
    bool private_key;            /* an operation with a private key */
    CK_MECHANISM_PTR derivation; /* C_DeriveKey */
    /* What becomes of it. */
    struct fault_rule rules[FAULTS_AT_ONCE];
    size_t rule_count;
    bool real;  /* the real module is called */
    bool gone;  /* the token was away when the call began */
    bool claim; /* counts as an open session before it is one */
    CK_ULONG slot_shift;
    CK_SLOT_ID real_slot;
    struct timespec not_before; /* monotonic; it does not end earlier */
};

/* The real module's functions; NULL before the first C_Initialize. */
extern CK_FUNCTION_LIST_PTR fault_real;

/* True: the real module is to be called now, and fault_call_end must follow at once. */
bool fault_call_begin(struct fault_call *call, CK_RV *rv);
/* The answer to give, for that of the real module or of fault_call_begin. */
CK_RV fault_call_end(struct fault_call *call, CK_RV rv);

/* -- lies.c -- */
/* Writes over what the call gives back. `room`: the length of each row's value before that. */
void fault_call_lie(const struct fault_call *call, const CK_ULONG *room);

#endif
