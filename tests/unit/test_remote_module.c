/* SPDX-License-Identifier: Apache-2.0 */
/* The module for a token in another process (tests/fault/remote), by its function list. */
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include "hsm/module.h"
#include "hsm_fixture.h"

#define THREADS 8
#define ROUNDS  100

static struct fixture fixture;
static struct module *module;
static CK_FUNCTION_LIST_PTR f;
static CK_SLOT_ID slot;
static char init_args[128], socket_path[96], module_path[PATH_MAX];
static pid_t server;

/* -- the server -- */

/* Both are built into the folder of this program. */
static void built_path(const char *name, char out[static PATH_MAX])
{
    char own[PATH_MAX - 32];
    ssize_t len = readlink("/proc/self/exe", own, sizeof own - 1);
    assert_true(len > 0);
    own[len] = '\0';
    *strrchr(own, '/') = '\0';
    snprintf(out, PATH_MAX, "%s/%s", own, name);
}

static void start_server(void)
{
    char program[PATH_MAX], ready[7] = "";
    int ends[2];
    posix_spawn_file_actions_t actions;
    built_path("token_server", program);
    assert_int_equal(pipe(ends), 0);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    posix_spawn_file_actions_addclose(&actions, ends[0]);
    char *const argv[] = {
        program, (char[]){"--socket"}, socket_path, (char[]){"--module"}, fixture.address.module,
        NULL};
    assert_int_equal(posix_spawn(&server, program, &actions, NULL, argv, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    assert_int_equal(read(ends[0], ready, sizeof ready - 1), 6);
    assert_string_equal(ready, "ready\n");
    close(ends[0]);
}

static void kill_server(void)
{
    if (server <= 0)
        return;
    assert_int_equal(kill(server, SIGKILL), 0);
    assert_int_equal(waitpid(server, NULL, 0), server);
    server = 0;
}

static void find_slot(void)
{
    CK_SLOT_ID slots[8];
    CK_ULONG count = ARRAY_LEN(slots);
    CK_TOKEN_INFO info = {.flags = 0};
    assert_int_equal(f->C_GetSlotList(CK_TRUE, NULL, &count), CKR_OK);
    assert_int_equal(count, 2); /* the token, and SoftHSM's slot for the next one */
    assert_int_equal(f->C_GetSlotList(CK_TRUE, slots, &count), CKR_OK);
    slot = slots[0];
    assert_int_equal(f->C_GetTokenInfo(slot, &info), CKR_OK);
    assert_true(info.flags & CKF_TOKEN_INITIALIZED);
}

static int set_up(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    fixture_softhsm(&fixture);
    fixture_path(&fixture, "token.sock", socket_path);
    snprintf(init_args, sizeof init_args, "socket=%s", socket_path);
    built_path("libreseal-remote.so", module_path);
    start_server();
    MUST(module_open(module_path, init_args, &module, &err), err);
    f = module->functions;
    find_slot();
    return 0;
}

static int clean_up(void **state)
{
    (void)state;
    module_close(&module);
    kill_server();
    fixture_end(&fixture);
    return 0;
}

static CK_SESSION_HANDLE open_session(void)
{
    CK_SESSION_HANDLE session;
    CK_SESSION_INFO info;
    unsigned char pin[] = TEST_PIN;
    assert_int_equal(
        f->C_OpenSession(slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &session), CKR_OK);
    CK_RV rv = f->C_Login(session, CKU_USER, pin, sizeof pin - 1);
    assert_true(rv == CKR_OK || rv == CKR_USER_ALREADY_LOGGED_IN);
    assert_int_equal(f->C_GetSessionInfo(session, &info), CKR_OK);
    assert_int_equal(info.state, CKS_RW_USER_FUNCTIONS);
    assert_int_equal(info.slotID, slot);
    return session;
}

/* -- what it does -- */

static void a_module_that_is_not_initialised_says_so(void **state)
{
    (void)state;
    CK_INFO info;
    CK_C_INITIALIZE_ARGS args = {.flags = CKF_OS_LOCKING_OK, .pReserved = init_args};
    assert_int_equal(f->C_Initialize(&args), CKR_CRYPTOKI_ALREADY_INITIALIZED);
    assert_int_equal(f->C_Finalize(NULL), CKR_OK);
    assert_int_equal(f->C_Finalize(NULL), CKR_CRYPTOKI_NOT_INITIALIZED);
    assert_int_equal(f->C_GetInfo(&info), CKR_CRYPTOKI_NOT_INITIALIZED);
    char wrong[] = "configDir=/tmp";
    args.pReserved = wrong;
    assert_int_equal(f->C_Initialize(&args), CKR_ARGUMENTS_BAD);
    args.pReserved = init_args;
    assert_int_equal(f->C_Initialize(&args), CKR_OK);
    assert_int_equal(f->C_GetInfo(&info), CKR_OK);
}

static void the_end_of_a_client_ends_its_sessions(void **state)
{
    (void)state;
    CK_SESSION_INFO info;
    CK_SESSION_HANDLE session = open_session();
    CK_C_INITIALIZE_ARGS args = {.flags = CKF_OS_LOCKING_OK, .pReserved = init_args};
    assert_int_equal(f->C_Finalize(NULL), CKR_OK);
    assert_int_equal(f->C_Initialize(&args), CKR_OK);
    assert_int_equal(f->C_GetSessionInfo(session, &info), CKR_SESSION_HANDLE_INVALID);
    assert_int_equal(f->C_CloseSession(session), CKR_SESSION_HANDLE_INVALID);
}

static void what_is_not_forwarded_is_not_supported(void **state)
{
    (void)state;
    CK_SESSION_HANDLE session = open_session();
    CK_MECHANISM mechanism = {CKM_SHA256, NULL, 0};
    CK_ULONG len = 0;
    assert_int_equal(f->C_DigestInit(session, &mechanism), CKR_FUNCTION_NOT_SUPPORTED);
    assert_int_equal(f->C_SignUpdate(session, NULL, 0), CKR_FUNCTION_NOT_SUPPORTED);
    assert_int_equal(f->C_EncryptFinal(session, NULL, &len), CKR_FUNCTION_NOT_SUPPORTED);
    assert_int_equal(f->C_CloseSession(session), CKR_OK);
}

static void pss_signatures_are_made_and_checked(void **state)
{
    (void)state;
    CK_SESSION_HANDLE session = open_session();
    CK_OBJECT_HANDLE public_key, private_key;
    CK_ULONG bits = 2048, len = 0;
    CK_BBOOL no = CK_FALSE, yes = CK_TRUE;
    CK_BYTE digest[32] = "a digest of thirty-two bytes...", signature[256];
    CK_ATTRIBUTE public_rows[] = {{CKA_MODULUS_BITS, &bits, sizeof bits},
                                  {CKA_TOKEN, &no, sizeof no},
                                  {CKA_VERIFY, &yes, sizeof yes}};
    CK_ATTRIBUTE private_rows[] = {{CKA_TOKEN, &no, sizeof no}, {CKA_SIGN, &yes, sizeof yes}};
    CK_MECHANISM pair = {CKM_RSA_PKCS_KEY_PAIR_GEN, NULL, 0};
    CK_RSA_PKCS_PSS_PARAMS params = {CKM_SHA256, CKG_MGF1_SHA256, sizeof digest};
    CK_MECHANISM pss = {CKM_RSA_PKCS_PSS, &params, sizeof params};
    assert_int_equal(f->C_GenerateKeyPair(session, &pair, public_rows, ARRAY_LEN(public_rows),
                                          private_rows, ARRAY_LEN(private_rows), &public_key,
                                          &private_key),
                     CKR_OK);
    assert_int_equal(f->C_SignInit(session, &pss, private_key), CKR_OK);
    assert_int_equal(f->C_Sign(session, digest, sizeof digest, NULL, &len), CKR_OK);
    assert_int_equal(len, sizeof signature);
    len = sizeof signature - 1;
    assert_int_equal(f->C_Sign(session, digest, sizeof digest, signature, &len),
                     CKR_BUFFER_TOO_SMALL);
    assert_int_equal(len, sizeof signature);
    assert_int_equal(f->C_Sign(session, digest, sizeof digest, signature, &len), CKR_OK);
    assert_int_equal(f->C_VerifyInit(session, &pss, public_key), CKR_OK);
    assert_int_equal(f->C_Verify(session, digest, sizeof digest, signature, len), CKR_OK);
    digest[0] ^= 1;
    assert_int_equal(f->C_VerifyInit(session, &pss, public_key), CKR_OK);
    assert_int_equal(f->C_Verify(session, digest, sizeof digest, signature, len),
                     CKR_SIGNATURE_INVALID);
    assert_int_equal(f->C_CloseSession(session), CKR_OK);
}

struct ec_pair {
    CK_OBJECT_HANDLE public_key, private_key;
    CK_BYTE point[80];
    CK_ULONG point_len;
};

static void make_ec_pair(CK_SESSION_HANDLE session, struct ec_pair *out)
{
    CK_BYTE p256[] = {0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07};
    CK_BBOOL no = CK_FALSE, yes = CK_TRUE;
    CK_ATTRIBUTE public_rows[] = {{CKA_EC_PARAMS, p256, sizeof p256}, {CKA_TOKEN, &no, sizeof no}};
    CK_ATTRIBUTE private_rows[] = {{CKA_TOKEN, &no, sizeof no}, {CKA_DERIVE, &yes, sizeof yes}};
    CK_MECHANISM mechanism = {CKM_EC_KEY_PAIR_GEN, NULL, 0};
    CK_ATTRIBUTE point = {CKA_EC_POINT, out->point, sizeof out->point};
    assert_int_equal(f->C_GenerateKeyPair(session, &mechanism, public_rows, ARRAY_LEN(public_rows),
                                          private_rows, ARRAY_LEN(private_rows), &out->public_key,
                                          &out->private_key),
                     CKR_OK);
    assert_int_equal(f->C_GetAttributeValue(session, out->public_key, &point, 1), CKR_OK);
    out->point_len = point.ulValueLen;
}

static void agree(CK_SESSION_HANDLE session, const struct ec_pair *own, struct ec_pair *other,
                  CK_BYTE out[static 32])
{
    CK_OBJECT_CLASS class = CKO_SECRET_KEY;
    CK_KEY_TYPE type = CKK_GENERIC_SECRET;
    CK_ULONG len = 32;
    CK_BBOOL no = CK_FALSE, yes = CK_TRUE;
    CK_OBJECT_HANDLE secret;
    CK_ATTRIBUTE rows[] = {{CKA_CLASS, &class, sizeof class},   {CKA_KEY_TYPE, &type, sizeof type},
                           {CKA_TOKEN, &no, sizeof no},         {CKA_SENSITIVE, &no, sizeof no},
                           {CKA_EXTRACTABLE, &yes, sizeof yes}, {CKA_VALUE_LEN, &len, sizeof len}};
    CK_ECDH1_DERIVE_PARAMS params = {1 /* CKD_NULL */, 0, NULL, other->point_len, other->point};
    CK_MECHANISM mechanism = {CKM_ECDH1_DERIVE, &params, sizeof params};
    CK_ATTRIBUTE value = {CKA_VALUE, out, 32};
    assert_int_equal(
        f->C_DeriveKey(session, &mechanism, own->private_key, rows, ARRAY_LEN(rows), &secret),
        CKR_OK);
    assert_int_equal(f->C_GetAttributeValue(session, secret, &value, 1), CKR_OK);
    assert_int_equal(value.ulValueLen, 32);
}

static void both_sides_of_a_key_agreement_come_to_one_secret(void **state)
{
    (void)state;
    CK_SESSION_HANDLE session = open_session();
    struct ec_pair one, other;
    CK_BYTE here[32], there[32];
    make_ec_pair(session, &one);
    make_ec_pair(session, &other);
    agree(session, &one, &other, here);
    agree(session, &other, &one, there);
    assert_memory_equal(here, there, sizeof here);
    assert_int_equal(f->C_CloseSession(session), CKR_OK);
}

/* Says whether the thread's own objects are found by it, again and again. */
static void *work(void *argument)
{
    bool *ok = argument;
    CK_SESSION_HANDLE session;
    CK_OBJECT_HANDLE object, found[2];
    CK_OBJECT_CLASS class = CKO_DATA;
    CK_BBOOL no = CK_FALSE;
    CK_BYTE name[16];
    CK_ATTRIBUTE rows[] = {{CKA_CLASS, &class, sizeof class},
                           {CKA_TOKEN, &no, sizeof no},
                           {CKA_LABEL, name, sizeof name}};
    bool good =
        f->C_OpenSession(slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &session) == CKR_OK;
    for (int i = 0; good && i < ROUNDS; i++) {
        CK_ULONG count = 0;
        good = f->C_GenerateRandom(session, name, sizeof name) == CKR_OK &&
               f->C_CreateObject(session, rows, ARRAY_LEN(rows), &object) == CKR_OK &&
               f->C_FindObjectsInit(session, rows, ARRAY_LEN(rows)) == CKR_OK &&
               f->C_FindObjects(session, found, ARRAY_LEN(found), &count) == CKR_OK &&
               f->C_FindObjectsFinal(session) == CKR_OK && count == 1 && found[0] == object &&
               f->C_DestroyObject(session, object) == CKR_OK;
    }
    *ok = good && f->C_CloseSession(session) == CKR_OK;
    return NULL;
}

static void sessions_of_many_threads_do_not_meet(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    bool ok[THREADS] = {false};
    CK_SESSION_HANDLE session = open_session();
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, work, &ok[i]), 0);
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    for (size_t i = 0; i < THREADS; i++)
        assert_true(ok[i]);
    assert_int_equal(f->C_CloseSession(session), CKR_OK);
}

static void a_token_that_was_killed_is_gone_and_comes_back_without_its_sessions(void **state)
{
    (void)state;
    CK_SESSION_HANDLE old = open_session(), session;
    CK_SESSION_INFO info;
    CK_ULONG count = 0, size;
    struct ec_pair pair;
    make_ec_pair(old, &pair);
    assert_int_equal(f->C_GetObjectSize(old, pair.public_key, &size), CKR_OK);
    kill_server();
    assert_int_equal(f->C_GetSessionInfo(old, &info), CKR_DEVICE_REMOVED);
    assert_int_equal(f->C_GetSlotList(CK_TRUE, NULL, &count), CKR_DEVICE_REMOVED);
    start_server();
    assert_int_equal(f->C_GetSessionInfo(old, &info), CKR_SESSION_HANDLE_INVALID);
    assert_int_equal(f->C_GetSlotList(CK_TRUE, NULL, &count), CKR_OK);
    session = open_session();
    assert_int_not_equal(session, old);
    assert_int_equal(f->C_GetObjectSize(session, pair.public_key, &size),
                     CKR_OBJECT_HANDLE_INVALID);
    assert_int_equal(f->C_GetSessionInfo(old, &info), CKR_SESSION_HANDLE_INVALID);
    assert_int_equal(f->C_CloseSession(session), CKR_OK);
}

/* Length, number, type, and a body of that length: well framed, but no request. */
static void send_nonsense(unsigned type, unsigned seed)
{
    uint8_t frame[4 + 4 + 2 + 40] = {0, 0, 0, 40, 0, 0, 0, 1, 0, (uint8_t)type};
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    uint8_t answer[1024];
    snprintf(address.sun_path, sizeof address.sun_path, "%s", socket_path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof address), 0);
    const uint8_t hello[] = {0, 0, 0, 8, 0, 0, 0, 1, 0, 1, 9, 9, 9, 9, 9, 9, 9, 9};
    assert_int_equal(write(fd, hello, sizeof hello), sizeof hello);
    assert_int_equal(read(fd, answer, 14), 14);
    for (size_t i = 10; i < sizeof frame; i++) {
        seed = seed * 1103515245u + 12345u;
        frame[i] = (uint8_t)(seed >> 16 & (seed & 0x8000u ? 0xffu : 1u));
    }
    assert_int_equal(write(fd, frame, sizeof frame), sizeof frame);
    /* It answers or hangs up. */
    assert_true(read(fd, answer, sizeof answer) >= 0);
    close(fd);
}

static void nonsense_does_not_end_the_server(void **state)
{
    (void)state;
    CK_INFO info;
    for (unsigned type = 0; type < 64; type++) {
        for (unsigned seed = 1; seed <= 4; seed++)
            send_nonsense(type, seed);
    }
    assert_int_equal(waitpid(server, NULL, WNOHANG), 0);
    assert_int_equal(f->C_GetInfo(&info), CKR_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_module_that_is_not_initialised_says_so),
        cmocka_unit_test(the_end_of_a_client_ends_its_sessions),
        cmocka_unit_test(what_is_not_forwarded_is_not_supported),
        cmocka_unit_test(pss_signatures_are_made_and_checked),
        cmocka_unit_test(both_sides_of_a_key_agreement_come_to_one_secret),
        cmocka_unit_test(sessions_of_many_threads_do_not_meet),
        cmocka_unit_test(a_token_that_was_killed_is_gone_and_comes_back_without_its_sessions),
        cmocka_unit_test(nonsense_does_not_end_the_server),
    };
    return cmocka_run_group_tests(tests, set_up, clean_up);
}
