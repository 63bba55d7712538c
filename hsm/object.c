/* SPDX-License-Identifier: Apache-2.0 */
#include "object.h"

#include <assert.h>
#include <string.h>

#define ATTRIBUTE_MAX 16384 /* bytes of one value that we read */

CK_BYTE_PTR ck_input(const void *data)
{
    return (CK_BYTE_PTR)(uintptr_t)data;
}

static CK_ATTRIBUTE *add_row(struct template *template, CK_ATTRIBUTE_TYPE type, CK_ULONG len)
{
    assert(template->count < TEMPLATE_MAX); /* templates are made of our tables, never of input */
    CK_ATTRIBUTE *row = &template->rows[template->count++];
    row->type = type;
    row->ulValueLen = len;
    return row;
}

void template_flag(struct template *template, CK_ATTRIBUTE_TYPE type, bool value)
{
    CK_BBOOL *place = &template->values[template->count].flag;
    *place = value ? CK_TRUE : CK_FALSE;
    add_row(template, type, sizeof *place)->pValue = place;
}

void template_number(struct template *template, CK_ATTRIBUTE_TYPE type, CK_ULONG value)
{
    CK_ULONG *place = &template->values[template->count].number;
    *place = value;
    add_row(template, type, sizeof *place)->pValue = place;
}

void template_bytes(struct template *template, CK_ATTRIBUTE_TYPE type, struct bytes value)
{
    add_row(template, type, value.len)->pValue = ck_input(value.data);
}

void template_rows(struct template *template, const struct template_row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (rows[i].kind == ROW_FLAG)
            template_flag(template, rows[i].type, rows[i].value != 0);
        else
            template_number(template, rows[i].type, rows[i].value);
    }
}

CK_RV attribute_read(struct session *session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type,
                     struct buf *out)
{
    CK_ATTRIBUTE row = {type, NULL, 0};
    CK_RV rv = session->f->C_GetAttributeValue(session->handle, object, &row, 1);
    if (rv != CKR_OK)
        return rv;
    /* Some modules answer CKR_OK and say only here that there is no value. */
    if (row.ulValueLen == CK_UNAVAILABLE_INFORMATION || row.ulValueLen > ATTRIBUTE_MAX)
        return CKR_ATTRIBUTE_TYPE_INVALID;
    size_t before = out->len;
    CK_ULONG room = row.ulValueLen;
    row.pValue = buf_extend(out, room);
    if (row.pValue == NULL)
        return CKR_HOST_MEMORY;
    if (room == 0)
        return CKR_OK;
    memset(row.pValue, 0, room); /* a module may say more than it has written */
    rv = session->f->C_GetAttributeValue(session->handle, object, &row, 1);
    if (rv == CKR_OK && row.ulValueLen > room)
        rv = CKR_ATTRIBUTE_TYPE_INVALID;
    out->len = rv == CKR_OK ? before + row.ulValueLen : before;
    return rv;
}

signed char attribute_flag(struct session *session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type,
                           CK_RV *rv)
{
    CK_BBOOL value = CK_FALSE;
    CK_ATTRIBUTE row = {type, &value, sizeof value};
    CK_RV result = session->f->C_GetAttributeValue(session->handle, object, &row, 1);
    if (result == CKR_OK && row.ulValueLen != sizeof value)
        result = CKR_ATTRIBUTE_TYPE_INVALID;
    if (rv != NULL)
        *rv = result;
    if (result != CKR_OK)
        return -1;
    return value != CK_FALSE ? 1 : 0;
}

CK_RV attribute_number(struct session *session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type,
                       CK_ULONG *out)
{
    CK_ATTRIBUTE row = {type, out, sizeof *out};
    CK_RV rv = session->f->C_GetAttributeValue(session->handle, object, &row, 1);
    if (rv == CKR_OK && row.ulValueLen != sizeof *out)
        return CKR_ATTRIBUTE_TYPE_INVALID;
    return rv;
}

bool attribute_readable(struct session *session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type,
                        CK_RV *rv)
{
    CK_ATTRIBUTE row = {type, NULL, 0};
    *rv = session->f->C_GetAttributeValue(session->handle, object, &row, 1);
    return *rv == CKR_OK && row.ulValueLen != CK_UNAVAILABLE_INFORMATION;
}

bool object_take(struct session *session, const char *function, CK_OBJECT_HANDLE made,
                 const CK_OBJECT_HANDLE *known, size_t count, CK_OBJECT_HANDLE *place,
                 struct error *err)
{
    bool fresh = made != CK_INVALID_HANDLE;
    for (size_t i = 0; i < count; i++)
        fresh = fresh && made != known[i];
    if (fresh) {
        *place = made;
        return true;
    }
    session_spoil(session, function, CKR_KEY_HANDLE_INVALID);
    return session_fail_lost(session, err);
}

bool secret_require_unreadable(struct session *session, CK_OBJECT_HANDLE object, struct error *err)
{
    CK_RV sensitive_rv, value_rv;
    bool sensitive = attribute_flag(session, object, CKA_SENSITIVE, &sensitive_rv) == 1;
    bool readable = attribute_readable(session, object, CKA_VALUE, &value_rv);
    if (ck_class_is_trouble(ck_rv_class(sensitive_rv)))
        return session_fail(session, "C_GetAttributeValue(CKA_SENSITIVE)", NO_MECHANISM,
                            sensitive_rv, err);
    if (ck_class_is_trouble(ck_rv_class(value_rv)))
        return session_fail(session, "C_GetAttributeValue(CKA_VALUE)", NO_MECHANISM, value_rv, err);
    if (sensitive_rv != CKR_OK) {
        /* Not said to be readable, but not told: the probe had its answer from this token. */
        session_fail(session, "C_GetAttributeValue(CKA_SENSITIVE)", NO_MECHANISM, sensitive_rv,
                     err);
        err->kind = FAIL_TOKEN;
        return false;
    }
    if (sensitive && !readable)
        return true;
    ck_call_text(readable ? "C_GetAttributeValue(CKA_VALUE)" : "C_GetAttributeValue(CKA_SENSITIVE)",
                 NO_MECHANISM, session->call);
    session->rv = readable ? value_rv : sensitive_rv;
    error_set(err, FAIL_POLICY, "token \"%s\" would let the unwrapped secret be read",
              session->token->facts.label);
    return error_hint(err, "this token cannot give custody token; see `reseal token probe`");
}

bool objects_find(struct session *session, struct template *template, CK_OBJECT_HANDLE *found,
                  size_t max, size_t *count, struct error *err)
{
    *count = 0;
    CK_RV rv = session->f->C_FindObjectsInit(session->handle, template->rows, template->count);
    if (rv != CKR_OK)
        return session_fail(session, "C_FindObjectsInit", NO_MECHANISM, rv, err);
    /* A module may give fewer at a time than it was asked for: zero alone means the end. */
    CK_ULONG got = 1;
    while (rv == CKR_OK && got > 0 && *count < max) {
        got = 0;
        for (size_t i = *count; i < max; i++)
            found[i] = CK_INVALID_HANDLE;
        rv = session->f->C_FindObjects(session->handle, found + *count, max - *count, &got);
        if (got > max - *count)
            got = max - *count;
        /* Counted, but not written. */
        while (got > 0 && found[*count + got - 1] == CK_INVALID_HANDLE)
            got--;
        *count += got;
    }
    CK_RV final = session->f->C_FindObjectsFinal(session->handle);
    if (rv != CKR_OK)
        return session_fail(session, "C_FindObjects", NO_MECHANISM, rv, err);
    if (final != CKR_OK)
        return session_fail(session, "C_FindObjectsFinal", NO_MECHANISM, final, err);
    return true;
}

void object_drop(struct session *session, CK_OBJECT_HANDLE *object)
{
    if (*object == CK_INVALID_HANDLE)
        return;
    CK_RV rv = session->f->C_DestroyObject(session->handle, *object);
    if (rv != CKR_OK)
        session_spoil(session, "C_DestroyObject", rv);
    *object = CK_INVALID_HANDLE;
}
