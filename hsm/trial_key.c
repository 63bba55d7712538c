/* SPDX-License-Identifier: Apache-2.0 */
/* Sealing keys to find out what a token can do: session objects, which leave nothing behind. */
#include <stdio.h>
#include <string.h>
#include "sealing_key.h"

static const struct template_row public_rows[] = {
    {CKA_CLASS, ROW_NUMBER, CKO_PUBLIC_KEY},
    {CKA_KEY_TYPE, ROW_NUMBER, CKK_RSA},
    {CKA_TOKEN, ROW_FLAG, false},
};

static const struct template_row private_rows[] = {
    {CKA_CLASS, ROW_NUMBER, CKO_PRIVATE_KEY},
    {CKA_KEY_TYPE, ROW_NUMBER, CKK_RSA},
    {CKA_TOKEN, ROW_FLAG, false},
    {CKA_PRIVATE, ROW_FLAG, true},
    {CKA_SENSITIVE, ROW_FLAG, true},
    {CKA_EXTRACTABLE, ROW_FLAG, false},
    {CKA_SIGN, ROW_FLAG, false},
};

bool sealing_key_make_trial(struct session *session, int bits, enum custody custody,
                            struct sealing_key **out, struct error *err)
{
    static const uint8_t exponent[] = {1, 0, 1};
    struct template public_half = {.count = 0}, private_half = {.count = 0};
    CK_OBJECT_HANDLE public_handle = CK_INVALID_HANDLE, private_handle = CK_INVALID_HANDLE;
    char label[64];
    *out = NULL;
    snprintf(label, sizeof label, "trial-%d-%s", bits, custody_name(custody));
    const struct bytes label_bytes = {(const uint8_t *)label, strlen(label)};
    template_rows(&public_half, public_rows, ARRAY_LEN(public_rows));
    template_number(&public_half, CKA_MODULUS_BITS, (CK_ULONG)bits);
    template_bytes(&public_half, CKA_PUBLIC_EXPONENT, (struct bytes){exponent, sizeof exponent});
    template_bytes(&public_half, CKA_LABEL, label_bytes);
    template_flag(&public_half, CKA_WRAP, custody == CUSTODY_TOKEN);
    template_flag(&public_half, CKA_ENCRYPT, custody == CUSTODY_HOST);
    template_rows(&private_half, private_rows, ARRAY_LEN(private_rows));
    template_bytes(&private_half, CKA_LABEL, label_bytes);
    template_flag(&private_half, CKA_UNWRAP, custody == CUSTODY_TOKEN);
    template_flag(&private_half, CKA_DECRYPT, custody == CUSTODY_HOST);
    CK_MECHANISM mechanism = {CKM_RSA_PKCS_KEY_PAIR_GEN, NULL, 0};
    CK_RV rv = session->f->C_GenerateKeyPair(session->handle, &mechanism, public_half.rows,
                                             public_half.count, private_half.rows,
                                             private_half.count, &public_handle, &private_handle);
    if (rv != CKR_OK)
        return session_fail(session, "C_GenerateKeyPair", CKM_RSA_PKCS_KEY_PAIR_GEN, rv, err);
    if (sealing_key_from_handles(session, private_handle, public_handle, out, err))
        return true;
    object_drop(session, &private_handle);
    object_drop(session, &public_handle);
    return false;
}
