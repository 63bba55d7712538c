/* SPDX-License-Identifier: Apache-2.0 */
#include "server.h"
#include "wire.h"

/*
 * A call in hand: what is read from the request, and the outputs. A performer returns what the
 * real module said, or sets `broken` where the request is none of this call.
 */
struct call {
    CK_FUNCTION_LIST_PTR f;
    uint64_t client;
    CK_SESSION_HANDLE session; /* of calls that have one; it is the client's own */
    struct cursor in;
    struct arena arena;
    CK_MECHANISM mechanism;
    struct buf out;
    bool broken;
};

static CK_RV refuse(struct call *call)
{
    call->broken = true;
    return CKR_ARGUMENTS_BAD;
}

static bool take_mechanism(struct call *call)
{
    return wire_take_mechanism(&call->in, &call->arena, &call->mechanism);
}

/* -- outputs -- */

struct room {
    CK_BYTE_PTR place; /* NULL: the length is asked for */
    CK_ULONG size;
};

static bool take_room(struct call *call, CK_ULONG item, CK_ULONG max, struct room *out)
{
    bool there;
    *out = (struct room){NULL, 0};
    if (!wire_take_flag(&call->in, &there) || !wire_take_number(&call->in, &out->size))
        return false;
    if (!there)
        return true;
    if (out->size > max)
        out->size = max;
    out->place = arena_take(&call->arena, out->size * item);
    return out->place != NULL;
}

/* The length that the module told, and what is there of it. */
static CK_RV put_output(struct call *call, CK_RV rv, const struct room *room, CK_ULONG len)
{
    bool filled = rv == CKR_OK && room->place != NULL;
    if (filled && len > room->size)
        return CKR_DEVICE_ERROR; /* a real module that lies */
    buf_put_u64(&call->out, len);
    buf_put_block(&call->out, room->place, filled ? len : 0);
    return rv;
}

static CK_RV put_list(struct call *call, CK_RV rv, const CK_ULONG *list, CK_ULONG room,
                      CK_ULONG count)
{
    bool filled = rv == CKR_OK && list != NULL;
    if (filled && count > room)
        return CKR_DEVICE_ERROR;
    buf_put_u64(&call->out, count);
    buf_put_u32(&call->out, filled ? (uint32_t)count : 0);
    for (CK_ULONG i = 0; filled && i < count; i++)
        buf_put_u64(&call->out, list[i]);
    return rv;
}

static CK_RV put_handle(struct call *call, CK_RV rv, CK_ULONG handle)
{
    if (rv == CKR_OK && handle > UINT32_MAX)
        return CKR_DEVICE_ERROR; /* the client keeps our incarnation in the upper half */
    if (rv == CKR_OK)
        buf_put_u64(&call->out, handle);
    return rv;
}

static CK_RV put_struct(struct call *call, CK_RV rv, const void *data, size_t size)
{
    if (rv == CKR_OK)
        buf_put_block(&call->out, data, size);
    return rv;
}

/* -- slots -- */

static CK_RV get_info(struct call *call)
{
    CK_INFO info = {0};
    return put_struct(call, call->f->C_GetInfo(&info), &info, sizeof info);
}

static CK_RV get_slot_list(struct call *call)
{
    bool present;
    struct room room;
    if (!wire_take_flag(&call->in, &present) ||
        !take_room(call, sizeof(CK_SLOT_ID), REMOTE_LIST_MAX, &room))
        return refuse(call);
    CK_ULONG count = room.size, *list = (void *)room.place;
    CK_RV rv = call->f->C_GetSlotList(present, list, &count);
    return put_list(call, rv, list, room.size, count);
}

static CK_RV get_slot_info(struct call *call)
{
    CK_SLOT_INFO info = {0};
    CK_SLOT_ID slot;
    if (!wire_take_number(&call->in, &slot))
        return refuse(call);
    return put_struct(call, call->f->C_GetSlotInfo(slot, &info), &info, sizeof info);
}

static CK_RV get_token_info(struct call *call)
{
    CK_TOKEN_INFO info = {0};
    CK_SLOT_ID slot;
    if (!wire_take_number(&call->in, &slot))
        return refuse(call);
    return put_struct(call, call->f->C_GetTokenInfo(slot, &info), &info, sizeof info);
}

static CK_RV get_mechanism_list(struct call *call)
{
    CK_SLOT_ID slot;
    struct room room;
    if (!wire_take_number(&call->in, &slot) ||
        !take_room(call, sizeof(CK_MECHANISM_TYPE), REMOTE_LIST_MAX, &room))
        return refuse(call);
    CK_ULONG count = room.size, *list = (void *)room.place;
    CK_RV rv = call->f->C_GetMechanismList(slot, list, &count);
    return put_list(call, rv, list, room.size, count);
}

static CK_RV get_mechanism_info(struct call *call)
{
    CK_MECHANISM_INFO info = {0};
    CK_SLOT_ID slot;
    if (!wire_take_number(&call->in, &slot) ||
        !wire_take_number(&call->in, &call->mechanism.mechanism))
        return refuse(call);
    CK_RV rv = call->f->C_GetMechanismInfo(slot, call->mechanism.mechanism, &info);
    return put_struct(call, rv, &info, sizeof info);
}

/* -- sessions -- */

static CK_RV open_session(struct call *call)
{
    CK_SESSION_HANDLE session = CK_INVALID_HANDLE;
    CK_SLOT_ID slot;
    CK_FLAGS flags;
    if (!wire_take_number(&call->in, &slot) || !wire_take_number(&call->in, &flags))
        return refuse(call);
    CK_RV rv = call->f->C_OpenSession(slot, flags, NULL, NULL, &session);
    if (rv == CKR_OK && !client_add_session(call->client, slot, session)) {
        call->f->C_CloseSession(session);
        return CKR_SESSION_COUNT;
    }
    return put_handle(call, rv, session);
}

static CK_RV close_session(struct call *call)
{
    return client_close_session(call->f, call->client, call->session);
}

static CK_RV close_all_sessions(struct call *call)
{
    CK_SLOT_ID slot;
    if (!wire_take_number(&call->in, &slot))
        return refuse(call);
    client_close_all(call->f, call->client, slot);
    return CKR_OK;
}

static CK_RV get_session_info(struct call *call)
{
    CK_SESSION_INFO info = {0};
    return put_struct(call, call->f->C_GetSessionInfo(call->session, &info), &info, sizeof info);
}

static CK_RV login(struct call *call)
{
    CK_USER_TYPE user;
    CK_BYTE_PTR pin;
    CK_ULONG len;
    if (!wire_take_number(&call->in, &user) ||
        !wire_take_bytes(&call->in, &call->arena, &pin, &len))
        return refuse(call);
    return call->f->C_Login(call->session, user, pin, len);
}

static CK_RV logout(struct call *call)
{
    return call->f->C_Logout(call->session);
}

/* -- objects -- */

static CK_RV create_object(struct call *call)
{
    CK_OBJECT_HANDLE object = CK_INVALID_HANDLE;
    CK_ATTRIBUTE *rows;
    CK_ULONG count;
    if (!wire_take_template(&call->in, &call->arena, &rows, &count))
        return refuse(call);
    CK_RV rv = call->f->C_CreateObject(call->session, rows, count, &object);
    return put_handle(call, rv, object);
}

static CK_RV copy_object(struct call *call)
{
    CK_OBJECT_HANDLE object, copy = CK_INVALID_HANDLE;
    CK_ATTRIBUTE *rows;
    CK_ULONG count;
    if (!wire_take_number(&call->in, &object) ||
        !wire_take_template(&call->in, &call->arena, &rows, &count))
        return refuse(call);
    CK_RV rv = call->f->C_CopyObject(call->session, object, rows, count, &copy);
    return put_handle(call, rv, copy);
}

static CK_RV destroy_object(struct call *call)
{
    CK_OBJECT_HANDLE object;
    if (!wire_take_number(&call->in, &object))
        return refuse(call);
    return call->f->C_DestroyObject(call->session, object);
}

static CK_RV get_object_size(struct call *call)
{
    CK_OBJECT_HANDLE object;
    CK_ULONG size = 0;
    if (!wire_take_number(&call->in, &object))
        return refuse(call);
    CK_RV rv = call->f->C_GetObjectSize(call->session, object, &size);
    if (rv == CKR_OK)
        buf_put_u64(&call->out, size);
    return rv;
}

static CK_RV get_attribute_value(struct call *call)
{
    CK_OBJECT_HANDLE object;
    struct wire_query *query;
    if (!wire_take_number(&call->in, &object) || !wire_take_query(&call->in, &call->arena, &query))
        return refuse(call);
    CK_RV rv = call->f->C_GetAttributeValue(call->session, object, query->rows, query->count);
    wire_put_found(&call->out, query);
    return rv;
}

static CK_RV set_attribute_value(struct call *call)
{
    CK_OBJECT_HANDLE object;
    CK_ATTRIBUTE *rows;
    CK_ULONG count;
    if (!wire_take_number(&call->in, &object) ||
        !wire_take_template(&call->in, &call->arena, &rows, &count))
        return refuse(call);
    return call->f->C_SetAttributeValue(call->session, object, rows, count);
}

static CK_RV find_objects_init(struct call *call)
{
    CK_ATTRIBUTE *rows;
    CK_ULONG count;
    if (!wire_take_template(&call->in, &call->arena, &rows, &count))
        return refuse(call);
    return call->f->C_FindObjectsInit(call->session, rows, count);
}

static CK_RV find_objects(struct call *call)
{
    struct room room;
    CK_ULONG count = 0;
    if (!take_room(call, sizeof(CK_OBJECT_HANDLE), REMOTE_LIST_MAX, &room))
        return refuse(call);
    CK_OBJECT_HANDLE *list = (void *)room.place;
    CK_RV rv = call->f->C_FindObjects(call->session, list, room.size, &count);
    return put_list(call, rv, list, room.size, count);
}

static CK_RV find_objects_final(struct call *call)
{
    return call->f->C_FindObjectsFinal(call->session);
}

/* -- operations -- */

typedef CK_RV init_function(CK_SESSION_HANDLE, CK_MECHANISM *, CK_OBJECT_HANDLE);
typedef CK_RV data_function(CK_SESSION_HANDLE, unsigned char *, CK_ULONG, unsigned char *,
                            CK_ULONG *);

static CK_RV init_operation(struct call *call, init_function *init)
{
    CK_OBJECT_HANDLE key;
    if (!take_mechanism(call) || !wire_take_number(&call->in, &key))
        return refuse(call);
    return init(call->session, &call->mechanism, key);
}

static CK_RV operate(struct call *call, data_function *function)
{
    CK_BYTE_PTR data;
    CK_ULONG len;
    struct room room;
    if (!wire_take_bytes(&call->in, &call->arena, &data, &len) ||
        !take_room(call, 1, REMOTE_ROOM_MAX, &room))
        return refuse(call);
    CK_ULONG out_len = room.size;
    CK_RV rv = function(call->session, data, len, room.place, &out_len);
    return put_output(call, rv, &room, out_len);
}

static CK_RV encrypt_init(struct call *call)
{
    return init_operation(call, call->f->C_EncryptInit);
}

static CK_RV encrypt(struct call *call)
{
    return operate(call, call->f->C_Encrypt);
}

static CK_RV decrypt_init(struct call *call)
{
    return init_operation(call, call->f->C_DecryptInit);
}

static CK_RV decrypt(struct call *call)
{
    return operate(call, call->f->C_Decrypt);
}

static CK_RV sign_init(struct call *call)
{
    return init_operation(call, call->f->C_SignInit);
}

static CK_RV sign(struct call *call)
{
    return operate(call, call->f->C_Sign);
}

static CK_RV verify_init(struct call *call)
{
    return init_operation(call, call->f->C_VerifyInit);
}

static CK_RV verify(struct call *call)
{
    CK_BYTE_PTR data, signature;
    CK_ULONG len, signature_len;
    if (!wire_take_bytes(&call->in, &call->arena, &data, &len) ||
        !wire_take_bytes(&call->in, &call->arena, &signature, &signature_len))
        return refuse(call);
    return call->f->C_Verify(call->session, data, len, signature, signature_len);
}

/* -- keys -- */

static CK_RV generate_key(struct call *call)
{
    CK_OBJECT_HANDLE key = CK_INVALID_HANDLE;
    CK_ATTRIBUTE *rows;
    CK_ULONG count;
    if (!take_mechanism(call) || !wire_take_template(&call->in, &call->arena, &rows, &count))
        return refuse(call);
    CK_RV rv = call->f->C_GenerateKey(call->session, &call->mechanism, rows, count, &key);
    return put_handle(call, rv, key);
}

static CK_RV generate_key_pair(struct call *call)
{
    CK_OBJECT_HANDLE public_key = CK_INVALID_HANDLE, private_key = CK_INVALID_HANDLE;
    CK_ATTRIBUTE *public_rows, *private_rows;
    CK_ULONG public_count, private_count;
    if (!take_mechanism(call) ||
        !wire_take_template(&call->in, &call->arena, &public_rows, &public_count) ||
        !wire_take_template(&call->in, &call->arena, &private_rows, &private_count))
        return refuse(call);
    CK_RV rv =
        call->f->C_GenerateKeyPair(call->session, &call->mechanism, public_rows, public_count,
                                   private_rows, private_count, &public_key, &private_key);
    rv = put_handle(call, rv, public_key);
    return put_handle(call, rv, private_key);
}

static CK_RV wrap_key(struct call *call)
{
    CK_OBJECT_HANDLE wrapping_key, key;
    struct room room;
    if (!take_mechanism(call) || !wire_take_number(&call->in, &wrapping_key) ||
        !wire_take_number(&call->in, &key) || !take_room(call, 1, REMOTE_ROOM_MAX, &room))
        return refuse(call);
    CK_ULONG len = room.size;
    CK_RV rv =
        call->f->C_WrapKey(call->session, &call->mechanism, wrapping_key, key, room.place, &len);
    return put_output(call, rv, &room, len);
}

static CK_RV unwrap_key(struct call *call)
{
    CK_OBJECT_HANDLE unwrapping_key, key = CK_INVALID_HANDLE;
    CK_ATTRIBUTE *rows;
    CK_BYTE_PTR wrapped;
    CK_ULONG len, count;
    if (!take_mechanism(call) || !wire_take_number(&call->in, &unwrapping_key) ||
        !wire_take_bytes(&call->in, &call->arena, &wrapped, &len) ||
        !wire_take_template(&call->in, &call->arena, &rows, &count))
        return refuse(call);
    CK_RV rv = call->f->C_UnwrapKey(call->session, &call->mechanism, unwrapping_key, wrapped, len,
                                    rows, count, &key);
    return put_handle(call, rv, key);
}

static CK_RV derive_key(struct call *call)
{
    CK_OBJECT_HANDLE base_key, key = CK_INVALID_HANDLE;
    CK_ATTRIBUTE *rows;
    CK_ULONG count;
    if (!take_mechanism(call) || !wire_take_number(&call->in, &base_key) ||
        !wire_take_template(&call->in, &call->arena, &rows, &count))
        return refuse(call);
    CK_RV rv = call->f->C_DeriveKey(call->session, &call->mechanism, base_key, rows, count, &key);
    return put_handle(call, rv, key);
}

static CK_RV seed_random(struct call *call)
{
    CK_BYTE_PTR seed;
    CK_ULONG len;
    if (!wire_take_bytes(&call->in, &call->arena, &seed, &len))
        return refuse(call);
    return call->f->C_SeedRandom(call->session, seed, len);
}

static CK_RV generate_random(struct call *call)
{
    struct room room;
    if (!take_room(call, 1, REMOTE_ROOM_MAX, &room))
        return refuse(call);
    CK_RV rv = call->f->C_GenerateRandom(call->session, room.place, room.size);
    return put_output(call, rv, &room, room.size);
}

/* -- one call -- */

static const struct {
    CK_RV (*perform)(struct call *call);
    bool has_session; /* which comes first */
} calls[REMOTE_CALL_COUNT] = {
    [REMOTE_GET_INFO] = {get_info, false},
    [REMOTE_GET_SLOT_LIST] = {get_slot_list, false},
    [REMOTE_GET_SLOT_INFO] = {get_slot_info, false},
    [REMOTE_GET_TOKEN_INFO] = {get_token_info, false},
    [REMOTE_GET_MECHANISM_LIST] = {get_mechanism_list, false},
    [REMOTE_GET_MECHANISM_INFO] = {get_mechanism_info, false},
    [REMOTE_OPEN_SESSION] = {open_session, false},
    [REMOTE_CLOSE_SESSION] = {close_session, true},
    [REMOTE_CLOSE_ALL_SESSIONS] = {close_all_sessions, false},
    [REMOTE_GET_SESSION_INFO] = {get_session_info, true},
    [REMOTE_LOGIN] = {login, true},
    [REMOTE_LOGOUT] = {logout, true},
    [REMOTE_CREATE_OBJECT] = {create_object, true},
    [REMOTE_COPY_OBJECT] = {copy_object, true},
    [REMOTE_DESTROY_OBJECT] = {destroy_object, true},
    [REMOTE_GET_OBJECT_SIZE] = {get_object_size, true},
    [REMOTE_GET_ATTRIBUTE_VALUE] = {get_attribute_value, true},
    [REMOTE_SET_ATTRIBUTE_VALUE] = {set_attribute_value, true},
    [REMOTE_FIND_OBJECTS_INIT] = {find_objects_init, true},
    [REMOTE_FIND_OBJECTS] = {find_objects, true},
    [REMOTE_FIND_OBJECTS_FINAL] = {find_objects_final, true},
    [REMOTE_ENCRYPT_INIT] = {encrypt_init, true},
    [REMOTE_ENCRYPT] = {encrypt, true},
    [REMOTE_DECRYPT_INIT] = {decrypt_init, true},
    [REMOTE_DECRYPT] = {decrypt, true},
    [REMOTE_SIGN_INIT] = {sign_init, true},
    [REMOTE_SIGN] = {sign, true},
    [REMOTE_VERIFY_INIT] = {verify_init, true},
    [REMOTE_VERIFY] = {verify, true},
    [REMOTE_GENERATE_KEY] = {generate_key, true},
    [REMOTE_GENERATE_KEY_PAIR] = {generate_key_pair, true},
    [REMOTE_WRAP_KEY] = {wrap_key, true},
    [REMOTE_UNWRAP_KEY] = {unwrap_key, true},
    [REMOTE_DERIVE_KEY] = {derive_key, true},
    [REMOTE_SEED_RANDOM] = {seed_random, true},
    [REMOTE_GENERATE_RANDOM] = {generate_random, true},
};

bool server_call(CK_FUNCTION_LIST_PTR f, uint64_t client, unsigned number, struct bytes request,
                 CK_MECHANISM_TYPE *mechanism, struct buf *out)
{
    struct call call = {
        .f = f,
        .client = client,
        .in = cursor_over(request),
        .mechanism = {CK_UNAVAILABLE_INFORMATION, NULL, 0},
        .out = BUF_INIT(REMOTE_BODY_MAX - 16),
    };
    CK_RV rv = CKR_SESSION_HANDLE_INVALID;
    if (number >= REMOTE_CALL_COUNT || calls[number].perform == NULL)
        return false;
    if (calls[number].has_session && !wire_take_number(&call.in, &call.session))
        rv = refuse(&call);
    else if (!calls[number].has_session || client_has_session(client, call.session))
        rv = calls[number].perform(&call);
    *mechanism = call.mechanism.mechanism;
    buf_put_u64(out, rv);
    buf_put_u8(out, hold_wants_return(number));
    buf_put(out, call.out.data, call.out.len);
    bool ok = !call.broken && !call.out.failed;
    buf_free(&call.out);
    arena_free(&call.arena);
    return ok;
}
