/* SPDX-License-Identifier: Apache-2.0 */
/* The functions that are forwarded; see remote.h. */
#include <stddef.h>
#include "exchange.h"

/* -- general -- */

CK_RV C_Initialize(void *init_args)
{
    const CK_C_INITIALIZE_ARGS *args = init_args;
    return args != NULL ? links_open(args->pReserved) : CKR_ARGUMENTS_BAD;
}

CK_RV C_Finalize(void *reserved)
{
    return reserved == NULL ? links_close() : CKR_ARGUMENTS_BAD;
}

CK_RV C_GetInfo(CK_INFO *info)
{
    struct exchange exchange;
    exchange_begin(&exchange, REMOTE_GET_INFO);
    exchange_run(&exchange);
    take_struct(&exchange, info, sizeof *info);
    return exchange_end(&exchange);
}

CK_RV C_GetSlotList(CK_BBOOL token_present, CK_SLOT_ID *slots, CK_ULONG *count)
{
    struct exchange exchange;
    exchange_begin(&exchange, REMOTE_GET_SLOT_LIST);
    put_flag(&exchange, token_present);
    put_room(&exchange, slots, count);
    exchange_run(&exchange);
    take_list(&exchange, slots, count);
    return exchange_end(&exchange);
}

CK_RV C_GetSlotInfo(CK_SLOT_ID slot, CK_SLOT_INFO *info)
{
    struct exchange exchange;
    exchange_begin(&exchange, REMOTE_GET_SLOT_INFO);
    put_number(&exchange, slot);
    exchange_run(&exchange);
    take_struct(&exchange, info, sizeof *info);
    return exchange_end(&exchange);
}

CK_RV C_GetTokenInfo(CK_SLOT_ID slot, CK_TOKEN_INFO *info)
{
    struct exchange exchange;
    exchange_begin(&exchange, REMOTE_GET_TOKEN_INFO);
    put_number(&exchange, slot);
    exchange_run(&exchange);
    take_struct(&exchange, info, sizeof *info);
    return exchange_end(&exchange);
}

CK_RV C_GetMechanismList(CK_SLOT_ID slot, CK_MECHANISM_TYPE *mechanisms, CK_ULONG *count)
{
    struct exchange exchange;
    exchange_begin(&exchange, REMOTE_GET_MECHANISM_LIST);
    put_number(&exchange, slot);
    put_room(&exchange, mechanisms, count);
    exchange_run(&exchange);
    take_list(&exchange, mechanisms, count);
    return exchange_end(&exchange);
}

CK_RV C_GetMechanismInfo(CK_SLOT_ID slot, CK_MECHANISM_TYPE type, CK_MECHANISM_INFO *info)
{
    struct exchange exchange;
    exchange_begin(&exchange, REMOTE_GET_MECHANISM_INFO);
    put_number(&exchange, slot);
    put_number(&exchange, type);
    exchange_run(&exchange);
    take_struct(&exchange, info, sizeof *info);
    return exchange_end(&exchange);
}

/* -- sessions -- */

CK_RV C_OpenSession(CK_SLOT_ID slot, CK_FLAGS flags, void *application, CK_NOTIFY notify,
                    CK_SESSION_HANDLE *session)
{
    struct exchange exchange;
    (void)application;
    (void)notify; /* nothing is ever notified */
    exchange_begin(&exchange, REMOTE_OPEN_SESSION);
    put_number(&exchange, slot);
    put_number(&exchange, flags);
    exchange_run(&exchange);
    take_handle(&exchange, session);
    return exchange_end(&exchange);
}

static CK_RV session_call(enum remote_call call, CK_SESSION_HANDLE session)
{
    struct exchange exchange;
    exchange_begin_session(&exchange, call, session);
    exchange_run(&exchange);
    return exchange_end(&exchange);
}

CK_RV C_CloseSession(CK_SESSION_HANDLE session)
{
    return session_call(REMOTE_CLOSE_SESSION, session);
}

CK_RV C_CloseAllSessions(CK_SLOT_ID slot)
{
    struct exchange exchange;
    exchange_begin(&exchange, REMOTE_CLOSE_ALL_SESSIONS);
    put_number(&exchange, slot);
    exchange_run(&exchange);
    return exchange_end(&exchange);
}

CK_RV C_GetSessionInfo(CK_SESSION_HANDLE session, CK_SESSION_INFO *info)
{
    struct exchange exchange;
    exchange_begin_session(&exchange, REMOTE_GET_SESSION_INFO, session);
    exchange_run(&exchange);
    take_struct(&exchange, info, sizeof *info);
    return exchange_end(&exchange);
}

CK_RV C_Login(CK_SESSION_HANDLE session, CK_USER_TYPE user, unsigned char *pin, CK_ULONG len)
{
    struct exchange exchange;
    exchange_begin_session(&exchange, REMOTE_LOGIN, session);
    put_number(&exchange, user);
    put_bytes(&exchange, pin, len);
    exchange_run(&exchange);
    return exchange_end(&exchange);
}

CK_RV C_Logout(CK_SESSION_HANDLE session)
{
    return session_call(REMOTE_LOGOUT, session);
}

/* -- objects -- */

CK_RV C_CreateObject(CK_SESSION_HANDLE session, CK_ATTRIBUTE *rows, CK_ULONG count,
                     CK_OBJECT_HANDLE *object)
{
    struct exchange exchange;
    exchange_begin_session(&exchange, REMOTE_CREATE_OBJECT, session);
    put_template(&exchange, rows, count);
    exchange_run(&exchange);
    take_handle(&exchange, object);
    return exchange_end(&exchange);
}

CK_RV C_CopyObject(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE *rows,
                   CK_ULONG count, CK_OBJECT_HANDLE *copy)
{
    struct exchange exchange;
    exchange_begin_session(&exchange, REMOTE_COPY_OBJECT, session);
    put_object(&exchange, object);
    put_template(&exchange, rows, count);
    exchange_run(&exchange);
    take_handle(&exchange, copy);
    return exchange_end(&exchange);
}

CK_RV C_DestroyObject(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object)
{
    struct exchange exchange;
    exchange_begin_session(&exchange, REMOTE_DESTROY_OBJECT, session);
    put_object(&exchange, object);
    exchange_run(&exchange);
    return exchange_end(&exchange);
}

CK_RV C_GetObjectSize(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, CK_ULONG *size)
{
    struct exchange exchange;
    exchange_begin_session(&exchange, REMOTE_GET_OBJECT_SIZE, session);
    put_object(&exchange, object);
    exchange_run(&exchange);
    take_number(&exchange, size);
    return exchange_end(&exchange);
}

CK_RV C_GetAttributeValue(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE *rows,
                          CK_ULONG count)
{
    struct exchange exchange;
    exchange_begin_session(&exchange, REMOTE_GET_ATTRIBUTE_VALUE, session);
    put_object(&exchange, object);
    put_query(&exchange, rows, count);
    exchange_run(&exchange);
    take_found(&exchange, rows, count);
    return exchange_end(&exchange);
}

CK_RV C_SetAttributeValue(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE *rows,
                          CK_ULONG count)
{
    struct exchange exchange;
    exchange_begin_session(&exchange, REMOTE_SET_ATTRIBUTE_VALUE, session);
    put_object(&exchange, object);
    put_template(&exchange, rows, count);
    exchange_run(&exchange);
    return exchange_end(&exchange);
}

CK_RV C_FindObjectsInit(CK_SESSION_HANDLE session, CK_ATTRIBUTE *rows, CK_ULONG count)
{
    struct exchange exchange;
    exchange_begin_session(&exchange, REMOTE_FIND_OBJECTS_INIT, session);
    put_template(&exchange, rows, count);
    exchange_run(&exchange);
    return exchange_end(&exchange);
}

CK_RV C_FindObjects(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE *objects, CK_ULONG max,
                    CK_ULONG *count)
{
    struct exchange exchange;
    exchange_begin_session(&exchange, REMOTE_FIND_OBJECTS, session);
    put_room(&exchange, objects, &max);
    exchange_run(&exchange);
    *count = objects != NULL ? max : 0;
    take_handles(&exchange, objects, count);
    return exchange_end(&exchange);
}

CK_RV C_FindObjectsFinal(CK_SESSION_HANDLE session)
{
    return session_call(REMOTE_FIND_OBJECTS_FINAL, session);
}

/* -- operations -- */

static CK_RV init_call(enum remote_call call, CK_SESSION_HANDLE session,
                       const CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key)
{
    struct exchange exchange;
    exchange_begin_session(&exchange, call, session);
    put_mechanism(&exchange, mechanism);
    put_object(&exchange, key);
    exchange_run(&exchange);
    return exchange_end(&exchange);
}

static CK_RV data_call(enum remote_call call, CK_SESSION_HANDLE session, const CK_BYTE *data,
                       CK_ULONG len, CK_BYTE_PTR out, CK_ULONG *out_len)
{
    struct exchange exchange;
    exchange_begin_session(&exchange, call, session);
    put_bytes(&exchange, data, len);
    put_room(&exchange, out, out_len);
    exchange_run(&exchange);
    take_output(&exchange, out, out_len);
    return exchange_end(&exchange);
}

CK_RV C_EncryptInit(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key)
{
    return init_call(REMOTE_ENCRYPT_INIT, session, mechanism, key);
}

CK_RV C_Encrypt(CK_SESSION_HANDLE session, unsigned char *data, CK_ULONG data_len,
                unsigned char *out, CK_ULONG *out_len)
{
    return data_call(REMOTE_ENCRYPT, session, data, data_len, out, out_len);
}

CK_RV C_DecryptInit(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key)
{
    return init_call(REMOTE_DECRYPT_INIT, session, mechanism, key);
}

CK_RV C_Decrypt(CK_SESSION_HANDLE session, unsigned char *data, CK_ULONG data_len,
                unsigned char *out, CK_ULONG *out_len)
{
    return data_call(REMOTE_DECRYPT, session, data, data_len, out, out_len);
}

CK_RV C_SignInit(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key)
{
    return init_call(REMOTE_SIGN_INIT, session, mechanism, key);
}

CK_RV C_Sign(CK_SESSION_HANDLE session, unsigned char *data, CK_ULONG data_len, unsigned char *out,
             CK_ULONG *out_len)
{
    return data_call(REMOTE_SIGN, session, data, data_len, out, out_len);
}

CK_RV C_VerifyInit(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key)
{
    return init_call(REMOTE_VERIFY_INIT, session, mechanism, key);
}

CK_RV C_Verify(CK_SESSION_HANDLE session, unsigned char *data, CK_ULONG data_len,
               unsigned char *signature, CK_ULONG signature_len)
{
    struct exchange exchange;
    exchange_begin_session(&exchange, REMOTE_VERIFY, session);
    put_bytes(&exchange, data, data_len);
    put_bytes(&exchange, signature, signature_len);
    exchange_run(&exchange);
    return exchange_end(&exchange);
}

/* -- keys -- */

CK_RV C_GenerateKey(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_ATTRIBUTE *rows,
                    CK_ULONG count, CK_OBJECT_HANDLE *key)
{
    struct exchange exchange;
    exchange_begin_session(&exchange, REMOTE_GENERATE_KEY, session);
    put_mechanism(&exchange, mechanism);
    put_template(&exchange, rows, count);
    exchange_run(&exchange);
    take_handle(&exchange, key);
    return exchange_end(&exchange);
}

CK_RV C_GenerateKeyPair(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism,
                        CK_ATTRIBUTE *public_rows, CK_ULONG public_count,
                        CK_ATTRIBUTE *private_rows, CK_ULONG private_count,
                        CK_OBJECT_HANDLE *public_key, CK_OBJECT_HANDLE *private_key)
{
    struct exchange exchange;
    exchange_begin_session(&exchange, REMOTE_GENERATE_KEY_PAIR, session);
    put_mechanism(&exchange, mechanism);
    put_template(&exchange, public_rows, public_count);
    put_template(&exchange, private_rows, private_count);
    exchange_run(&exchange);
    take_handle(&exchange, public_key);
    take_handle(&exchange, private_key);
    return exchange_end(&exchange);
}

CK_RV C_WrapKey(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE wrapping_key,
                CK_OBJECT_HANDLE key, unsigned char *out, CK_ULONG *len)
{
    struct exchange exchange;
    exchange_begin_session(&exchange, REMOTE_WRAP_KEY, session);
    put_mechanism(&exchange, mechanism);
    put_object(&exchange, wrapping_key);
    put_object(&exchange, key);
    put_room(&exchange, out, len);
    exchange_run(&exchange);
    take_output(&exchange, out, len);
    return exchange_end(&exchange);
}

CK_RV C_UnwrapKey(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism,
                  CK_OBJECT_HANDLE unwrapping_key, unsigned char *wrapped, CK_ULONG wrapped_len,
                  CK_ATTRIBUTE *rows, CK_ULONG count, CK_OBJECT_HANDLE *key)
{
    struct exchange exchange;
    exchange_begin_session(&exchange, REMOTE_UNWRAP_KEY, session);
    put_mechanism(&exchange, mechanism);
    put_object(&exchange, unwrapping_key);
    put_bytes(&exchange, wrapped, wrapped_len);
    put_template(&exchange, rows, count);
    exchange_run(&exchange);
    take_handle(&exchange, key);
    return exchange_end(&exchange);
}

CK_RV C_DeriveKey(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE base_key,
                  CK_ATTRIBUTE *rows, CK_ULONG count, CK_OBJECT_HANDLE *key)
{
    struct exchange exchange;
    exchange_begin_session(&exchange, REMOTE_DERIVE_KEY, session);
    put_mechanism(&exchange, mechanism);
    put_object(&exchange, base_key);
    put_template(&exchange, rows, count);
    exchange_run(&exchange);
    take_handle(&exchange, key);
    return exchange_end(&exchange);
}

/* -- random numbers -- */

CK_RV C_SeedRandom(CK_SESSION_HANDLE session, unsigned char *seed, CK_ULONG len)
{
    struct exchange exchange;
    exchange_begin_session(&exchange, REMOTE_SEED_RANDOM, session);
    put_bytes(&exchange, seed, len);
    exchange_run(&exchange);
    return exchange_end(&exchange);
}

CK_RV C_GenerateRandom(CK_SESSION_HANDLE session, unsigned char *out, CK_ULONG len)
{
    struct exchange exchange;
    exchange_begin_session(&exchange, REMOTE_GENERATE_RANDOM, session);
    put_room(&exchange, out, &len);
    exchange_run(&exchange);
    take_output(&exchange, out, &len);
    return exchange_end(&exchange);
}
