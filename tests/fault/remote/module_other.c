/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The functions that Reseal and libp11 do not need and that are not forwarded, and the function
 * list. Functions of one signature share a body.
 */
#include <stddef.h>
#include "remote.h"

static CK_RV without_init_token(CK_SLOT_ID a, unsigned char *b, CK_ULONG c, unsigned char *d)
{
    (void)a;
    (void)b;
    (void)c;
    (void)d;
    return CKR_FUNCTION_NOT_SUPPORTED;
}

static CK_RV without_init_pin(CK_SESSION_HANDLE a, unsigned char *b, CK_ULONG c)
{
    (void)a;
    (void)b;
    (void)c;
    return CKR_FUNCTION_NOT_SUPPORTED;
}

static CK_RV without_set_pin(CK_SESSION_HANDLE a, unsigned char *b, CK_ULONG c, unsigned char *d,
                             CK_ULONG e)
{
    (void)a;
    (void)b;
    (void)c;
    (void)d;
    (void)e;
    return CKR_FUNCTION_NOT_SUPPORTED;
}

static CK_RV without_get_operation_state(CK_SESSION_HANDLE a, unsigned char *b, CK_ULONG *c)
{
    (void)a;
    (void)b;
    (void)c;
    return CKR_FUNCTION_NOT_SUPPORTED;
}

static CK_RV without_set_operation_state(CK_SESSION_HANDLE a, unsigned char *b, CK_ULONG c,
                                         CK_OBJECT_HANDLE d, CK_OBJECT_HANDLE e)
{
    (void)a;
    (void)b;
    (void)c;
    (void)d;
    (void)e;
    return CKR_FUNCTION_NOT_SUPPORTED;
}

static CK_RV without_encrypt_update(CK_SESSION_HANDLE a, unsigned char *b, CK_ULONG c,
                                    unsigned char *d, CK_ULONG *e)
{
    (void)a;
    (void)b;
    (void)c;
    (void)d;
    (void)e;
    return CKR_FUNCTION_NOT_SUPPORTED;
}

static CK_RV without_digest_init(CK_SESSION_HANDLE a, CK_MECHANISM *b)
{
    (void)a;
    (void)b;
    return CKR_FUNCTION_NOT_SUPPORTED;
}

static CK_RV without_digest_key(CK_SESSION_HANDLE a, CK_OBJECT_HANDLE b)
{
    (void)a;
    (void)b;
    return CKR_FUNCTION_NOT_SUPPORTED;
}

static CK_RV without_sign_recover_init(CK_SESSION_HANDLE a, CK_MECHANISM *b, CK_OBJECT_HANDLE c)
{
    (void)a;
    (void)b;
    (void)c;
    return CKR_FUNCTION_NOT_SUPPORTED;
}

CK_RV C_GetFunctionStatus(CK_SESSION_HANDLE session)
{
    (void)session;
    return CKR_FUNCTION_NOT_PARALLEL;
}

CK_RV C_CancelFunction(CK_SESSION_HANDLE session)
{
    (void)session;
    return CKR_FUNCTION_NOT_PARALLEL;
}

CK_RV C_WaitForSlotEvent(CK_FLAGS flags, CK_SLOT_ID *slot, void *reserved)
{
    (void)flags;
    (void)slot;
    (void)reserved;
    return CKR_FUNCTION_NOT_SUPPORTED;
}

__attribute__((visibility("default"))) CK_RV C_GetFunctionList(CK_FUNCTION_LIST **out)
{
    static CK_FUNCTION_LIST list = {
        .version = {2, 40},
        .C_Initialize = C_Initialize,
        .C_Finalize = C_Finalize,
        .C_GetInfo = C_GetInfo,
        .C_GetFunctionList = C_GetFunctionList,
        .C_GetSlotList = C_GetSlotList,
        .C_GetSlotInfo = C_GetSlotInfo,
        .C_GetTokenInfo = C_GetTokenInfo,
        .C_GetMechanismList = C_GetMechanismList,
        .C_GetMechanismInfo = C_GetMechanismInfo,
        .C_InitToken = without_init_token,
        .C_InitPIN = without_init_pin,
        .C_SetPIN = without_set_pin,
        .C_OpenSession = C_OpenSession,
        .C_CloseSession = C_CloseSession,
        .C_CloseAllSessions = C_CloseAllSessions,
        .C_GetSessionInfo = C_GetSessionInfo,
        .C_GetOperationState = without_get_operation_state,
        .C_SetOperationState = without_set_operation_state,
        .C_Login = C_Login,
        .C_Logout = C_Logout,
        .C_CreateObject = C_CreateObject,
        .C_CopyObject = C_CopyObject,
        .C_DestroyObject = C_DestroyObject,
        .C_GetObjectSize = C_GetObjectSize,
        .C_GetAttributeValue = C_GetAttributeValue,
        .C_SetAttributeValue = C_SetAttributeValue,
        .C_FindObjectsInit = C_FindObjectsInit,
        .C_FindObjects = C_FindObjects,
        .C_FindObjectsFinal = C_FindObjectsFinal,
        .C_EncryptInit = C_EncryptInit,
        .C_Encrypt = C_Encrypt,
        .C_EncryptUpdate = without_encrypt_update,
        .C_EncryptFinal = without_get_operation_state,
        .C_DecryptInit = C_DecryptInit,
        .C_Decrypt = C_Decrypt,
        .C_DecryptUpdate = without_encrypt_update,
        .C_DecryptFinal = without_get_operation_state,
        .C_DigestInit = without_digest_init,
        .C_Digest = without_encrypt_update,
        .C_DigestUpdate = without_init_pin,
        .C_DigestKey = without_digest_key,
        .C_DigestFinal = without_get_operation_state,
        .C_SignInit = C_SignInit,
        .C_Sign = C_Sign,
        .C_SignUpdate = without_init_pin,
        .C_SignFinal = without_get_operation_state,
        .C_SignRecoverInit = without_sign_recover_init,
        .C_SignRecover = without_encrypt_update,
        .C_VerifyInit = C_VerifyInit,
        .C_Verify = C_Verify,
        .C_VerifyUpdate = without_init_pin,
        .C_VerifyFinal = without_init_pin,
        .C_VerifyRecoverInit = without_sign_recover_init,
        .C_VerifyRecover = without_encrypt_update,
        .C_DigestEncryptUpdate = without_encrypt_update,
        .C_DecryptDigestUpdate = without_encrypt_update,
        .C_SignEncryptUpdate = without_encrypt_update,
        .C_DecryptVerifyUpdate = without_encrypt_update,
        .C_GenerateKey = C_GenerateKey,
        .C_GenerateKeyPair = C_GenerateKeyPair,
        .C_WrapKey = C_WrapKey,
        .C_UnwrapKey = C_UnwrapKey,
        .C_DeriveKey = C_DeriveKey,
        .C_SeedRandom = C_SeedRandom,
        .C_GenerateRandom = C_GenerateRandom,
        .C_GetFunctionStatus = C_GetFunctionStatus,
        .C_CancelFunction = C_CancelFunction,
        .C_WaitForSlotEvent = C_WaitForSlotEvent,
    };
    if (out == NULL)
        return CKR_ARGUMENTS_BAD;
    *out = &list;
    return CKR_OK;
}
