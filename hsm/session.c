/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include "token_private.h"
#include "reseal/log.h"

/* C_OpenSession, where the slot still holds our token: another one may have been put in. */
static CK_RV open_where_same(const struct token *token, CK_SLOT_ID slot, CK_FLAGS flags,
                             CK_SESSION_HANDLE *handle)
{
    CK_TOKEN_INFO info = {0};
    CK_RV rv = token->f->C_GetTokenInfo(slot, &info);
    if (rv != CKR_OK)
        return rv;
    if (!token_is_same(token, &info))
        return CKR_TOKEN_NOT_PRESENT; /* ours is not */
    return token->f->C_OpenSession(slot, flags, NULL, NULL, handle);
}

/* Where the token is not in its slot any more, it is looked for in the others. */
static CK_RV open_on_slot(struct token *token, CK_FLAGS flags, CK_SESSION_HANDLE *handle)
{
    pthread_mutex_lock(&token->lock);
    CK_RV rv = open_where_same(token, token->slot, flags, handle);
    if (ck_rv_ends_session(rv))
        atomic_store(&token->anchor_doubtful, true);
    if (ck_rv_class(rv) == CK_CLASS_TOKEN_GONE) {
        struct error ignored = ERROR_INIT; /* the first CK_RV tells more */
        CK_TOKEN_INFO info = {0};
        CK_SLOT_ID slot;
        if (token_find_slot(token->f, &token->address, &slot, &info, &ignored)) {
            token->slot = slot;
            rv = open_where_same(token, slot, flags, handle);
        }
    }
    pthread_mutex_unlock(&token->lock);
    return rv;
}

bool session_open(struct token *token, enum session_mode mode, struct session **out,
                  struct error *err)
{
    CK_RV ignored;
    return session_try_open(token, mode, out, &ignored, err);
}

bool session_try_open(struct token *token, enum session_mode mode, struct session **out,
                      CK_RV *answer, struct error *err)
{
    *out = NULL;
    *answer = CKR_HOST_MEMORY;
    struct session *session = calloc(1, sizeof *session);
    if (session == NULL)
        return error_memory(err);
    session->token = token;
    session->f = token->f;
    CK_FLAGS flags = CKF_SERIAL_SESSION;
    if (mode == SESSION_READ_WRITE)
        flags |= CKF_RW_SESSION;
    CK_RV rv = *answer = open_on_slot(token, flags, &session->handle);
    if (rv != CKR_OK) {
        free(session);
        return token_fail(token, "C_OpenSession", NO_MECHANISM, rv, err);
    }
    *out = session;
    return true;
}

void session_close(struct session **session)
{
    if (session == NULL || *session == NULL)
        return;
    if (!(*session)->ended)
        (*session)->f->C_CloseSession((*session)->handle);
    free(*session);
    *session = NULL;
}

bool session_lost(const struct session *session)
{
    switch (session->trouble) {
    case CK_CLASS_SESSION_LOST:
    case CK_CLASS_LOGIN_LOST:
    case CK_CLASS_TOKEN_GONE:
    case CK_CLASS_RESTART:
        return true;
    case CK_CLASS_FINE:
    case CK_CLASS_FEWER_SESSIONS:
    case CK_CLASS_MESSAGE_BAD:
    case CK_CLASS_NOT_THIS_WAY:
    case CK_CLASS_PIN:
    case CK_CLASS_GENERAL:
        return false;
    }
    return false;
}

/* A lost session stays lost, whatever fails after it. */
static void set_trouble(struct session *session, enum ck_class class, const char *call, CK_RV rv)
{
    if (session_lost(session))
        return;
    session->trouble = class;
    if (session_lost(session)) {
        snprintf(session->lost_call, sizeof session->lost_call, "%s", call);
        session->lost_rv = rv;
    }
}

void session_spoil(struct session *session, const char *function, CK_RV rv)
{
    set_trouble(session, CK_CLASS_SESSION_LOST, function, rv);
}

bool session_fail_lost(struct session *session, struct error *err)
{
    token_fail(session->token, session->lost_call, NO_MECHANISM, session->lost_rv, err);
    err->kind = FAIL_TOKEN; /* even where the answer alone would say something else */
    return false;
}

static enum ck_class note(struct session *session, const char *function,
                          CK_MECHANISM_TYPE mechanism, CK_RV rv)
{
    enum ck_class class = ck_rv_class(rv);
    ck_call_text(function, mechanism, session->call);
    session->rv = rv;
    if (ck_rv_ends_session(rv)) {
        session->ended = true;
        atomic_store(&session->token->anchor_doubtful, true);
    }
    if (ck_class_is_trouble(class))
        set_trouble(session, class, session->call, rv);
    char name[CK_RV_TEXT];
    ck_rv_text(rv, name);
    const char *call_shown = session->call, *rv_shown = name;
    log_event(LEVEL_DEBUG, EVENT_TOKEN_TROUBLE, "a PKCS#11 call failed",
              LOG_TEXT("call", call_shown), LOG_TEXT("ck_rv", rv_shown));
    return class;
}

bool session_fail(struct session *session, const char *function, CK_MECHANISM_TYPE mechanism,
                  CK_RV rv, struct error *err)
{
    (void)note(session, function, mechanism, rv);
    return token_fail(session->token, function, mechanism, rv, err);
}

bool fail_message(struct error *err)
{
    error_set(err, FAIL_CRYPTO, "the sealed password cannot be opened with this key and padding");
    return error_hint(err, "seal the password again with the public key that is on the token now");
}

bool session_fail_message(struct session *session, const char *function,
                          CK_MECHANISM_TYPE mechanism, CK_RV rv, struct error *err)
{
    if (ck_class_is_trouble(note(session, function, mechanism, rv)))
        return token_fail(session->token, function, mechanism, rv, err);
    return fail_message(err);
}

bool session_logged_in(struct session *session, bool *out, struct error *err)
{
    CK_SESSION_INFO info = {0};
    CK_RV rv = session->f->C_GetSessionInfo(session->handle, &info);
    if (rv != CKR_OK)
        return session_fail(session, "C_GetSessionInfo", NO_MECHANISM, rv, err);
    *out = !session->token->login_required || info.state == CKS_RO_USER_FUNCTIONS ||
           info.state == CKS_RW_USER_FUNCTIONS;
    return true;
}

bool session_last_failure(const struct session *session, char call[static CK_CALL_TEXT],
                          char ck_rv[static CK_RV_TEXT])
{
    call[0] = ck_rv[0] = '\0';
    if (session == NULL || session->rv == CKR_OK)
        return false;
    snprintf(call, CK_CALL_TEXT, "%s", session->call);
    ck_rv_text(session->rv, ck_rv);
    return true;
}
