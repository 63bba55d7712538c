/* SPDX-License-Identifier: Apache-2.0 */
/* What is behind `struct token` and `struct session`, for the files of hsm/ alone. */
#ifndef RESEAL_HSM_TOKEN_PRIVATE_H
#define RESEAL_HSM_TOKEN_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>
#include "ck_rv.h"
#include "module.h"
#include "reseal/token.h"

struct token {
    struct token_address address; /* with serial, manufacturer and model of the token once found */
    struct module *module;
    CK_FUNCTION_LIST_PTR f;
    struct token_facts facts;    /* all but the slot stay as they were found first */
    size_t pin_min, pin_max;     /* bytes */
    bool login_required;         /* CKF_LOGIN_REQUIRED; without it all objects are seen at once */
    bool pin_pad;                /* CKF_PROTECTED_AUTHENTICATION_PATH */
    _Atomic CK_SLOT_ID slot;     /* a token may come back in another slot */
    pthread_mutex_t lock;        /* guards the anchor, and the order of logins */
    CK_SESSION_HANDLE anchor;    /* open while logged in: the login ends with the last session */
    atomic_bool anchor_doubtful; /* sessions have ended by themselves since the anchor was opened */
    /* See token_before_first_login; NULL after the call. */
    bool (*before_login)(void *context, struct error *err);
    void *before_login_context;
};

struct session {
    struct token *token;
    CK_FUNCTION_LIST_PTR f;
    CK_SESSION_HANDLE handle;
    bool ended;                   /* by the token itself: the handle is not ours any more */
    enum ck_class trouble;        /* class of the last failure that was the token's; FINE: none */
    char call[CK_CALL_TEXT];      /* the call that failed last ... */
    CK_RV rv;                     /* ... and its answer */
    char lost_call[CK_CALL_TEXT]; /* where it is lost: the call by which it was ... */
    CK_RV lost_rv;                /* ... and its answer */
};

/* Text of a PKCS#11 field: cut at NUL, spaces at the end taken away. */
void ck_field_text(const CK_UTF8CHAR *field, size_t size, char *out);
void token_facts_fill(const CK_TOKEN_INFO *info, const CK_INFO *library, CK_SLOT_ID slot,
                      struct token_facts *out);
enum pin_state pin_state_from_flags(CK_FLAGS flags) MUST_USE;

/* The slot of the token that the address names. */
bool token_find_slot(CK_FUNCTION_LIST_PTR f, const struct token_address *address, CK_SLOT_ID *slot,
                     CK_TOKEN_INFO *info, struct error *err) MUST_USE;

/* Whether the token with that info is the one that was found first, and not one with its label. */
bool token_is_same(const struct token *token, const CK_TOKEN_INFO *info) MUST_USE;

/* How many more sessions the token says that it has (PKCS#11 v3.1, section 3.2), at most `most` and
 * at least one: what it says is a hint, C_OpenSession decides. */
unsigned token_session_room(const struct token *token, unsigned most) MUST_USE;

/* Closes the session that holds the login; with the last session the login ends. NULL is allowed.
 */
void token_logout(struct token *token);

/* An error about a call that is not about one message; kind and hint follow from the class. */
bool token_fail(const struct token *token, const char *function, CK_MECHANISM_TYPE mechanism,
                CK_RV rv, struct error *err);
/* True after an answer of the class CK_CLASS_RESTART, whichever call it was. */
bool token_module_lost(const struct token *token) MUST_USE;
/* As token_fail, remembered in the session for session_lost and for the probe. */
bool session_fail(struct session *session, const char *function, CK_MECHANISM_TYPE mechanism,
                  CK_RV rv, struct error *err);
/* A failure while a sealed password was opened: FAIL_TOKEN where the session or the token is in
 * trouble, and the one uniform FAIL_CRYPTO for everything else. */
bool session_fail_message(struct session *session, const char *function,
                          CK_MECHANISM_TYPE mechanism, CK_RV rv, struct error *err);
/* The uniform error itself: every cause reads the same (design: no Manger oracle). */
bool fail_message(struct error *err);
/* The session must not be used again, whatever class that answer is of. */
void session_spoil(struct session *session, const char *function, CK_RV rv);
/* The error about the call by which a lost session was lost, whatever has failed since. */
bool session_fail_lost(struct session *session, struct error *err);

/* session_open, with the answer of the token. */
bool session_try_open(struct token *token, enum session_mode mode, struct session **out,
                      CK_RV *answer, struct error *err) MUST_USE;

/* Whether the user is logged in, as this session sees it, or needs no login. */
bool session_logged_in(struct session *session, bool *out, struct error *err) MUST_USE;

#endif
