/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>
#include "custody.h"
#include "key_check.h"
#include "key_promise.h"
#include "reseal/text.h"

static const uint8_t public_exponent[] = {1, 0, 1};

bool key_label_free(struct session *session, const char *label, struct error *err)
{
    CK_OBJECT_HANDLE found[1];
    size_t count = 0;
    struct template template = {.count = 0};
    template_bytes(&template, CKA_LABEL, (struct bytes){(const uint8_t *)label, strlen(label)});
    if (!objects_find(session, &template, found, 1, &count, err))
        return false;
    if (count == 0)
        return true;
    error_set(err, FAIL_EXISTS, "token \"%s\" has an object with label \"%s\" already",
              session->token->facts.label, label);
    return error_hint(err, "choose another label; a key that is in use is never written over");
}

static bool id_free(struct session *session, struct bytes id, struct error *err)
{
    CK_OBJECT_HANDLE found[1];
    size_t count = 0;
    struct template template = {.count = 0};
    template_bytes(&template, CKA_ID, id);
    if (!objects_find(session, &template, found, 1, &count, err))
        return false;
    if (count == 0)
        return true;
    return error_set(err, FAIL_EXISTS,
                     "the random CKA_ID that token \"%s\" made is in use there already",
                     session->token->facts.label);
}

void key_fill_public(const struct key_plan *plan, struct bytes id, struct template *out)
{
    template_number(out, CKA_CLASS, CKO_PUBLIC_KEY);
    template_number(out, CKA_KEY_TYPE, CKK_RSA);
    template_flag(out, CKA_TOKEN, true);
    template_flag(out, CKA_PRIVATE, false);
    template_bytes(out, CKA_LABEL,
                   (struct bytes){(const uint8_t *)plan->label, strlen(plan->label)});
    template_bytes(out, CKA_ID, id);
    template_flag(out, CKA_WRAP, plan->custody == CUSTODY_TOKEN);
    template_flag(out, CKA_ENCRYPT, plan->custody == CUSTODY_HOST);
    template_flag(out, CKA_VERIFY, false);
    template_flag(out, CKA_VERIFY_RECOVER, false);
}

void key_fill_private(const struct key_plan *plan, struct bytes id, unsigned options,
                      struct option_values *values, struct template *out)
{
    template_number(out, CKA_CLASS, CKO_PRIVATE_KEY);
    template_number(out, CKA_KEY_TYPE, CKK_RSA);
    template_flag(out, CKA_TOKEN, true);
    template_flag(out, CKA_PRIVATE, true);
    template_flag(out, CKA_SENSITIVE, true);
    template_flag(out, CKA_EXTRACTABLE, plan->wrapping != KEY_WRAPPED_NEVER);
    if (plan->wrapping == KEY_WRAPPED_BY_TRUSTED)
        template_flag(out, CKA_WRAP_WITH_TRUSTED, true);
    template_flag(out, CKA_UNWRAP, plan->custody == CUSTODY_TOKEN);
    template_flag(out, CKA_DECRYPT, plan->custody == CUSTODY_HOST);
    template_flag(out, CKA_SIGN, false);
    template_flag(out, CKA_SIGN_RECOVER, false);
    template_bytes(out, CKA_LABEL,
                   (struct bytes){(const uint8_t *)plan->label, strlen(plan->label)});
    template_bytes(out, CKA_ID, id);
    if (options & OPTION_MODIFIABLE)
        template_flag(out, CKA_MODIFIABLE, false);
    if (options & OPTION_DERIVE)
        template_flag(out, CKA_DERIVE, false);
    if (options & OPTION_ALLOWED_MECHANISMS) {
        size_t count = key_allowed_mechanisms(plan->custody, values->allowed);
        template_bytes(
            out, CKA_ALLOWED_MECHANISMS,
            (struct bytes){(const uint8_t *)values->allowed, count * sizeof values->allowed[0]});
    }
    if (options & OPTION_UNWRAP_TEMPLATE) {
        /* Whatever this key unwraps stays sensitive, whoever asks. */
        values->unwrap = (struct template){.count = 0};
        template_flag(&values->unwrap, CKA_SENSITIVE, true);
        template_bytes(out, CKA_UNWRAP_TEMPLATE,
                       (struct bytes){(const uint8_t *)values->unwrap.rows,
                                      values->unwrap.count * sizeof values->unwrap.rows[0]});
    }
}

static CK_RV generate(struct session *session, const struct key_plan *plan, struct bytes id,
                      unsigned options, struct key_pair *out)
{
    struct template public_half = {.count = 0}, private_half = {.count = 0};
    struct option_values values;
    key_fill_public(plan, id, &public_half);
    template_number(&public_half, CKA_MODULUS_BITS, (CK_ULONG)plan->bits);
    template_bytes(&public_half, CKA_PUBLIC_EXPONENT,
                   (struct bytes){public_exponent, sizeof public_exponent});
    key_fill_private(plan, id, options, &values, &private_half);
    CK_MECHANISM mechanism = {CKM_RSA_PKCS_KEY_PAIR_GEN, NULL, 0};
    return session->f->C_GenerateKeyPair(session->handle, &mechanism, public_half.rows,
                                         public_half.count, private_half.rows, private_half.count,
                                         &out->public_half, &out->private_half);
}

/* Which options to wish for, from all downwards. A token says only that a template is refused, and
 * some say it after making the key: so as few as possible are left out first, the most exotic one
 * before the others. */
static const unsigned option_wishes[] = {
    OPTION_ALLOWED_MECHANISMS | OPTION_UNWRAP_TEMPLATE | OPTION_DERIVE | OPTION_MODIFIABLE,
    OPTION_ALLOWED_MECHANISMS | OPTION_DERIVE | OPTION_MODIFIABLE,
    OPTION_UNWRAP_TEMPLATE | OPTION_DERIVE | OPTION_MODIFIABLE,
    OPTION_DERIVE | OPTION_MODIFIABLE,
    OPTION_ALLOWED_MECHANISMS | OPTION_UNWRAP_TEMPLATE | OPTION_MODIFIABLE,
    OPTION_ALLOWED_MECHANISMS | OPTION_UNWRAP_TEMPLATE | OPTION_DERIVE,
    OPTION_ALLOWED_MECHANISMS | OPTION_MODIFIABLE,
    OPTION_ALLOWED_MECHANISMS | OPTION_DERIVE,
    OPTION_DERIVE,
    OPTION_MODIFIABLE,
    0,
};

/* Options that a token is known not to honour: known, it needs no second key pair to find out. */
static const struct {
    const char *manufacturer;
    unsigned options;
} dishonoured_rows[] = {
    /* Refuses allowed mechanisms when it stores the key, and keeps a template as raw bytes. */
    {"Mozilla Foundation", OPTION_ALLOWED_MECHANISMS | OPTION_UNWRAP_TEMPLATE},
};

unsigned key_known_dishonoured(const struct session *session)
{
    for (size_t i = 0; i < ARRAY_LEN(dishonoured_rows); i++) {
        if (strcmp(dishonoured_rows[i].manufacturer, session->token->facts.manufacturer) == 0)
            return dishonoured_rows[i].options;
    }
    return 0;
}

static bool generate_strictest(struct session *session, const struct key_plan *plan,
                               struct bytes id, unsigned allowed, struct key_options *options,
                               struct key_pair *out, struct error *err)
{
    CK_RV rv = CKR_OK;
    for (size_t i = 0; i < ARRAY_LEN(option_wishes); i++) {
        unsigned wish = option_wishes[i];
        if ((wish & ~allowed) != 0)
            continue;
        rv = generate(session, plan, id, wish, out);
        if (rv == CKR_OK) {
            options->taken = wish;
            return true;
        }
        if (ck_rv_class(rv) != CK_CLASS_NOT_THIS_WAY && ck_rv_class(rv) != CK_CLASS_GENERAL)
            break;
        for (unsigned bit = 0; bit < OPTION_COUNT; bit++) {
            if (wish & (1u << bit))
                options->refused[bit] = rv;
        }
    }
    session_fail(session, "C_GenerateKeyPair", CKM_RSA_PKCS_KEY_PAIR_GEN, rv, err);
    if (plan->wrapping == KEY_WRAPPED_BY_TRUSTED && ck_rv_class(rv) == CK_CLASS_NOT_THIS_WAY)
        error_hint(err, "the token may not know CKA_WRAP_WITH_TRUSTED");
    if (rv == CKR_SESSION_READ_ONLY || rv == CKR_TOKEN_WRITE_PROTECTED)
        error_hint(err, "the token is write-protected");
    return false;
}

static bool destroy_pair(struct session *session, const struct key_pair *pair, struct error *err)
{
    CK_RV private_rv = pair->private_half != CK_INVALID_HANDLE
                           ? session->f->C_DestroyObject(session->handle, pair->private_half)
                           : CKR_OK;
    CK_RV public_rv = pair->public_half != CK_INVALID_HANDLE
                          ? session->f->C_DestroyObject(session->handle, pair->public_half)
                          : CKR_OK;
    CK_RV rv = private_rv != CKR_OK ? private_rv : public_rv;
    if (rv == CKR_OK)
        return true;
    session_fail(session, "C_DestroyObject", NO_MECHANISM, rv, err);
    return error_hint(err, "remove the key with the tool of the token's maker");
}

/* One padding, with any form of message. */
static bool works_with(struct session *session, struct sealing_key *key, enum padding padding,
                       enum custody custody, bool *out, struct error *err)
{
    enum cms_form any;
    const struct way *way = way_of(key, padding);
    *out = false;
    if (custody == CUSTODY_HOST) {
        if (!way_learn_host(session, key, padding, err))
            return false;
        *out = way->host == LEARNED_YES;
        return true;
    }
    for (size_t i = 0; i < CMS_FORM_COUNT && !*out; i++) {
        if (!way_learn_form(session, key, padding, (enum cms_form)i, err))
            return false;
        *out = way_any_form(way, &any);
    }
    return true;
}

bool key_works(struct session *session, struct sealing_key *key, enum custody custody, bool *out,
               struct error *err)
{
    *out = false;
    for (int i = 0; i < PADDING_COUNT && !*out; i++) {
        if (!works_with(session, key, (enum padding)(PADDING_FIRST + i), custody, out, err))
            return false;
    }
    return true;
}

bool key_id_choose(struct session *session, char id[static KEY_ID_TEXT], struct error *err)
{
    uint8_t raw[KEY_ID_LEN];
    CK_RV rv = session->f->C_GenerateRandom(session->handle, raw, sizeof raw);
    id[0] = '\0';
    if (rv != CKR_OK)
        return session_fail(session, "C_GenerateRandom", NO_MECHANISM, rv, err);
    hex_encode(id, raw, sizeof raw);
    return id_free(session, (struct bytes){raw, sizeof raw}, err);
}

static bool fail_mismatch(const struct key_plan *plan, const struct key_birth *birth,
                          struct error *err)
{
    for (size_t i = 0; i < birth->check_count; i++) {
        const struct attribute_check *check = &birth->checks[i];
        if (!check->ok) {
            error_set(err, FAIL_POLICY,
                      "the new key \"%s\" has %s %s instead of %s; it was destroyed", plan->label,
                      check->name, check->found, check->wanted);
            return error_hint(err, "this token does not keep what it was asked for");
        }
    }
    return error_set(err, FAIL_INTERNAL, "a mismatch without a wrong attribute");
}

/* What a token took and does not honour: all restrictions where the key does not do its work with
 * them, and a template that is none. */
static bool find_dishonoured(struct session *session, const struct key_plan *plan,
                             const struct key_pair *pair, struct sealing_key *key,
                             const struct key_options *options, unsigned *out, struct error *err)
{
    const unsigned restrictions = OPTION_UNWRAP_TEMPLATE | OPTION_ALLOWED_MECHANISMS;
    bool working = false;
    *out = 0;
    if ((options->taken & restrictions) == 0)
        return true;
    if ((options->taken & OPTION_UNWRAP_TEMPLATE) && !key_keeps_unwrap_template(session, pair))
        *out = OPTION_UNWRAP_TEMPLATE;
    if (!key_works(session, key, plan->custody, &working, err))
        return false;
    if (!working)
        *out = options->taken & restrictions;
    return true;
}

/* One pair with the strictest of the allowed options that the token takes. Either it is checked and
 * given out, or it is destroyed; *dishonoured then says which options to leave out next time. */
static bool make_pair(struct session *session, const struct key_plan *plan, struct bytes id,
                      unsigned allowed, struct key_options *options, struct key_birth *birth,
                      struct sealing_key **out, unsigned *dishonoured, struct error *err)
{
    bool ok = false;
    struct error left = ERROR_INIT;
    struct key_pair pair = {CK_INVALID_HANDLE, CK_INVALID_HANDLE};
    struct sealing_key *key = NULL;
    *dishonoured = 0;
    if (!generate_strictest(session, plan, id, allowed, options, &pair, err))
        return false;
    if (!sealing_key_from_handles(session, pair.private_half, pair.public_half, &key, err) ||
        !find_dishonoured(session, plan, &pair, key, options, dishonoured, err))
        goto done;
    if (*dishonoured != 0) {
        ok = true; /* for another round */
        goto done;
    }
    if (!key_check(session, &pair, plan, id, options, birth, err))
        goto done;
    if (!birth->accepted) {
        fail_mismatch(plan, birth, err);
        goto done;
    }
    *out = key;
    key = NULL; /* transferred */
    return true;
done:
    sealing_key_free(&key);
    birth->accepted = false;
    if (!destroy_pair(session, &pair, &left)) {
        if (ok)
            *err = left;
        else
            error_hint(err, "the rejected key could not be destroyed: %s", left.text);
        ok = false;
    }
    return ok;
}

bool key_generate_as(struct session *session, const struct key_plan *plan, const char *id_text,
                     struct key_birth *birth, struct sealing_key **out, struct error *err)
{
    *out = NULL;
    memset(birth, 0, sizeof *birth);
    if ((plan->bits != 2048 && plan->bits != 3072 && plan->bits != 4096) ||
        (plan->custody != CUSTODY_TOKEN && plan->custody != CUSTODY_HOST) || plan->label[0] == '\0')
        return error_set(err, FAIL_USAGE,
                         "a sealing key needs a label, 2048, 3072 or 4096 bits, and a custody");
    struct buf id = BUF_INIT(KEY_ID_LEN);
    struct key_options options = {.taken = 0};
    unsigned allowed = OPTIONS_ALL, dishonoured = 0;
    bool ok = false;
    if (plan->custody != CUSTODY_TOKEN)
        allowed &= ~(unsigned)OPTION_UNWRAP_TEMPLATE;
    if (plan->wrapping != KEY_WRAPPED_NEVER) /* key_shut will modify it */
        allowed &= ~(unsigned)OPTION_MODIFIABLE;
    options.given_up = allowed & key_known_dishonoured(session);
    allowed &= ~options.given_up;
    if (!hex_decode(&id, id_text, strlen(id_text), "CKA_ID", err) ||
        !key_label_free(session, plan->label, err) || !id_free(session, buf_bytes(&id), err))
        goto done;
    snprintf(birth->id, sizeof birth->id, "%s", id_text);
    snprintf(birth->mechanism, sizeof birth->mechanism, "CKM_RSA_PKCS_KEY_PAIR_GEN");
    /* Each round gives up at least one option, so it ends. */
    do {
        if (!make_pair(session, plan, buf_bytes(&id), allowed, &options, birth, out, &dishonoured,
                       err))
            goto done;
        allowed &= ~dishonoured;
        options.given_up |= dishonoured;
    } while (*out == NULL);
    ok = true;
done:
    buf_free(&id);
    return ok;
}

bool key_generate(struct session *session, const struct key_plan *plan, struct key_birth *birth,
                  struct sealing_key **out, struct error *err)
{
    char id[KEY_ID_TEXT];
    *out = NULL;
    memset(birth, 0, sizeof *birth);
    return key_id_choose(session, id, err) && key_generate_as(session, plan, id, birth, out, err);
}

bool key_destroy(struct session *session, const struct sealing_key *key, struct error *err)
{
    const struct key_pair pair = {key->private_half, key->public_half};
    if (!destroy_pair(session, &pair, err))
        return error_context(err, "key \"%s\"", key->label);
    return true;
}

/* True where the token gives the value out; the value itself is wiped at once. */
static bool gives_out(struct session *session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type,
                      CK_RV *rv)
{
    if (!attribute_readable(session, object, type, rv))
        return false;
    /* Some tokens tell the length and keep the value. */
    struct buf value = BUF_INIT(2048);
    *rv = attribute_read(session, object, type, &value);
    bool given = *rv == CKR_OK && value.len > 0;
    buf_free(&value);
    return given;
}

bool key_is_unreadable(struct session *session, const struct sealing_key *key,
                       char ck_rv[static CK_RV_TEXT], struct error *err)
{
    static const struct {
        CK_ATTRIBUTE_TYPE type;
        const char *name;
    } secrets[] = {
        {CKA_PRIVATE_EXPONENT, "CKA_PRIVATE_EXPONENT"},
        {CKA_PRIME_1, "CKA_PRIME_1"},
        {CKA_PRIME_2, "CKA_PRIME_2"},
        {CKA_EXPONENT_1, "CKA_EXPONENT_1"},
        {CKA_EXPONENT_2, "CKA_EXPONENT_2"},
        {CKA_COEFFICIENT, "CKA_COEFFICIENT"},
    };
    ck_rv[0] = '\0';
    for (size_t i = 0; i < ARRAY_LEN(secrets); i++) {
        CK_RV rv;
        if (gives_out(session, key->private_half, secrets[i].type, &rv)) {
            error_set(err, FAIL_POLICY, "token \"%s\" gives out %s of key \"%s\"",
                      session->token->facts.label, secrets[i].name, key->label);
            return error_hint(err, "do not use this key; destroy it");
        }
        if (ck_class_is_trouble(ck_rv_class(rv)))
            return session_fail(session, "C_GetAttributeValue", NO_MECHANISM, rv, err);
        if (i == 0)
            ck_rv_text(rv, ck_rv);
    }
    return true;
}
