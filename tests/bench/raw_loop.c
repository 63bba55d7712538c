/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The yardstick of the benchmark: the same token calls that a reseal makes, in a bare loop without
 * queue, JSON, IPC or CMS, with a given number of sessions. Prints one line of JSON: operations,
 * seconds, CPU seconds.
 *
 *   raw_loop MODULE INIT_ARGS LABEL PIN_FILE KEY_LABEL SEALED_FILE DEVICE_PEM host|token SHA
 * SESSIONS SECONDS
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <p11-kit/pkcs11.h>

#define MUST(call)                                                                                 \
    do {                                                                                           \
        CK_RV rv_ = (call);                                                                        \
        if (rv_ != CKR_OK) {                                                                       \
            fprintf(stderr, "raw_loop: %s: CK_RV 0x%lx\n", #call, (unsigned long)rv_);             \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

/* NSS softokn: the library parameters stand where pReserved usually does. */
struct nss_arguments {
    void *mutexes[4];
    CK_FLAGS flags;
    char *parameters;
    void *reserved;
};

static CK_FUNCTION_LIST *p11;
static CK_SLOT_ID slot;
static const char *key_label;
static unsigned char sealed[512], modulus[512], exponent[8];
static unsigned long sealed_len, modulus_len, exponent_len;
static CK_RSA_PKCS_OAEP_PARAMS oaep = {.source = CKZ_DATA_SPECIFIED};
static bool on_token;
static atomic_bool stop;
static atomic_ulong operations;

static size_t read_file(const char *path, void *out, size_t max)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        perror(path);
        exit(1);
    }
    size_t len = fread(out, 1, max, file);
    fclose(file);
    return len;
}

static void load(const char *module, char *init_args)
{
    void *library = dlopen(module, RTLD_NOW | RTLD_LOCAL);
    CK_C_GetFunctionList get = NULL;
    if (library == NULL) {
        fprintf(stderr, "raw_loop: %s\n", dlerror());
        exit(1);
    }
    *(void **)&get = dlsym(library, "C_GetFunctionList");
    MUST(get(&p11));
    struct nss_arguments arguments = {.flags = CKF_OS_LOCKING_OK,
                                      .parameters = init_args[0] != '\0' ? init_args : NULL};
    MUST(p11->C_Initialize(&arguments));
}

static void find_slot(const char *label)
{
    CK_SLOT_ID slots[32];
    CK_ULONG count = 32;
    MUST(p11->C_GetSlotList(CK_TRUE, slots, &count));
    for (CK_ULONG i = 0; i < count; i++) {
        CK_TOKEN_INFO info;
        MUST(p11->C_GetTokenInfo(slots[i], &info));
        size_t len = strlen(label);
        if (memcmp(info.label, label, len) == 0 && (len == 32 || info.label[len] == ' ')) {
            slot = slots[i];
            return;
        }
    }
    fprintf(stderr, "raw_loop: no token \"%s\"\n", label);
    exit(1);
}

static CK_OBJECT_HANDLE find_key(CK_SESSION_HANDLE session)
{
    CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
    char label[128];
    snprintf(label, sizeof label, "%s", key_label);
    CK_ATTRIBUTE template[] = {{CKA_CLASS, &class, sizeof class},
                               {CKA_LABEL, label, strlen(label)}};
    CK_OBJECT_HANDLE key = 0;
    CK_ULONG found = 0;
    MUST(p11->C_FindObjectsInit(session, template, 2));
    MUST(p11->C_FindObjects(session, &key, 1, &found));
    MUST(p11->C_FindObjectsFinal(session));
    if (found != 1) {
        fprintf(stderr, "raw_loop: no private key \"%s\"\n", label);
        exit(1);
    }
    return key;
}

static void one_on_host(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE key)
{
    CK_MECHANISM raw = {CKM_RSA_X_509, NULL, 0};
    unsigned char block[512];
    CK_ULONG len = sizeof block;
    MUST(p11->C_DecryptInit(session, &raw, key));
    MUST(p11->C_Decrypt(session, sealed, sealed_len, block, &len));
}

static CK_OBJECT_HANDLE unwrap(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE key)
{
    CK_OBJECT_CLASS class = CKO_SECRET_KEY;
    CK_KEY_TYPE type = CKK_GENERIC_SECRET;
    CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
    CK_ATTRIBUTE template[] = {
        {CKA_CLASS, &class, sizeof class}, {CKA_KEY_TYPE, &type, sizeof type},
        {CKA_TOKEN, &no, sizeof no},       {CKA_PRIVATE, &yes, sizeof yes},
        {CKA_SENSITIVE, &yes, sizeof yes}, {CKA_EXTRACTABLE, &yes, sizeof yes},
    };
    CK_MECHANISM mechanism = {CKM_RSA_PKCS_OAEP, &oaep, sizeof oaep};
    CK_OBJECT_HANDLE secret;
    MUST(p11->C_UnwrapKey(session, &mechanism, key, sealed, sealed_len, template, 6, &secret));
    CK_BBOOL sensitive = CK_FALSE;
    CK_ATTRIBUTE back = {CKA_SENSITIVE, &sensitive, sizeof sensitive};
    MUST(p11->C_GetAttributeValue(session, secret, &back, 1));
    return secret;
}

static CK_OBJECT_HANDLE content_key(CK_SESSION_HANDLE session)
{
    CK_ULONG len = 32;
    CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
    CK_ATTRIBUTE template[] = {
        {CKA_TOKEN, &no, sizeof no},         {CKA_SENSITIVE, &yes, sizeof yes},
        {CKA_EXTRACTABLE, &yes, sizeof yes}, {CKA_WRAP, &yes, sizeof yes},
        {CKA_VALUE_LEN, &len, sizeof len},
    };
    CK_MECHANISM mechanism = {CKM_AES_KEY_GEN, NULL, 0};
    CK_OBJECT_HANDLE key;
    MUST(p11->C_GenerateKey(session, &mechanism, template, 5, &key));
    return key;
}

static CK_OBJECT_HANDLE device_key(CK_SESSION_HANDLE session)
{
    CK_OBJECT_CLASS class = CKO_PUBLIC_KEY;
    CK_KEY_TYPE type = CKK_RSA;
    CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
    CK_ATTRIBUTE template[] = {
        {CKA_CLASS, &class, sizeof class},   {CKA_KEY_TYPE, &type, sizeof type},
        {CKA_TOKEN, &no, sizeof no},         {CKA_WRAP, &yes, sizeof yes},
        {CKA_MODULUS, modulus, modulus_len}, {CKA_PUBLIC_EXPONENT, exponent, exponent_len},
    };
    CK_OBJECT_HANDLE key;
    MUST(p11->C_CreateObject(session, template, 6, &key));
    return key;
}

static void one_on_token(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE key)
{
    unsigned char iv[16] = {0}, content[512], wrapped[512];
    CK_ULONG content_len = sizeof content, wrapped_len = sizeof wrapped;
    CK_MECHANISM aes = {CKM_AES_CBC_PAD, iv, sizeof iv}, rsa = {CKM_RSA_PKCS, NULL, 0};
    CK_OBJECT_HANDLE secret = unwrap(session, key);
    CK_OBJECT_HANDLE aes_key = content_key(session);
    CK_OBJECT_HANDLE device = device_key(session);
    MUST(p11->C_WrapKey(session, &aes, aes_key, secret, content, &content_len));
    MUST(p11->C_WrapKey(session, &rsa, device, aes_key, wrapped, &wrapped_len));
    MUST(p11->C_DestroyObject(session, secret));
    MUST(p11->C_DestroyObject(session, aes_key));
    MUST(p11->C_DestroyObject(session, device));
}

static void *work(void *unused)
{
    CK_SESSION_HANDLE session;
    MUST(p11->C_OpenSession(slot, CKF_SERIAL_SESSION, NULL, NULL, &session));
    CK_OBJECT_HANDLE key = find_key(session);
    while (!stop) {
        if (on_token)
            one_on_token(session, key);
        else
            one_on_host(session, key);
        operations++;
    }
    MUST(p11->C_CloseSession(session));
    return unused;
}

static void read_device(const char *path)
{
    FILE *file = fopen(path, "r");
    X509 *certificate = file != NULL ? PEM_read_X509(file, NULL, NULL, NULL) : NULL;
    EVP_PKEY *key = certificate != NULL ? X509_get0_pubkey(certificate) : NULL;
    BIGNUM *n = NULL, *e = NULL;
    if (key == NULL || !EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_N, &n) ||
        !EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_E, &e)) {
        fprintf(stderr, "raw_loop: %s is no RSA certificate\n", path);
        exit(1);
    }
    modulus_len = (unsigned long)BN_bn2bin(n, modulus);
    exponent_len = (unsigned long)BN_bn2bin(e, exponent);
    BN_free(n);
    BN_free(e);
    X509_free(certificate);
    fclose(file);
}

static double now(clockid_t id)
{
    struct timespec ts;
    clock_gettime(id, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void choose_hash(const char *name)
{
    oaep.hashAlg = strcmp(name, "256") == 0   ? CKM_SHA256
                   : strcmp(name, "384") == 0 ? CKM_SHA384
                                              : CKM_SHA512;
    oaep.mgf = strcmp(name, "256") == 0   ? CKG_MGF1_SHA256
               : strcmp(name, "384") == 0 ? CKG_MGF1_SHA384
                                          : CKG_MGF1_SHA512;
}

int main(int argc, char **argv)
{
    if (argc != 12) {
        fprintf(stderr, "usage: raw_loop MODULE INIT_ARGS LABEL PIN_FILE KEY_LABEL SEALED_FILE "
                        "DEVICE_PEM host|token SHA SESSIONS SECONDS\n");
        return 2;
    }
    unsigned char pin[256];
    unsigned long pin_len = read_file(argv[4], pin, sizeof pin);
    while (pin_len > 0 && pin[pin_len - 1] == '\n')
        pin_len--;
    key_label = argv[5];
    sealed_len = read_file(argv[6], sealed, sizeof sealed);
    read_device(argv[7]);
    on_token = strcmp(argv[8], "token") == 0;
    choose_hash(argv[9]);
    long sessions = strtol(argv[10], NULL, 10), seconds = strtol(argv[11], NULL, 10);
    if (sessions < 1 || sessions > 64 || seconds < 1 || seconds > 600)
        return 2;

    load(argv[1], argv[2]);
    find_slot(argv[3]);
    CK_SESSION_HANDLE login;
    MUST(p11->C_OpenSession(slot, CKF_SERIAL_SESSION, NULL, NULL, &login));
    MUST(p11->C_Login(login, CKU_USER, pin, pin_len));
    pthread_t threads[64];
    double wall = now(CLOCK_MONOTONIC), cpu = now(CLOCK_PROCESS_CPUTIME_ID);
    for (long i = 0; i < sessions; i++)
        pthread_create(&threads[i], NULL, work, NULL);
    struct timespec pause = {seconds, 0};
    nanosleep(&pause, NULL);
    stop = true;
    for (long i = 0; i < sessions; i++)
        pthread_join(threads[i], NULL);
    wall = now(CLOCK_MONOTONIC) - wall;
    cpu = now(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    printf("{\"operations\":%lu,\"seconds\":%.3f,\"cpuSeconds\":%.3f}\n", (unsigned long)operations,
           wall, cpu);
    p11->C_Finalize(NULL);
    return 0;
}
