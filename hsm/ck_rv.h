/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CK_RV and mechanism numbers by the names of the standard (PKCS#11 v3.1, sections 5.1 and 6), and
 * what a return value means for whoever must go on.
 */
#ifndef RESEAL_HSM_CK_RV_H
#define RESEAL_HSM_CK_RV_H

#include <p11-kit/pkcs11.h>
#include "reseal/probe_report.h"

#define NO_MECHANISM CK_UNAVAILABLE_INFORMATION
#ifndef CKM_AES_KEY_WRAP_KWP
#define CKM_AES_KEY_WRAP_KWP 0x210bUL /* PKCS#11 v3.0, which p11-kit's header does not have */
#endif

enum ck_class {
    CK_CLASS_FINE,
    CK_CLASS_SESSION_LOST,   /* a new session will do */
    CK_CLASS_LOGIN_LOST,     /* a new session after a new login will do */
    CK_CLASS_TOKEN_GONE,     /* find the token again, open sessions, log in */
    CK_CLASS_FEWER_SESSIONS, /* the token is short of something: go on with less */
    CK_CLASS_RESTART,        /* the module itself is lost: only a new process helps */
    CK_CLASS_MESSAGE_BAD,    /* the bytes of this one message are not what they must be */
    CK_CLASS_NOT_THIS_WAY, /* the token or the key does not do this, or not with these parameters */
    CK_CLASS_PIN,          /* the PIN; never to be tried again without a person */
    CK_CLASS_GENERAL,      /* says nothing: a bad message, or a token in trouble */
};

/* Writes "CKR_DEVICE_ERROR"; a value outside the standard as "CKR_VENDOR_DEFINED+0x12" or
 * "CK_RV 0x12". */
void ck_rv_text(CK_RV rv, char out[static CK_RV_TEXT]);
enum ck_class ck_rv_class(CK_RV rv) MUST_USE;
/* True where the token has closed the session itself (PKCS#11 v3.1, section 5.6: with the token's
 * removal all its sessions end). The handle's number may be another session's by now. */
bool ck_rv_ends_session(CK_RV rv) MUST_USE;
/* True where the trouble is the token's or the session's, whatever the message was. */
bool ck_class_is_trouble(enum ck_class class) MUST_USE;
/* Every value that has a name here, one by one: index 0 to ck_rv_count() - 1. */
size_t ck_rv_count(void) MUST_USE;
CK_RV ck_rv_at(size_t index) MUST_USE;
/* What a person can do about a failure of that class; may be empty. */
const char *ck_class_hint(enum ck_class class) MUST_USE;

/* Name of a mechanism that we use, or NULL. */
const char *ck_mechanism_name(CK_MECHANISM_TYPE mechanism) MUST_USE;
/* Writes "C_UnwrapKey(CKM_RSA_PKCS_OAEP)", or the function's name alone with NO_MECHANISM. */
void ck_call_text(const char *function, CK_MECHANISM_TYPE mechanism, char out[static CK_CALL_TEXT]);

#endif
