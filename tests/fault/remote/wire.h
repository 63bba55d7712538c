/* SPDX-License-Identifier: Apache-2.0 */
/* Parameters of PKCS#11 calls as bytes. What a take function gives out lives in the arena. */
#ifndef RESEAL_TESTS_WIRE_H
#define RESEAL_TESTS_WIRE_H

#include "remote.h"

#define WIRE_ROWS_MAX 64 /* attributes of one template */

/* Memory of one call, aligned as the real module expects it; wiped when freed. */
struct arena {
    struct arena_piece *pieces;
};

void *arena_take(struct arena *arena, size_t size) MUST_USE; /* zeroed; NULL: no memory */
void arena_free(struct arena *arena);

/* The handle that the server knows, of one that the module's caller knows; false: of another
 * incarnation of the server, or of none. */
bool wire_handle(uint32_t incarnation, CK_ULONG outer, CK_ULONG *inner) MUST_USE;

/* CKR_OK, or why it cannot travel. */
CK_RV wire_put_mechanism(struct buf *out, uint32_t incarnation,
                         const CK_MECHANISM *mechanism) MUST_USE;
CK_RV wire_put_template(struct buf *out, const CK_ATTRIBUTE *rows, CK_ULONG count) MUST_USE;
/* A template of C_GetAttributeValue: types and rooms. */
CK_RV wire_put_query(struct buf *out, const CK_ATTRIBUTE *rows, CK_ULONG count) MUST_USE;

/* False: not what the other side may send, or no memory. */
bool wire_take_number(struct cursor *in, CK_ULONG *out) MUST_USE;
bool wire_take_flag(struct cursor *in, bool *out) MUST_USE;
bool wire_take_bytes(struct cursor *in, struct arena *arena, CK_BYTE_PTR *out,
                     CK_ULONG *len) MUST_USE;
bool wire_take_mechanism(struct cursor *in, struct arena *arena, CK_MECHANISM *out) MUST_USE;
bool wire_take_template(struct cursor *in, struct arena *arena, CK_ATTRIBUTE **rows,
                        CK_ULONG *count) MUST_USE;

/* What was asked for by C_GetAttributeValue, as the server holds it. */
struct wire_query {
    CK_ULONG count;
    CK_ATTRIBUTE rows[WIRE_ROWS_MAX]; /* for the real module, which changes them */
    CK_ATTRIBUTE asked[WIRE_ROWS_MAX];
    struct wire_query *nested[WIRE_ROWS_MAX]; /* of an attribute that is a template; or NULL */
};

bool wire_take_query(struct cursor *in, struct arena *arena, struct wire_query **out) MUST_USE;
void wire_put_found(struct buf *out, const struct wire_query *query);
/* Fills the caller's rows. */
bool wire_take_found(struct cursor *in, CK_ATTRIBUTE *rows, CK_ULONG count) MUST_USE;

#endif
