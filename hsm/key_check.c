/* SPDX-License-Identifier: Apache-2.0 */
#include "key_check.h"

#include <stdio.h>
#include <string.h>

enum half {
    HALF_PRIVATE,
    HALF_PUBLIC,
};

enum want {
    WANT_TRUE,
    WANT_FALSE,
    WANT_FOR_TOKEN, /* true in a key for custody token, false in one for custody host */
    WANT_FOR_HOST,
    WANT_IF_WRAPPED,  /* true in a key that can be wrapped for another token */
    WANT_IF_TRUSTED,  /* true in one that only trusted keys may wrap; not asked for otherwise */
    WANT_IF_AT_HOME,  /* true in a key that was made on this token */
    WANT_IF_CONFINED, /* true in one that was made here and was never to be wrapped */
    WANT_ANY,
};

struct flag_row {
    const char *name;
    CK_ATTRIBUTE_TYPE type;
    enum half half;
    enum want want;
    bool must_tell; /* an answer is needed; otherwise "not told" is good enough */
};

/* The promise of the key, attribute by attribute (PKCS#11 v3.1, sections 4.9 and 6.1). */
static const struct flag_row flag_rows[] = {
    {"CKA_TOKEN", CKA_TOKEN, HALF_PRIVATE, WANT_TRUE, true},
    {"CKA_PRIVATE", CKA_PRIVATE, HALF_PRIVATE, WANT_TRUE, true},
    {"CKA_SENSITIVE", CKA_SENSITIVE, HALF_PRIVATE, WANT_TRUE, true},
    {"CKA_ALWAYS_SENSITIVE", CKA_ALWAYS_SENSITIVE, HALF_PRIVATE, WANT_IF_AT_HOME, false},
    {"CKA_EXTRACTABLE", CKA_EXTRACTABLE, HALF_PRIVATE, WANT_IF_WRAPPED, true},
    {"CKA_NEVER_EXTRACTABLE", CKA_NEVER_EXTRACTABLE, HALF_PRIVATE, WANT_IF_CONFINED, false},
    {"CKA_WRAP_WITH_TRUSTED", CKA_WRAP_WITH_TRUSTED, HALF_PRIVATE, WANT_IF_TRUSTED, true},
    {"CKA_LOCAL", CKA_LOCAL, HALF_PRIVATE, WANT_IF_AT_HOME, false},
    {"CKA_UNWRAP", CKA_UNWRAP, HALF_PRIVATE, WANT_FOR_TOKEN, true},
    {"CKA_DECRYPT", CKA_DECRYPT, HALF_PRIVATE, WANT_FOR_HOST, true},
    {"CKA_SIGN", CKA_SIGN, HALF_PRIVATE, WANT_FALSE, true},
    {"CKA_SIGN_RECOVER", CKA_SIGN_RECOVER, HALF_PRIVATE, WANT_FALSE, false},
    {"CKA_DERIVE", CKA_DERIVE, HALF_PRIVATE, WANT_FALSE, false},
    {"CKA_MODIFIABLE", CKA_MODIFIABLE, HALF_PRIVATE, WANT_ANY, false},
    {"public CKA_TOKEN", CKA_TOKEN, HALF_PUBLIC, WANT_TRUE, true},
    {"public CKA_WRAP", CKA_WRAP, HALF_PUBLIC, WANT_ANY, false},
    {"public CKA_ENCRYPT", CKA_ENCRYPT, HALF_PUBLIC, WANT_ANY, false},
    {"public CKA_VERIFY", CKA_VERIFY, HALF_PUBLIC, WANT_FALSE, false},
};

size_t key_allowed_mechanisms(enum custody custody, CK_MECHANISM_TYPE out[static 2])
{
    size_t count = 0;
    out[count++] = CKM_RSA_PKCS_OAEP;
    /* Tokens without OAEP-SHA2 do raw RSA for custody host. */
    if (custody == CUSTODY_HOST)
        out[count++] = CKM_RSA_X_509;
    return count;
}

static struct attribute_check *add_check(struct key_birth *birth, const char *name,
                                         const char *wanted)
{
    struct attribute_check *check = &birth->checks[birth->check_count++];
    memset(check, 0, sizeof *check);
    snprintf(check->name, sizeof check->name, "%s", name);
    snprintf(check->wanted, sizeof check->wanted, "%s", wanted);
    return check;
}

static void put_not_told(struct attribute_check *check, CK_RV rv)
{
    char name[CK_RV_TEXT];
    ck_rv_text(rv, name);
    snprintf(check->found, sizeof check->found, "not told (%.48s)", name);
}

static const char *want_text(enum want want, const struct key_plan *plan)
{
    bool wrapped = plan->wrapping != KEY_WRAPPED_NEVER;
    switch (want) {
    case WANT_TRUE:
        return "true";
    case WANT_FALSE:
        return "false";
    case WANT_FOR_TOKEN:
        return plan->custody == CUSTODY_TOKEN ? "true" : "false";
    case WANT_FOR_HOST:
        return plan->custody == CUSTODY_HOST ? "true" : "false";
    case WANT_IF_WRAPPED:
        return wrapped ? "true" : "false";
    case WANT_IF_TRUSTED:
        return plan->wrapping == KEY_WRAPPED_BY_TRUSTED ? "true" : "any";
    case WANT_IF_AT_HOME:
        return plan->replica ? "any" : "true";
    case WANT_IF_CONFINED:
        return plan->replica || wrapped ? "any" : "true";
    case WANT_ANY:
        return "any";
    }
    return "any";
}

/* Answers that are known to mean nothing, by the token's manufacturer. */
static const struct {
    const char *manufacturer;
    CK_ATTRIBUTE_TYPE type;
    const char *words;
} mute_rows[] = {
    {"Mozilla Foundation", CKA_LOCAL, "false (NSS does not keep it)"},
};

static bool is_mute(const struct session *session, CK_ATTRIBUTE_TYPE type, char *found, size_t size)
{
    for (size_t i = 0; i < ARRAY_LEN(mute_rows); i++) {
        if (mute_rows[i].type == type &&
            strcmp(mute_rows[i].manufacturer, session->token->facts.manufacturer) == 0) {
            snprintf(found, size, "%s", mute_rows[i].words);
            return true;
        }
    }
    return false;
}

static void check_flag(struct session *session, const struct key_pair *pair,
                       const struct key_plan *plan, const struct flag_row *row,
                       struct key_birth *birth)
{
    if (row->want == WANT_IF_TRUSTED && plan->wrapping != KEY_WRAPPED_BY_TRUSTED)
        return;
    const char *wanted = want_text(row->want, plan);
    struct attribute_check *check = add_check(birth, row->name, wanted);
    CK_RV rv;
    CK_OBJECT_HANDLE object = row->half == HALF_PRIVATE ? pair->private_half : pair->public_half;
    signed char found = attribute_flag(session, object, row->type, &rv);
    if (found < 0) {
        put_not_told(check, rv);
        check->ok = !row->must_tell;
        return;
    }
    snprintf(check->found, sizeof check->found, "%s", found == 1 ? "true" : "false");
    check->ok = strcmp(wanted, "any") == 0 || strcmp(check->found, wanted) == 0 ||
                is_mute(session, row->type, check->found, sizeof check->found);
}

static void put_mechanism(char *out, size_t size, CK_MECHANISM_TYPE mechanism)
{
    const char *name = ck_mechanism_name(mechanism);
    size_t used = strlen(out);
    if (name != NULL)
        snprintf(out + used, size - used, "%s%s", used > 0 ? " " : "", name);
    else
        snprintf(out + used, size - used, "%s0x%lx", used > 0 ? " " : "", mechanism);
}

/* "Where the token tells": a key that was made by any other mechanism was not made here. */
static void check_generation(struct session *session, const struct key_pair *pair,
                             struct key_birth *birth)
{
    struct attribute_check *check =
        add_check(birth, "CKA_KEY_GEN_MECHANISM", "CKM_RSA_PKCS_KEY_PAIR_GEN");
    CK_ULONG mechanism = 0;
    CK_RV rv = attribute_number(session, pair->private_half, CKA_KEY_GEN_MECHANISM, &mechanism);
    if (rv != CKR_OK || mechanism == CK_UNAVAILABLE_INFORMATION) {
        put_not_told(check, rv);
        check->ok = true;
        return;
    }
    put_mechanism(check->found, sizeof check->found, mechanism);
    check->ok = mechanism == CKM_RSA_PKCS_KEY_PAIR_GEN;
}

static bool bytes_equal(struct bytes a, struct bytes b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

static void check_bytes(struct session *session, CK_OBJECT_HANDLE object, const char *name,
                        CK_ATTRIBUTE_TYPE type, struct bytes wanted, struct key_birth *birth)
{
    struct attribute_check *check = add_check(birth, name, "as planned");
    struct buf found = BUF_INIT(1024);
    CK_RV rv = attribute_read(session, object, type, &found);
    if (rv != CKR_OK) {
        put_not_told(check, rv);
    } else {
        check->ok = bytes_equal(buf_bytes(&found), wanted);
        snprintf(check->found, sizeof check->found, "%s",
                 check->ok ? "as planned" : "something else");
    }
    buf_free(&found);
}

static void check_modulus(struct session *session, const struct key_pair *pair, int bits,
                          struct key_birth *birth)
{
    struct attribute_check *check = add_check(birth, "CKA_MODULUS", "");
    snprintf(check->wanted, sizeof check->wanted, "%d bits", bits);
    struct buf modulus = BUF_INIT(1024);
    CK_RV rv = attribute_read(session, pair->private_half, CKA_MODULUS, &modulus);
    if (rv != CKR_OK)
        rv = attribute_read(session, pair->public_half, CKA_MODULUS, &modulus);
    if (rv != CKR_OK) {
        put_not_told(check, rv);
    } else {
        struct bytes number = buf_bytes(&modulus);
        while (number.len > 0 && number.data[0] == 0) {
            number.data++;
            number.len--;
        }
        check->ok = number.len * 8 == (size_t)bits && number.data[0] >= 0x80;
        snprintf(check->found, sizeof check->found, "%zu bytes", number.len);
    }
    buf_free(&modulus);
}

static bool option_left_out(const struct key_options *options, enum key_option option,
                            unsigned number, struct attribute_check *check)
{
    if (options->taken & (unsigned)option)
        return false;
    char name[CK_RV_TEXT];
    ck_rv_text(options->refused[number], name);
    check->ok = true;
    if (options->given_up & (unsigned)option)
        snprintf(check->found, sizeof check->found,
                 "left out: not kept, or the key does not work with it");
    else
        snprintf(check->found, sizeof check->found, "not taken (%.48s)", name);
    return true;
}

static void check_allowed(struct session *session, const struct key_pair *pair,
                          enum custody custody, const struct key_options *options,
                          struct key_birth *birth)
{
    struct attribute_check *check = add_check(birth, "CKA_ALLOWED_MECHANISMS", "");
    CK_MECHANISM_TYPE wanted[2];
    size_t count = key_allowed_mechanisms(custody, wanted);
    for (size_t i = 0; i < count; i++)
        put_mechanism(check->wanted, sizeof check->wanted, wanted[i]);
    if (option_left_out(options, OPTION_ALLOWED_MECHANISMS, 3, check))
        return;
    CK_MECHANISM_TYPE found[16];
    CK_ATTRIBUTE row = {CKA_ALLOWED_MECHANISMS, found, sizeof found};
    CK_RV rv = session->f->C_GetAttributeValue(session->handle, pair->private_half, &row, 1);
    if (rv != CKR_OK || row.ulValueLen > sizeof found) {
        put_not_told(check, rv);
        check->ok = true; /* taken without a word, and without effect */
        return;
    }
    size_t found_count = row.ulValueLen / sizeof found[0];
    for (size_t i = 0; i < found_count; i++)
        put_mechanism(check->found, sizeof check->found, found[i]);
    /* The order is the token's own. */
    check->ok = found_count == count;
    for (size_t i = 0; i < found_count && check->ok; i++)
        check->ok = found[i] == wanted[0] || (count > 1 && found[i] == wanted[1]);
}

/*
 * How many attributes the token keeps in CKA_UNWRAP_TEMPLATE, and whether it keeps them as such.
 * NSS stores the bytes of our structure, with a pointer into this process in them: the value
 * pointer that we leave NULL comes back filled.
 */
static bool read_unwrap_template(struct session *session, CK_OBJECT_HANDLE object, size_t *count)
{
    CK_ATTRIBUTE rows[8];
    memset(rows, 0, sizeof rows);
    CK_ATTRIBUTE row = {CKA_UNWRAP_TEMPLATE, NULL, 0};
    CK_RV rv = session->f->C_GetAttributeValue(session->handle, object, &row, 1);
    if (rv != CKR_OK || row.ulValueLen == CK_UNAVAILABLE_INFORMATION ||
        row.ulValueLen > sizeof rows || row.ulValueLen % sizeof rows[0] != 0)
        return false;
    row.pValue = rows;
    rv = session->f->C_GetAttributeValue(session->handle, object, &row, 1);
    if (rv != CKR_OK || row.ulValueLen > sizeof rows)
        return false;
    *count = row.ulValueLen / sizeof rows[0];
    for (size_t i = 0; i < *count; i++) {
        if (rows[i].pValue != NULL)
            return false;
    }
    return *count > 0;
}

bool key_keeps_unwrap_template(struct session *session, const struct key_pair *pair)
{
    size_t count;
    return read_unwrap_template(session, pair->private_half, &count);
}

static void check_unwrap_template(struct session *session, const struct key_pair *pair,
                                  enum custody custody, const struct key_options *options,
                                  struct key_birth *birth)
{
    if (custody != CUSTODY_TOKEN)
        return;
    struct attribute_check *check = add_check(birth, "CKA_UNWRAP_TEMPLATE", "CKA_SENSITIVE true");
    if (option_left_out(options, OPTION_UNWRAP_TEMPLATE, 2, check))
        return;
    size_t count = 0;
    check->ok = read_unwrap_template(session, pair->private_half, &count);
    snprintf(check->found, sizeof check->found,
             check->ok ? "set (%zu attribute)" : "no template comes back", count);
}

bool key_check(struct session *session, const struct key_pair *pair, const struct key_plan *plan,
               struct bytes id, const struct key_options *options, struct key_birth *birth,
               struct error *err)
{
    static const uint8_t exponent[] = {1, 0, 1};
    const struct bytes label = {(const uint8_t *)plan->label, strlen(plan->label)};
    birth->check_count = 0;
    for (size_t i = 0; i < ARRAY_LEN(flag_rows); i++)
        check_flag(session, pair, plan, &flag_rows[i], birth);
    if (!plan->replica)
        check_generation(session, pair, birth);
    check_modulus(session, pair, plan->bits, birth);
    check_bytes(session, pair->public_half, "public CKA_PUBLIC_EXPONENT", CKA_PUBLIC_EXPONENT,
                (struct bytes){exponent, sizeof exponent}, birth);
    check_bytes(session, pair->private_half, "CKA_ID", CKA_ID, id, birth);
    check_bytes(session, pair->public_half, "public CKA_ID", CKA_ID, id, birth);
    check_bytes(session, pair->private_half, "CKA_LABEL", CKA_LABEL, label, birth);
    check_bytes(session, pair->public_half, "public CKA_LABEL", CKA_LABEL, label, birth);
    check_allowed(session, pair, plan->custody, options, birth);
    check_unwrap_template(session, pair, plan->custody, options, birth);
    birth->accepted = true;
    for (size_t i = 0; i < birth->check_count; i++)
        birth->accepted = birth->accepted && birth->checks[i].ok;
    CK_ULONG class;
    CK_RV rv = attribute_number(session, pair->private_half, CKA_CLASS, &class);
    if (rv != CKR_OK)
        return session_fail(session, "C_GetAttributeValue", NO_MECHANISM, rv, err);
    return true;
}
