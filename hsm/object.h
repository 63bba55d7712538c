/* SPDX-License-Identifier: Apache-2.0 */
/* Objects of a session: templates, attributes, finding, destroying (PKCS#11 v3.1, sections 4, 5.7).
 */
#ifndef RESEAL_HSM_OBJECT_H
#define RESEAL_HSM_OBJECT_H

#include "token_private.h"

#define TEMPLATE_MAX 24

/* A template on the stack, with the values of its flags and numbers beside it. */
struct template
{
    CK_ATTRIBUTE rows[TEMPLATE_MAX];
    CK_ULONG count;
    union {
        CK_BBOOL flag;
        CK_ULONG number;
    } values[TEMPLATE_MAX];
};

void template_flag(struct template *template, CK_ATTRIBUTE_TYPE type, bool value);
void template_number(struct template *template, CK_ATTRIBUTE_TYPE type, CK_ULONG value);
/* A view: the bytes must outlive the template. */
void template_bytes(struct template *template, CK_ATTRIBUTE_TYPE type, struct bytes value);

/* One row of a table of templates: a flag, or a number. */
struct template_row {
    CK_ATTRIBUTE_TYPE type;
    enum {
        ROW_FLAG,
        ROW_NUMBER
    } kind;
    CK_ULONG value;
};
void template_rows(struct template *template, const struct template_row *rows, size_t count);

/* Bytes as PKCS#11 wants its inputs: without const, although no module writes to them. */
CK_BYTE_PTR ck_input(const void *data) MUST_USE;

/* The attribute's value appended to `out`; the CK_RV as it came. */
CK_RV attribute_read(struct session *session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type,
                     struct buf *out) MUST_USE;
/* 1 true, 0 false, -1 the token does not say; `rv` tells why (may be NULL). */
signed char attribute_flag(struct session *session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type,
                           CK_RV *rv) MUST_USE;
CK_RV attribute_number(struct session *session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type,
                       CK_ULONG *out) MUST_USE;
/* True unless the token refuses to give the attribute's value. Asks for the length only, so that
 * no secret comes out where it could. */
bool attribute_readable(struct session *session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type,
                        CK_RV *rv) MUST_USE;

/* Takes the handle of what a call has just made into *place. One that stands for something known
 * already, or for nothing, is a token out of its mind: the session counts as lost. The other would
 * be wrapped in place of the password. */
bool object_take(struct session *session, const char *function, CK_OBJECT_HANDLE made,
                 const CK_OBJECT_HANDLE *known, size_t count, CK_OBJECT_HANDLE *place,
                 struct error *err) MUST_USE;

/* True where the token says that the secret is sensitive and does not give its value. A secret that
 * the token would hand out is in nobody's custody but ours: FAIL_POLICY, not a shrug. */
bool secret_require_unreadable(struct session *session, CK_OBJECT_HANDLE object,
                               struct error *err) MUST_USE;

/* At most `max` objects that match. */
bool objects_find(struct session *session, struct template *template, CK_OBJECT_HANDLE *found,
                  size_t max, size_t *count, struct error *err) MUST_USE;
/* Destroys a session object and sets the handle to CK_INVALID_HANDLE. An object that cannot be
 * destroyed goes with its session: the session counts as lost then. */
void object_drop(struct session *session, CK_OBJECT_HANDLE *object);

#endif
