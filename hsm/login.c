/* SPDX-License-Identifier: Apache-2.0 */
/* The user's PIN: never tried where a wrong one could lock the token (PKCS#11 v3.1, section 5.6.8).
 */
#include <stdio.h>
#include <string.h>
#include "quirk.h"
#include "token_private.h"

enum pin_state pin_state_from_flags(CK_FLAGS flags)
{
    if (flags & CKF_USER_PIN_LOCKED)
        return PIN_STATE_LOCKED;
    if (flags & CKF_USER_PIN_FINAL_TRY)
        return PIN_STATE_FINAL_TRY;
    if (flags & CKF_USER_PIN_COUNT_LOW)
        return PIN_STATE_COUNT_LOW;
    if (!(flags & CKF_USER_PIN_INITIALIZED))
        return PIN_STATE_UNSET;
    if (flags & CKF_USER_PIN_TO_BE_CHANGED)
        return PIN_STATE_EXPIRED;
    return PIN_STATE_OK;
}

const char *pin_state_text(enum pin_state state)
{
    switch (state) {
    case PIN_STATE_OK:
        return "no failed try is counted";
    case PIN_STATE_COUNT_LOW:
        return "a wrong PIN was tried since the last login";
    case PIN_STATE_FINAL_TRY:
        return "one more wrong PIN locks the token";
    case PIN_STATE_LOCKED:
        return "the PIN is locked";
    case PIN_STATE_UNSET:
        return "no user PIN was set";
    case PIN_STATE_EXPIRED:
        return "the PIN must be changed first";
    }
    return "unknown";
}

bool token_pin_state(const struct token *token, enum pin_state *out, struct error *err)
{
    CK_TOKEN_INFO info = {0};
    CK_RV rv = token->f->C_GetTokenInfo(token->slot, &info);
    if (rv != CKR_OK)
        return token_fail(token, "C_GetTokenInfo", NO_MECHANISM, rv, err);
    *out = pin_state_from_flags(info.flags);
    return true;
}

bool token_has_pin_pad(const struct token *token)
{
    return token->pin_pad;
}

bool token_wants_login(const struct token *token)
{
    return token->login_required;
}

void token_pin_bounds(const struct token *token, size_t *min, size_t *max)
{
    *min = token->pin_min;
    *max = token->pin_max;
}

bool token_fail_pin_state(const struct token *token, enum pin_state state, struct error *err)
{
    error_set(err, FAIL_PIN, "the PIN of token \"%s\" was not tried: %s", token->facts.label,
              pin_state_text(state));
    if (state == PIN_STATE_COUNT_LOW || state == PIN_STATE_FINAL_TRY)
        return error_hint(err, "`reseal token login` tries one that a person types; the right one "
                               "clears the count; or set the PIN anew with the tool of the token's "
                               "maker");
    return error_hint(err, "a person must set the PIN anew with the tool of the token's maker");
}

/* `told` is the state up to which a person wants the try. */
static bool may_try(const struct token *token, const struct secret *pin, enum pin_state told,
                    struct error *err)
{
    CK_TOKEN_INFO info = {0};
    CK_RV rv = token->f->C_GetTokenInfo(token->slot, &info);
    if (rv != CKR_OK)
        return token_fail(token, "C_GetTokenInfo", NO_MECHANISM, rv, err);
    if (!token_is_same(token, &info)) {
        error_set(err, FAIL_TOKEN,
                  "the PIN was not tried: slot %lu does not hold token \"%s\" with "
                  "serial %s any more",
                  (unsigned long)token->slot, token->facts.label, token->facts.serial);
        return error_hint(err, "%s", ck_class_hint(CK_CLASS_TOKEN_GONE));
    }
    enum pin_state state = pin_state_from_flags(info.flags);
    if (pin == NULL && !(info.flags & CKF_LOGIN_REQUIRED))
        return true;
    if (state > told || state > PIN_STATE_FINAL_TRY)
        return token_fail_pin_state(token, state, err);
    if (pin == NULL && !token->pin_pad)
        return error_set(err, FAIL_USAGE, "token \"%s\" has no PIN pad of its own: a PIN is needed",
                         token->facts.label);
    /* A length that the token rules out would only burn a try. */
    if (pin != NULL && (secret_len(pin) < token->pin_min ||
                        (token->pin_max > 0 && secret_len(pin) > token->pin_max))) {
        error_set(err, FAIL_PIN,
                  "the PIN of token \"%s\" was not tried: its length is not between %zu and %zu",
                  token->facts.label, token->pin_min, token->pin_max);
        return error_hint(err, "check where the PIN is read from ([token] pin)");
    }
    return true;
}

/* An anchor that may have ended with other sessions is not closed: its number may be the handle of
 * a worker's new session. At worst one session stays open until the module is finalised. */
static void drop_anchor(struct token *token)
{
    if (token->anchor != CK_INVALID_HANDLE && !atomic_load(&token->anchor_doubtful))
        token->f->C_CloseSession(token->anchor);
    token->anchor = CK_INVALID_HANDLE;
}

void token_logout(struct token *token)
{
    if (token == NULL)
        return;
    pthread_mutex_lock(&token->lock);
    drop_anchor(token);
    pthread_mutex_unlock(&token->lock);
}

/* Whether the answer of C_Login says that the PIN was not what it failed for. Codes that say
 * nothing, those of the token's maker included, may well stand for a wrong PIN that was counted. */
static bool may_try_again(CK_RV rv)
{
    switch (ck_rv_class(rv)) {
    case CK_CLASS_SESSION_LOST:
    case CK_CLASS_TOKEN_GONE:
    case CK_CLASS_FEWER_SESSIONS:
    case CK_CLASS_RESTART:
        return true;
    case CK_CLASS_FINE:
    case CK_CLASS_LOGIN_LOST:
    case CK_CLASS_MESSAGE_BAD:
    case CK_CLASS_NOT_THIS_WAY:
    case CK_CLASS_PIN:
    case CK_CLASS_GENERAL:
        return false;
    }
    return false;
}

static bool fail_login(const struct token *token, CK_RV rv, struct error *err)
{
    if (quirk_login_is_harmless(&token->facts, rv) || may_try_again(rv))
        return token_fail(token, "C_Login", NO_MECHANISM, rv, err);
    char name[CK_RV_TEXT];
    ck_rv_text(rv, name);
    if (ck_rv_class(rv) == CK_CLASS_PIN) {
        error_set(err, FAIL_PIN,
                  "token \"%s\": C_Login: %s: the PIN will not be tried again by "
                  "itself",
                  token->facts.label, name);
        return error_hint(err,
                          "correct the PIN where it is read from; `reseal doctor` shows whether "
                          "the token counts failed tries");
    }
    error_set(err, FAIL_PIN,
              "token \"%s\": C_Login: %s: that may stand for a wrong PIN, which will "
              "not be tried again by itself",
              token->facts.label, name);
    return error_hint(err, "see with the tool of the token's maker whether the token works and the "
                           "PIN is right");
}

void token_before_first_login(struct token *token, bool (*call)(void *context, struct error *err),
                              void *context)
{
    token->before_login = call;
    token->before_login_context = context;
}

static bool announce_login(struct token *token, struct error *err)
{
    if (token->before_login == NULL)
        return true;
    bool ok = token->before_login(token->before_login_context, err);
    if (ok)
        token->before_login = NULL;
    return ok;
}

static bool login_locked(struct token *token, const struct secret *pin, struct error *err)
{
    /* The old one may be lost, as the login is why we are here; if not, others hold sessions. */
    drop_anchor(token);
    CK_SESSION_HANDLE anchor = CK_INVALID_HANDLE;
    CK_RV rv = token->f->C_OpenSession(token->slot, CKF_SERIAL_SESSION, NULL, NULL, &anchor);
    if (rv != CKR_OK)
        return token_fail(token, "C_OpenSession", NO_MECHANISM, rv, err);
    if (!announce_login(token, err)) {
        token->f->C_CloseSession(anchor);
        return false;
    }
    struct bytes bytes = pin != NULL ? secret_bytes(pin) : (struct bytes){NULL, 0};
    /* PKCS#11 declares its inputs without const. */
    rv = token->f->C_Login(anchor, CKU_USER, (CK_UTF8CHAR_PTR)(uintptr_t)bytes.data, bytes.len);
    if (rv == CKR_OK || rv == CKR_USER_ALREADY_LOGGED_IN) {
        token->anchor = anchor;
        atomic_store(&token->anchor_doubtful, false);
        return true;
    }
    if (!ck_rv_ends_session(rv))
        token->f->C_CloseSession(anchor);
    return fail_login(token, rv, err);
}

bool token_login_told(struct token *token, const struct secret *pin, enum pin_state told,
                      struct error *err)
{
    pthread_mutex_lock(&token->lock);
    bool ok = may_try(token, pin, told, err) && login_locked(token, pin, err);
    pthread_mutex_unlock(&token->lock);
    return ok;
}

bool token_login(struct token *token, const struct secret *pin, struct error *err)
{
    return token_login_told(token, pin, PIN_STATE_OK, err);
}
