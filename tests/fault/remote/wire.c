/* SPDX-License-Identifier: Apache-2.0 */
#include "wire.h"

#include <stdlib.h>
#include <string.h>
#include "reseal/secret.h"

/* Values of PKCS#11 v3.1 and of NSS that the header of p11-kit 0.24 does not carry. */
#define MECHANISM_AES_KEY_WRAP_KWP     0x210bUL
#define MECHANISM_NSS_AES_KEY_WRAP     0xce534351UL
#define MECHANISM_NSS_AES_KEY_WRAP_PAD 0xce534352UL

const char *remote_call_name(unsigned call)
{
    static const char *const names[REMOTE_CALL_COUNT] = {
        [REMOTE_GET_INFO] = "C_GetInfo",
        [REMOTE_GET_SLOT_LIST] = "C_GetSlotList",
        [REMOTE_GET_SLOT_INFO] = "C_GetSlotInfo",
        [REMOTE_GET_TOKEN_INFO] = "C_GetTokenInfo",
        [REMOTE_GET_MECHANISM_LIST] = "C_GetMechanismList",
        [REMOTE_GET_MECHANISM_INFO] = "C_GetMechanismInfo",
        [REMOTE_OPEN_SESSION] = "C_OpenSession",
        [REMOTE_CLOSE_SESSION] = "C_CloseSession",
        [REMOTE_CLOSE_ALL_SESSIONS] = "C_CloseAllSessions",
        [REMOTE_GET_SESSION_INFO] = "C_GetSessionInfo",
        [REMOTE_LOGIN] = "C_Login",
        [REMOTE_LOGOUT] = "C_Logout",
        [REMOTE_CREATE_OBJECT] = "C_CreateObject",
        [REMOTE_COPY_OBJECT] = "C_CopyObject",
        [REMOTE_DESTROY_OBJECT] = "C_DestroyObject",
        [REMOTE_GET_OBJECT_SIZE] = "C_GetObjectSize",
        [REMOTE_GET_ATTRIBUTE_VALUE] = "C_GetAttributeValue",
        [REMOTE_SET_ATTRIBUTE_VALUE] = "C_SetAttributeValue",
        [REMOTE_FIND_OBJECTS_INIT] = "C_FindObjectsInit",
        [REMOTE_FIND_OBJECTS] = "C_FindObjects",
        [REMOTE_FIND_OBJECTS_FINAL] = "C_FindObjectsFinal",
        [REMOTE_ENCRYPT_INIT] = "C_EncryptInit",
        [REMOTE_ENCRYPT] = "C_Encrypt",
        [REMOTE_DECRYPT_INIT] = "C_DecryptInit",
        [REMOTE_DECRYPT] = "C_Decrypt",
        [REMOTE_SIGN_INIT] = "C_SignInit",
        [REMOTE_SIGN] = "C_Sign",
        [REMOTE_VERIFY_INIT] = "C_VerifyInit",
        [REMOTE_VERIFY] = "C_Verify",
        [REMOTE_GENERATE_KEY] = "C_GenerateKey",
        [REMOTE_GENERATE_KEY_PAIR] = "C_GenerateKeyPair",
        [REMOTE_WRAP_KEY] = "C_WrapKey",
        [REMOTE_UNWRAP_KEY] = "C_UnwrapKey",
        [REMOTE_DERIVE_KEY] = "C_DeriveKey",
        [REMOTE_SEED_RANDOM] = "C_SeedRandom",
        [REMOTE_GENERATE_RANDOM] = "C_GenerateRandom",
    };
    return call < REMOTE_CALL_COUNT ? names[call] : NULL;
}

/* -- memory of a call -- */

struct arena_piece {
    struct arena_piece *next;
    size_t size;
    _Alignas(max_align_t) uint8_t data[];
};

void *arena_take(struct arena *arena, size_t size)
{
    if (size > REMOTE_BODY_MAX)
        return NULL;
    struct arena_piece *piece = calloc(1, sizeof *piece + size);
    if (piece == NULL)
        return NULL;
    piece->size = size;
    piece->next = arena->pieces;
    arena->pieces = piece;
    return piece->data;
}

void arena_free(struct arena *arena)
{
    for (struct arena_piece *piece = arena->pieces, *next; piece != NULL; piece = next) {
        next = piece->next;
        memory_wipe(piece->data, piece->size);
        free(piece);
    }
    arena->pieces = NULL;
}

/* -- numbers and bytes -- */

bool wire_handle(uint32_t incarnation, CK_ULONG outer, CK_ULONG *inner)
{
    *inner = outer & UINT32_MAX;
    return outer == CK_INVALID_HANDLE || (incarnation != 0 && outer >> 32 == incarnation);
}

bool wire_take_number(struct cursor *in, CK_ULONG *out)
{
    uint64_t value;
    if (!cursor_u64(in, &value))
        return false;
    *out = value;
    return true;
}

bool wire_take_flag(struct cursor *in, bool *out)
{
    uint8_t value;
    if (!cursor_u8(in, &value) || value > 1)
        return false;
    *out = value == 1;
    return true;
}

bool wire_take_bytes(struct cursor *in, struct arena *arena, CK_BYTE_PTR *out, CK_ULONG *len)
{
    struct bytes raw;
    bool there;
    *out = NULL;
    *len = 0;
    if (!wire_take_flag(in, &there) || !cursor_block(in, REMOTE_BODY_MAX, &raw))
        return false;
    *len = raw.len;
    if (!there)
        return raw.len == 0;
    *out = arena_take(arena, raw.len);
    if (*out == NULL)
        return false;
    if (raw.len > 0)
        memcpy(*out, raw.data, raw.len);
    return true;
}

static void put_bytes(struct buf *out, const void *data, CK_ULONG len)
{
    buf_put_u8(out, data != NULL);
    buf_put_block(out, data, data != NULL ? len : 0);
}

/* -- mechanisms -- */

enum form {
    FORM_NONE, /* no parameter */
    FORM_RAW,  /* no pointer in it: an initialisation vector, a structure of numbers */
    FORM_OAEP,
    FORM_DATA, /* CK_KEY_DERIVATION_STRING_DATA */
    FORM_ECDH,
    FORM_OBJECT,
};

static const struct {
    CK_MECHANISM_TYPE mechanism;
    enum form form;
} forms[] = {
    {CKM_RSA_PKCS_OAEP, FORM_OAEP},
    {CKM_RSA_PKCS_PSS, FORM_RAW},
    {CKM_SHA256_RSA_PKCS_PSS, FORM_RAW},
    {CKM_SHA384_RSA_PKCS_PSS, FORM_RAW},
    {CKM_SHA512_RSA_PKCS_PSS, FORM_RAW},
    {CKM_AES_CBC, FORM_RAW},
    {CKM_AES_CBC_PAD, FORM_RAW},
    {CKM_AES_KEY_WRAP, FORM_RAW},
    {CKM_AES_KEY_WRAP_PAD, FORM_RAW},
    {MECHANISM_AES_KEY_WRAP_KWP, FORM_RAW},
    {MECHANISM_NSS_AES_KEY_WRAP, FORM_RAW},
    {MECHANISM_NSS_AES_KEY_WRAP_PAD, FORM_RAW},
    {CKM_EXTRACT_KEY_FROM_KEY, FORM_RAW},
    {CKM_CONCATENATE_DATA_AND_BASE, FORM_DATA},
    {CKM_CONCATENATE_BASE_AND_DATA, FORM_DATA},
    {CKM_XOR_BASE_AND_DATA, FORM_DATA},
    {CKM_CONCATENATE_BASE_AND_KEY, FORM_OBJECT},
    {CKM_ECDH1_DERIVE, FORM_ECDH},
    {CKM_ECDH1_COFACTOR_DERIVE, FORM_ECDH},
};

static enum form form_of(CK_MECHANISM_TYPE mechanism)
{
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        if (forms[i].mechanism == mechanism)
            return forms[i].form;
    }
    return FORM_NONE;
}

/* 0: any length. */
static size_t form_size(enum form form)
{
    switch (form) {
    case FORM_NONE:
    case FORM_RAW:
        return 0;
    case FORM_OAEP:
        return sizeof(CK_RSA_PKCS_OAEP_PARAMS);
    case FORM_DATA:
        return sizeof(CK_KEY_DERIVATION_STRING_DATA);
    case FORM_ECDH:
        return sizeof(CK_ECDH1_DERIVE_PARAMS);
    case FORM_OBJECT:
        return sizeof(CK_OBJECT_HANDLE);
    }
    return 0;
}

static CK_RV put_object(struct buf *out, uint32_t incarnation, const CK_OBJECT_HANDLE *object)
{
    CK_ULONG inner;
    if (!wire_handle(incarnation, *object, &inner))
        return CKR_KEY_HANDLE_INVALID;
    buf_put_u64(out, inner);
    return CKR_OK;
}

static void put_oaep(struct buf *out, const CK_RSA_PKCS_OAEP_PARAMS *params)
{
    buf_put_u64(out, params->hashAlg);
    buf_put_u64(out, params->mgf);
    buf_put_u64(out, params->source);
    put_bytes(out, params->pSourceData, params->ulSourceDataLen);
}

static void put_ecdh(struct buf *out, const CK_ECDH1_DERIVE_PARAMS *params)
{
    buf_put_u64(out, params->kdf);
    put_bytes(out, params->pSharedData, params->ulSharedDataLen);
    put_bytes(out, params->pPublicData, params->ulPublicDataLen);
}

CK_RV wire_put_mechanism(struct buf *out, uint32_t incarnation, const CK_MECHANISM *mechanism)
{
    if (mechanism == NULL)
        return CKR_ARGUMENTS_BAD;
    enum form form = form_of(mechanism->mechanism);
    const void *params = mechanism->pParameter;
    if (params == NULL)
        form = FORM_NONE;
    else if (form == FORM_NONE && mechanism->ulParameterLen == 0)
        params = NULL;
    /* What would be sent as it is may hold pointers. */
    if (params != NULL && (form == FORM_NONE ||
                           (form_size(form) != 0 && mechanism->ulParameterLen != form_size(form))))
        return CKR_MECHANISM_PARAM_INVALID;
    buf_put_u64(out, mechanism->mechanism);
    buf_put_u8(out, (uint8_t)form);
    switch (form) {
    case FORM_NONE:
        break;
    case FORM_RAW:
        put_bytes(out, params, mechanism->ulParameterLen);
        break;
    case FORM_OAEP:
        put_oaep(out, params);
        break;
    case FORM_DATA: {
        const CK_KEY_DERIVATION_STRING_DATA *data = params;
        put_bytes(out, data->pData, data->ulLen);
        break;
    }
    case FORM_ECDH:
        put_ecdh(out, params);
        break;
    case FORM_OBJECT:
        return put_object(out, incarnation, params);
    }
    return CKR_OK;
}

static bool take_oaep(struct cursor *in, struct arena *arena, CK_RSA_PKCS_OAEP_PARAMS *out)
{
    CK_BYTE_PTR source;
    if (!wire_take_number(in, &out->hashAlg) || !wire_take_number(in, &out->mgf) ||
        !wire_take_number(in, &out->source) ||
        !wire_take_bytes(in, arena, &source, &out->ulSourceDataLen))
        return false;
    out->pSourceData = source;
    return true;
}

static bool take_ecdh(struct cursor *in, struct arena *arena, CK_ECDH1_DERIVE_PARAMS *out)
{
    return wire_take_number(in, &out->kdf) &&
           wire_take_bytes(in, arena, &out->pSharedData, &out->ulSharedDataLen) &&
           wire_take_bytes(in, arena, &out->pPublicData, &out->ulPublicDataLen);
}

static bool take_params(struct cursor *in, struct arena *arena, enum form form, CK_MECHANISM *out)
{
    CK_BYTE_PTR raw;
    if (form == FORM_RAW) {
        if (!wire_take_bytes(in, arena, &raw, &out->ulParameterLen))
            return false;
        out->pParameter = raw;
        return true;
    }
    out->ulParameterLen = form_size(form);
    out->pParameter = arena_take(arena, out->ulParameterLen);
    if (out->pParameter == NULL)
        return false;
    CK_KEY_DERIVATION_STRING_DATA *data = out->pParameter;
    switch (form) {
    case FORM_NONE:
    case FORM_RAW:
        break;
    case FORM_OAEP:
        return take_oaep(in, arena, out->pParameter);
    case FORM_DATA:
        return wire_take_bytes(in, arena, &data->pData, &data->ulLen);
    case FORM_ECDH:
        return take_ecdh(in, arena, out->pParameter);
    case FORM_OBJECT:
        return wire_take_number(in, out->pParameter);
    }
    return false;
}

bool wire_take_mechanism(struct cursor *in, struct arena *arena, CK_MECHANISM *out)
{
    uint8_t form;
    *out = (CK_MECHANISM){0, NULL, 0};
    if (!wire_take_number(in, &out->mechanism) || !cursor_u8(in, &form))
        return false;
    if (form == FORM_NONE)
        return true;
    return form == form_of(out->mechanism) && take_params(in, arena, (enum form)form, out);
}

/* -- templates -- */

enum value {
    VALUE_NONE,   /* a NULL pointer, and a length */
    VALUE_BYTES,  /* in a query: room for them */
    VALUE_NESTED, /* a template in a template */
    VALUE_FOREIGN /* a pointer that the token put in the place of ours: never followed */
};

static bool is_template(CK_ATTRIBUTE_TYPE type)
{
    return type == CKA_WRAP_TEMPLATE || type == CKA_UNWRAP_TEMPLATE || type == CKA_DERIVE_TEMPLATE;
}

/* One level of nesting, as the standard has it. */
static CK_RV put_rows(struct buf *out, const CK_ATTRIBUTE *rows, CK_ULONG count, bool query,
                      bool inner)
{
    if (count > WIRE_ROWS_MAX || (rows == NULL && count > 0))
        return CKR_ARGUMENTS_BAD;
    buf_put_u32(out, (uint32_t)count);
    for (CK_ULONG i = 0; i < count; i++) {
        const CK_ATTRIBUTE *row = &rows[i];
        buf_put_u64(out, row->type);
        if (row->pValue == NULL) {
            buf_put_u8(out, VALUE_NONE);
            buf_put_u64(out, row->ulValueLen);
        } else if (is_template(row->type)) {
            if (inner || row->ulValueLen % sizeof *rows != 0)
                return CKR_ATTRIBUTE_VALUE_INVALID;
            buf_put_u8(out, VALUE_NESTED);
            CK_RV rv = put_rows(out, row->pValue, row->ulValueLen / sizeof *rows, query, true);
            if (rv != CKR_OK)
                return rv;
        } else if (query) {
            buf_put_u8(out, VALUE_BYTES);
            buf_put_u64(out, row->ulValueLen);
        } else {
            buf_put_u8(out, VALUE_BYTES);
            buf_put_block(out, row->pValue, row->ulValueLen);
        }
    }
    return CKR_OK;
}

CK_RV wire_put_template(struct buf *out, const CK_ATTRIBUTE *rows, CK_ULONG count)
{
    return put_rows(out, rows, count, false, false);
}

CK_RV wire_put_query(struct buf *out, const CK_ATTRIBUTE *rows, CK_ULONG count)
{
    return put_rows(out, rows, count, true, false);
}

static bool take_rows(struct cursor *in, struct arena *arena, bool inner, CK_ATTRIBUTE **rows,
                      CK_ULONG *count)
{
    uint32_t rows_there;
    if (!cursor_u32(in, &rows_there) || rows_there > WIRE_ROWS_MAX)
        return false;
    *count = rows_there;
    *rows = arena_take(arena, rows_there * sizeof **rows);
    for (CK_ULONG i = 0; *rows != NULL && i < *count; i++) {
        CK_ATTRIBUTE *row = &(*rows)[i];
        struct bytes raw;
        CK_ATTRIBUTE *nested;
        CK_ULONG nested_count;
        uint8_t value;
        if (!wire_take_number(in, &row->type) || !cursor_u8(in, &value))
            return false;
        switch (value) {
        case VALUE_NONE:
            if (!wire_take_number(in, &row->ulValueLen))
                return false;
            break;
        case VALUE_BYTES:
            if (!cursor_block(in, REMOTE_BODY_MAX, &raw))
                return false;
            row->ulValueLen = raw.len;
            row->pValue = arena_take(arena, raw.len);
            if (row->pValue == NULL)
                return false;
            if (raw.len > 0)
                memcpy(row->pValue, raw.data, raw.len);
            break;
        case VALUE_NESTED:
            if (inner || !is_template(row->type) ||
                !take_rows(in, arena, true, &nested, &nested_count))
                return false;
            row->pValue = nested;
            row->ulValueLen = nested_count * sizeof *nested;
            break;
        default:
            return false;
        }
    }
    return *rows != NULL;
}

bool wire_take_template(struct cursor *in, struct arena *arena, CK_ATTRIBUTE **rows,
                        CK_ULONG *count)
{
    return take_rows(in, arena, false, rows, count);
}

/* -- reading attributes -- */

static bool take_query(struct cursor *in, struct arena *arena, bool inner, struct wire_query **out);

static bool take_query_row(struct cursor *in, struct arena *arena, bool inner, CK_ATTRIBUTE *row,
                           struct wire_query **nested)
{
    uint8_t value;
    if (!wire_take_number(in, &row->type) || !cursor_u8(in, &value))
        return false;
    switch (value) {
    case VALUE_NONE:
        return wire_take_number(in, &row->ulValueLen);
    case VALUE_BYTES:
        if (!wire_take_number(in, &row->ulValueLen) || row->ulValueLen > REMOTE_ROOM_MAX)
            return false;
        row->pValue = arena_take(arena, row->ulValueLen);
        return row->pValue != NULL;
    case VALUE_NESTED:
        if (inner || !is_template(row->type) || !take_query(in, arena, true, nested))
            return false;
        row->pValue = (*nested)->rows;
        row->ulValueLen = (*nested)->count * sizeof *row;
        return true;
    default:
        return false;
    }
}

static bool take_query(struct cursor *in, struct arena *arena, bool inner, struct wire_query **out)
{
    uint32_t count;
    struct wire_query *query = arena_take(arena, sizeof *query);
    if (query == NULL || !cursor_u32(in, &count) || count > WIRE_ROWS_MAX)
        return false;
    query->count = count;
    for (uint32_t i = 0; i < count; i++) {
        if (!take_query_row(in, arena, inner, &query->rows[i], &query->nested[i]))
            return false;
    }
    memcpy(query->asked, query->rows, sizeof query->asked);
    *out = query;
    return true;
}

bool wire_take_query(struct cursor *in, struct arena *arena, struct wire_query **out)
{
    return take_query(in, arena, false, out);
}

void wire_put_found(struct buf *out, const struct wire_query *query)
{
    buf_put_u32(out, (uint32_t)query->count);
    for (CK_ULONG i = 0; i < query->count; i++) {
        const CK_ATTRIBUTE *row = &query->rows[i], *asked = &query->asked[i];
        bool filled =
            row->ulValueLen != CK_UNAVAILABLE_INFORMATION && row->ulValueLen <= asked->ulValueLen;
        buf_put_u64(out, row->type);
        buf_put_u64(out, row->ulValueLen);
        if (row->pValue != asked->pValue) {
            buf_put_u8(out, VALUE_FOREIGN);
        } else if (row->pValue == NULL || !filled) {
            buf_put_u8(out, VALUE_NONE);
        } else if (query->nested[i] != NULL) {
            query->nested[i]->count = row->ulValueLen / sizeof *row;
            buf_put_u8(out, VALUE_NESTED);
            wire_put_found(out, query->nested[i]);
        } else {
            buf_put_u8(out, VALUE_BYTES);
            buf_put_block(out, row->pValue, row->ulValueLen);
        }
    }
}

static bool take_found(struct cursor *in, bool inner, CK_ATTRIBUTE *rows, CK_ULONG room)
{
    static CK_BYTE foreign; /* stands for a pointer that is not ours */
    uint32_t count;
    if (!cursor_u32(in, &count) || count > room)
        return false;
    for (uint32_t i = 0; i < count; i++) {
        CK_ATTRIBUTE *row = &rows[i];
        CK_ULONG type, len, asked = row->ulValueLen;
        struct bytes raw;
        uint8_t value;
        if (!wire_take_number(in, &type) || !wire_take_number(in, &len) || !cursor_u8(in, &value))
            return false;
        row->type = type;
        row->ulValueLen = len;
        switch (value) {
        case VALUE_NONE:
            break;
        case VALUE_FOREIGN:
            row->pValue = &foreign;
            break;
        case VALUE_BYTES:
            if (row->pValue == NULL || !cursor_block(in, asked, &raw) || raw.len != len)
                return false;
            if (raw.len > 0)
                memcpy(row->pValue, raw.data, raw.len);
            break;
        case VALUE_NESTED:
            if (inner || row->pValue == NULL ||
                !take_found(in, true, row->pValue, asked / sizeof *row))
                return false;
            break;
        default:
            return false;
        }
    }
    return true;
}

bool wire_take_found(struct cursor *in, CK_ATTRIBUTE *rows, CK_ULONG count)
{
    return take_found(in, false, rows, count);
}
