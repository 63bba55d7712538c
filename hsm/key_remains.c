/* SPDX-License-Identifier: Apache-2.0 */
/* What a ceremony that was cut off has left on the token. */
#include <stdio.h>
#include <string.h>
#include "object.h"
#include "reseal/ceremony.h"
#include "reseal/text.h"

#define REMAINS_MAX 16 /* objects with one CKA_ID */

/* Everything with that CKA_ID, and of what class it is. */
struct remains {
    CK_OBJECT_HANDLE objects[REMAINS_MAX];
    CK_ULONG classes[REMAINS_MAX];
    size_t count;
};

static bool find(struct session *session, const char *id, struct remains *out, struct error *err)
{
    struct buf raw = BUF_INIT(KEY_ID_LEN);
    struct template template = {.count = 0};
    bool ok = false;
    out->count = 0;
    if (!hex_decode(&raw, id, strlen(id), "CKA_ID", err))
        goto done;
    template_bytes(&template, CKA_ID, buf_bytes(&raw));
    if (!objects_find(session, &template, out->objects, REMAINS_MAX, &out->count, err))
        goto done;
    for (size_t i = 0; i < out->count; i++) {
        CK_RV rv = attribute_number(session, out->objects[i], CKA_CLASS, &out->classes[i]);
        if (rv != CKR_OK) {
            session_fail(session, "C_GetAttributeValue(CKA_CLASS)", NO_MECHANISM, rv, err);
            goto done;
        }
    }
    ok = true;
done:
    buf_free(&raw);
    return ok;
}

bool key_remains_find(struct session *session, const char *id, struct key_remains *out,
                      struct error *err)
{
    struct remains remains;
    memset(out, 0, sizeof *out);
    if (!find(session, id, &remains, err))
        return false;
    for (size_t i = 0; i < remains.count; i++) {
        if (remains.classes[i] == CKO_PRIVATE_KEY)
            out->private_keys++;
        else if (remains.classes[i] == CKO_PUBLIC_KEY)
            out->public_keys++;
        else
            out->others++;
    }
    return true;
}

static bool is_key(CK_ULONG class)
{
    return class == CKO_PRIVATE_KEY || class == CKO_PUBLIC_KEY;
}

static bool has_label(struct session *session, CK_OBJECT_HANDLE object, const char *label,
                      struct error *err)
{
    struct buf found = BUF_INIT(256);
    CK_RV rv = attribute_read(session, object, CKA_LABEL, &found);
    bool ok = rv == CKR_OK && strcmp(buf_text(&found), label) == 0;
    if (rv != CKR_OK)
        session_fail(session, "C_GetAttributeValue(CKA_LABEL)", NO_MECHANISM, rv, err);
    else if (!ok) {
        error_set(err, FAIL_POLICY,
                  "a key with the recorded CKA_ID has another label than \"%s\"; it was left alone",
                  label);
        error_hint(err, "look at it with `reseal key list` and the tool of the token's maker");
    }
    buf_free(&found);
    return ok;
}

bool key_remains_destroy(struct session *session, const char *id, const char *label,
                         struct error *err)
{
    struct remains remains;
    if (!find(session, id, &remains, err))
        return false;
    for (size_t i = 0; i < remains.count; i++) {
        if (is_key(remains.classes[i]) && !has_label(session, remains.objects[i], label, err))
            return false;
    }
    for (size_t i = 0; i < remains.count; i++) {
        if (!is_key(remains.classes[i]))
            continue;
        CK_RV rv = session->f->C_DestroyObject(session->handle, remains.objects[i]);
        if (rv == CKR_OK)
            continue;
        session_fail(session, "C_DestroyObject", NO_MECHANISM, rv, err);
        return error_hint(err, "remove the key with the tool of the token's maker");
    }
    return true;
}
