/* SPDX-License-Identifier: Apache-2.0 */
#include "token_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "reseal/clock.h"
#include "reseal/text.h"

#define SLOTS_MAX 256

void ck_field_text(const CK_UTF8CHAR *field, size_t size, char *out)
{
    size_t len = 0;
    while (len < size && field[len] != '\0')
        len++;
    while (len > 0 && field[len - 1] == ' ')
        len--;
    memcpy(out, field, len);
    out[len] = '\0';
}

/* Facts are shown and sent to the connector: what is no clean UTF-8 is replaced. */
static void field_fact(const CK_UTF8CHAR *field, size_t size, char *out)
{
    ck_field_text(field, size, out);
    bool strict = utf8_is_strict(out, strlen(out));
    for (unsigned char *at = (unsigned char *)out; *at != '\0'; at++) {
        if (*at < 0x20 || *at == 0x7f || (!strict && *at >= 0x80))
            *at = '?';
    }
}

void token_facts_fill(const CK_TOKEN_INFO *info, const CK_INFO *library, CK_SLOT_ID slot,
                      struct token_facts *out)
{
    memset(out, 0, sizeof *out);
    field_fact(info->label, sizeof info->label, out->label);
    field_fact(info->serialNumber, sizeof info->serialNumber, out->serial);
    field_fact(info->manufacturerID, sizeof info->manufacturerID, out->manufacturer);
    field_fact(info->model, sizeof info->model, out->model);
    snprintf(out->firmware, sizeof out->firmware, "%u.%u", info->firmwareVersion.major,
             info->firmwareVersion.minor);
    char description[33];
    field_fact(library->libraryDescription, sizeof library->libraryDescription, description);
    snprintf(out->library, sizeof out->library, "%s %u.%u", description,
             library->libraryVersion.major, library->libraryVersion.minor);
    out->slot = slot;
}

static bool text_matches(const char *wanted, const char *found)
{
    return wanted[0] == '\0' || strcmp(wanted, found) == 0;
}

static bool address_matches(const struct token_address *address, const CK_TOKEN_INFO *info)
{
    char label[33], serial[17], manufacturer[33], model[17];
    ck_field_text(info->label, sizeof info->label, label);
    ck_field_text(info->serialNumber, sizeof info->serialNumber, serial);
    ck_field_text(info->manufacturerID, sizeof info->manufacturerID, manufacturer);
    ck_field_text(info->model, sizeof info->model, model);
    return text_matches(address->label, label) && text_matches(address->serial, serial) &&
           text_matches(address->manufacturer, manufacturer) && text_matches(address->model, model);
}

bool token_is_same(const struct token *token, const CK_TOKEN_INFO *info)
{
    return (info->flags & CKF_TOKEN_INITIALIZED) && address_matches(&token->address, info);
}

/* From now on it is this very token that is meant: the PIN is for no other one with its label. What
 * a token leaves empty cannot be held against another. */
static void address_pin(struct token_address *address, const CK_TOKEN_INFO *info)
{
    ck_field_text(info->serialNumber, sizeof info->serialNumber, address->serial);
    ck_field_text(info->manufacturerID, sizeof info->manufacturerID, address->manufacturer);
    ck_field_text(info->model, sizeof info->model, address->model);
}

/* The tokens that are there, for an error text: a person sees the misspelt label at once, and which
 * slot did not tell what it holds. */
static void describe_tokens(CK_FUNCTION_LIST_PTR f, const CK_SLOT_ID *slots, size_t count,
                            struct buf *out)
{
    size_t named = 0;
    for (size_t i = 0; i < count; i++) {
        CK_TOKEN_INFO info = {0};
        const CK_INFO no_library = {0};
        struct token_facts facts;
        CK_RV rv = f->C_GetTokenInfo(slots[i], &info);
        if (rv != CKR_OK) {
            char name[CK_RV_TEXT];
            ck_rv_text(rv, name);
            buf_printf(out, "%sslot %lu (C_GetTokenInfo: %s)", named++ == 0 ? "" : ", ", slots[i],
                       name);
        } else if (info.flags & CKF_TOKEN_INITIALIZED) {
            token_facts_fill(&info, &no_library, slots[i], &facts);
            buf_printf(out, "%s\"%s\" (serial %s)", named++ == 0 ? "" : ", ", facts.label,
                       facts.serial);
        }
    }
    if (named == 0)
        buf_put_text(out, "none");
}

static bool fail_no_token(CK_FUNCTION_LIST_PTR f, const struct token_address *address,
                          const CK_SLOT_ID *slots, size_t count, size_t matches, struct error *err)
{
    struct buf there = BUF_INIT(4096);
    describe_tokens(f, slots, count, &there);
    const char *list = there.failed ? "too many to name" : buf_text(&there);
    if (matches == 0) {
        error_set(err, FAIL_NOT_FOUND,
                  "no token with label \"%s\"%s%s in module %s; tokens that are there: %s",
                  address->label, address->serial[0] != '\0' ? " and serial " : "", address->serial,
                  address->module, list);
        error_hint(err, "`reseal token list` shows the tokens of the module");
    } else {
        error_set(err, FAIL_POLICY, "%zu tokens of module %s match label \"%s\": %s", matches,
                  address->module, address->label, list);
        error_hint(err, "name the serial number as well ([token] serial)");
    }
    buf_free(&there);
    return false;
}

bool token_find_slot(CK_FUNCTION_LIST_PTR f, const struct token_address *address, CK_SLOT_ID *slot,
                     CK_TOKEN_INFO *info, struct error *err)
{
    CK_SLOT_ID slots[SLOTS_MAX];
    CK_ULONG count = SLOTS_MAX;
    for (size_t i = 0; i < SLOTS_MAX; i++)
        slots[i] = CK_UNAVAILABLE_INFORMATION;
    CK_RV rv = f->C_GetSlotList(CK_TRUE, slots, &count);
    if (rv != CKR_OK) {
        char name[CK_RV_TEXT];
        ck_rv_text(rv, name);
        return error_set(err, FAIL_TOKEN, "module %s: C_GetSlotList: %s", address->module, name);
    }
    /* A module may say CKR_OK where it had no room, or count slots that it did not write. */
    if (count > SLOTS_MAX)
        count = SLOTS_MAX;
    while (count > 0 && slots[count - 1] == CK_UNAVAILABLE_INFORMATION)
        count--;
    size_t matches = 0;
    for (size_t i = 0; i < count; i++) {
        CK_TOKEN_INFO found = {0};
        /* One broken reader must not hide the token in another. */
        if (f->C_GetTokenInfo(slots[i], &found) != CKR_OK ||
            !(found.flags & CKF_TOKEN_INITIALIZED) || !address_matches(address, &found))
            continue;
        if (matches++ == 0) {
            *slot = slots[i];
            *info = found;
        }
    }
    if (matches != 1)
        return fail_no_token(f, address, slots, count, matches, err);
    return true;
}

/*
 * Loads the module and finds the token. SoftHSM writes its files anew at each login, and a module
 * that is initialised at that moment sees no token; a reader that was just plugged in behaves so as
 * well. So the module is initialised a few times before the token is called missing.
 */
static bool find_with_patience(struct token *token, CK_SLOT_ID *slot, CK_TOKEN_INFO *info,
                               struct error *err)
{
    static const long pauses_ms[] = {50, 150, 300, 600};
    const struct token_address *address = &token->address;
    for (size_t i = 0;; i++) {
        if (!module_open(address->module, address->init_args, &token->module, err))
            return false;
        token->f = token->module->functions;
        if (token_find_slot(token->f, address, slot, info, err))
            return true;
        /* Initialised by somebody else, it is not ours to initialise again. */
        if (i == ARRAY_LEN(pauses_ms) || !token->module->initialized_here)
            return false;
        module_close(&token->module);
        clock_sleep_ms(pauses_ms[i]);
    }
}

bool token_open(const struct token_address *address, struct token **out, struct error *err)
{
    *out = NULL;
    if (address->label[0] == '\0' && address->serial[0] == '\0') {
        error_set(err, FAIL_USAGE, "neither label nor serial number says which token is meant");
        return error_hint(err, "`reseal token list` shows the tokens; set [token] label or serial");
    }
    bool ok = false;
    CK_INFO library = {0};
    CK_TOKEN_INFO info = {0};
    CK_SLOT_ID slot = 0;
    struct token *token = calloc(1, sizeof *token);
    if (token == NULL)
        return error_memory(err);
    pthread_mutex_init(&token->lock, NULL);
    token->address = *address;
    if (!find_with_patience(token, &slot, &info, err))
        goto done;
    token->slot = slot;
    address_pin(&token->address, &info);
    /* The library's name is a nicety; a token is not refused for the lack of it. */
    if (token->f->C_GetInfo(&library) != CKR_OK)
        memset(&library, 0, sizeof library);
    token_facts_fill(&info, &library, slot, &token->facts);
    token->pin_min = info.ulMinPinLen;
    token->pin_max = info.ulMaxPinLen;
    token->login_required = (info.flags & CKF_LOGIN_REQUIRED) != 0;
    token->pin_pad = (info.flags & CKF_PROTECTED_AUTHENTICATION_PATH) != 0;
    *out = token;
    token = NULL; /* transferred */
    ok = true;
done:
    token_close(&token);
    return ok;
}

void token_close(struct token **token)
{
    if (token == NULL || *token == NULL)
        return;
    token_logout(*token);
    module_close(&(*token)->module);
    pthread_mutex_destroy(&(*token)->lock);
    free(*token);
    *token = NULL;
}

void token_facts_get(const struct token *token, struct token_facts *out)
{
    *out = token->facts;
}

unsigned token_session_room(const struct token *token, unsigned most)
{
    CK_TOKEN_INFO info = {0};
    if (token->f->C_GetTokenInfo(token->slot, &info) != CKR_OK ||
        info.ulMaxSessionCount == CK_EFFECTIVELY_INFINITE ||
        info.ulMaxSessionCount == CK_UNAVAILABLE_INFORMATION)
        return most;
    CK_ULONG taken = info.ulSessionCount == CK_UNAVAILABLE_INFORMATION ? 0 : info.ulSessionCount;
    CK_ULONG room = info.ulMaxSessionCount > taken ? info.ulMaxSessionCount - taken : 0;
    return room < most ? (unsigned)(room > 0 ? room : 1) : most;
}

bool token_fail(const struct token *token, const char *function, CK_MECHANISM_TYPE mechanism,
                CK_RV rv, struct error *err)
{
    char call[CK_CALL_TEXT];
    char name[CK_RV_TEXT];
    ck_call_text(function, mechanism, call);
    ck_rv_text(rv, name);
    enum ck_class class = ck_rv_class(rv);
    if (class == CK_CLASS_RESTART)
        atomic_store(&token->module->lost, true);
    enum failure kind = class == CK_CLASS_NOT_THIS_WAY ? FAIL_UNSUPPORTED
                        : class == CK_CLASS_PIN        ? FAIL_PIN
                                                       : FAIL_TOKEN;
    error_set(err, kind, "token \"%s\": %s: %s", token->facts.label, call, name);
    return error_hint(err, "%s", ck_class_hint(class));
}

bool token_module_lost(const struct token *token)
{
    return atomic_load(&token->module->lost);
}
