/* SPDX-License-Identifier: Apache-2.0 */
#include "key_check.h"

#include <stdio.h>
#include <string.h>
#include "key_promise.h"

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
    snprintf(check->found, sizeof check->found, FOUND_NOT_TOLD " (%.48s)", name);
}

static void check_flag(struct session *session, const struct key_pair *pair,
                       const struct key_plan *plan, const struct promised_flag *row,
                       struct key_birth *birth)
{
    const char *wanted = promised_flag_wanted(row, plan);
    if (wanted == NULL)
        return;
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
    check->ok = strcmp(wanted, "any") == 0 || strcmp(check->found, wanted) == 0;
    const char *mute = promised_flag_mute(row, session->token->facts.manufacturer);
    if (!check->ok && mute != NULL) {
        snprintf(check->found, sizeof check->found, "%s", mute);
        check->ok = true;
    }
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
    struct attribute_check *check = add_check(birth, "CKA_KEY_GEN_MECHANISM", WANTED_GENERATION);
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
    struct attribute_check *check = add_check(birth, name, FOUND_AS_PLANNED);
    struct buf found = BUF_INIT(1024);
    CK_RV rv = attribute_read(session, object, type, &found);
    if (rv != CKR_OK) {
        put_not_told(check, rv);
    } else {
        check->ok = bytes_equal(buf_bytes(&found), wanted);
        snprintf(check->found, sizeof check->found, "%s",
                 check->ok ? FOUND_AS_PLANNED : "something else");
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
                 FOUND_LEFT_OUT ": not kept, or the key does not work with it");
    else
        snprintf(check->found, sizeof check->found, FOUND_NOT_TAKEN " (%.48s)", name);
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
    struct attribute_check *check = add_check(birth, "CKA_UNWRAP_TEMPLATE", WANTED_TEMPLATE);
    if (option_left_out(options, OPTION_UNWRAP_TEMPLATE, 2, check))
        return;
    size_t count = 0;
    check->ok = read_unwrap_template(session, pair->private_half, &count);
    snprintf(check->found, sizeof check->found,
             check->ok ? FOUND_TEMPLATE " (%zu attribute)" : "no template comes back", count);
}

bool key_check(struct session *session, const struct key_pair *pair, const struct key_plan *plan,
               struct bytes id, const struct key_options *options, struct key_birth *birth,
               struct error *err)
{
    static const uint8_t exponent[] = {1, 0, 1};
    const struct bytes label = {(const uint8_t *)plan->label, strlen(plan->label)};
    birth->check_count = 0;
    const struct promised_flag *row;
    for (size_t i = 0; (row = promised_flag_at(i)) != NULL; i++)
        check_flag(session, pair, plan, row, birth);
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
