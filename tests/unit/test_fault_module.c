/* SPDX-License-Identifier: Apache-2.0 */
/* The module that the fault tests trust: it forwards, and does what its script says and no more. */
#include <pthread.h>
#include <p11-kit/pkcs11.h>
#include "reseal/clock.h"
#include "fault_fixture.h"

static struct fixture fixture;
static const struct fault_control *fault;
static CK_FUNCTION_LIST_PTR f;
static CK_SLOT_ID slot;

static CK_SESSION_HANDLE open_session(void)
{
    CK_SESSION_HANDLE handle = CK_INVALID_HANDLE;
    assert_int_equal(f->C_OpenSession(slot, CKF_SERIAL_SESSION, NULL, NULL, &handle), CKR_OK);
    return handle;
}

static CK_RV login(CK_SESSION_HANDLE handle)
{
    struct bytes pin = secret_bytes(fixture.pin);
    return f->C_Login(handle, CKU_USER, (CK_UTF8CHAR_PTR)(uintptr_t)pin.data, pin.len);
}

static CK_RV session_info(CK_SESSION_HANDLE handle)
{
    CK_SESSION_INFO info;
    return f->C_GetSessionInfo(handle, &info);
}

static CK_SLOT_ID first_slot(void)
{
    CK_SLOT_ID slots[16];
    CK_ULONG count = ARRAY_LEN(slots);
    assert_int_equal(f->C_GetSlotList(CK_TRUE, slots, &count), CKR_OK);
    assert_true(count > 0);
    return slots[0];
}

static int start(void **state)
{
    (void)state;
    CK_C_GetFunctionList get = NULL;
    CK_C_INITIALIZE_ARGS args = {.flags = CKF_OS_LOCKING_OK};
    fixture_softhsm(&fixture);
    fault = fault_load(&fixture);
    void *library = dlopen(fixture.address.module, RTLD_NOW | RTLD_LOCAL);
    assert_non_null(library);
    *(void **)&get = dlsym(library, "C_GetFunctionList");
    assert_non_null(get);
    assert_int_equal(get(&f), CKR_OK);
    assert_int_equal(f->C_GetInfo(NULL), CKR_CRYPTOKI_NOT_INITIALIZED);
    assert_int_equal(f->C_Initialize(&args), CKR_OK);
    slot = first_slot();
    return 0;
}

static int end(void **state)
{
    (void)state;
    fault_set(fault, "");
    assert_int_equal(f->C_Finalize(NULL), CKR_OK);
    fixture_end(&fixture);
    return 0;
}

static int calm(void **state)
{
    (void)state;
    fault_set(fault, "");
    assert_int_equal(f->C_CloseAllSessions(slot), CKR_OK);
    fault->reset();
    return 0;
}

/* -- promises -- */

static void without_rules_every_call_is_the_real_ones(void **state)
{
    (void)state;
    CK_SESSION_HANDLE handle = open_session();
    assert_int_equal(login(handle), CKR_OK);
    assert_int_equal(fault->sessions(), 1);
    assert_int_equal(f->C_CloseSession(handle), CKR_OK);
    assert_int_equal(fault->sessions(), 0);
    assert_int_equal(fault->calls("C_Login"), 1);
    assert_int_equal(fault->reached("C_Login"), 1);
    assert_int_equal(fault->faults(), 0);
    struct fault_counter counters[FAULT_FUNCTIONS_MAX];
    size_t count = fault->counters(counters, ARRAY_LEN(counters));
    assert_int_equal(count, 67); /* PKCS#11 v2.40 has 68 with C_GetFunctionList */
    for (size_t i = 0; i < count; i++)
        assert_int_equal(counters[i].calls, fault->calls(counters[i].function));
}

static void a_fault_meets_the_calls_that_it_names(void **state)
{
    (void)state;
    static const struct {
        const char *script;
        int met; /* calls of five, as bits */
        bool real;
    } rows[] = {
        {"C_GetSessionInfo 1 return CKR_DEVICE_ERROR", 1, false},
        {"C_GetSessionInfo 3 after CKR_DEVICE_ERROR", 4, true},
        {"C_GetSessionInfo 2..4 before CKR_DEVICE_ERROR", 14, false},
        {"C_GetSessionInfo from 4 return 0x30 # of the standard", 24, false},
        {"C_GetSessionInfo * return CKR_DEVICE_ERROR once", 1, false},
        {"C_GetSessionInfo * return CKR_DEVICE_ERROR", 31, false},
        {"C_CloseSession * return CKR_DEVICE_ERROR", 0, false},
    };
    CK_SESSION_HANDLE handle = open_session();
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        int met = 0;
        fault->reset();
        fault_set(fault, rows[i].script);
        for (int call = 0; call < 5; call++) {
            CK_RV rv = session_info(handle);
            assert_true(rv == CKR_OK || rv == CKR_DEVICE_ERROR);
            met |= rv != CKR_OK ? 1 << call : 0;
        }
        assert_int_equal(met, rows[i].met);
        assert_int_equal(fault->calls("C_GetSessionInfo"), 5);
        assert_int_equal(fault->reached("C_GetSessionInfo"),
                         rows[i].real ? 5 : 5 - __builtin_popcount((unsigned)met));
        assert_int_equal(fault->faults(), __builtin_popcount((unsigned)met));
    }
}

static void effects_are_done_to_the_real_session(void **state)
{
    (void)state;
    CK_SESSION_HANDLE handle = open_session(), other = open_session();
    CK_SESSION_INFO info;
    assert_int_equal(login(handle), CKR_OK);
    fault_set(fault, "C_GetSessionInfo 1 after CKR_USER_NOT_LOGGED_IN logout");
    assert_int_equal(session_info(handle), CKR_USER_NOT_LOGGED_IN);
    assert_int_equal(f->C_GetSessionInfo(handle, &info), CKR_OK);
    assert_int_equal(info.state, CKS_RO_PUBLIC_SESSION);
    fault_set(fault, "C_GetSessionInfo 1 return CKR_SESSION_CLOSED close");
    assert_int_equal(session_info(handle), CKR_SESSION_CLOSED);
    assert_int_equal(session_info(handle), CKR_SESSION_HANDLE_INVALID);
    assert_int_equal(fault->sessions(), 1);
    fault_set(fault, "C_GetSessionInfo 1 return CKR_DEVICE_REMOVED close-all");
    assert_int_equal(session_info(other), CKR_DEVICE_REMOVED);
    assert_int_equal(session_info(other), CKR_SESSION_HANDLE_INVALID);
    assert_int_equal(fault->sessions(), 0);
}

static void an_opened_session_that_is_answered_with_an_error_stays_nobodys(void **state)
{
    (void)state;
    CK_SESSION_HANDLE handle = CK_INVALID_HANDLE;
    fault_set(fault, "C_OpenSession 1 after CKR_DEVICE_ERROR");
    assert_int_equal(f->C_OpenSession(slot, CKF_SERIAL_SESSION, NULL, NULL, &handle),
                     CKR_DEVICE_ERROR);
    assert_int_equal(fault->sessions(), 0);
    assert_int_equal(session_info(handle), CKR_SESSION_HANDLE_INVALID);
}

static void sessions_are_limited_to_so_many(void **state)
{
    (void)state;
    CK_SESSION_HANDLE handle = CK_INVALID_HANDLE;
    fault_set(fault, "sessions-max 2");
    CK_SESSION_HANDLE first = open_session();
    open_session();
    assert_int_equal(f->C_OpenSession(slot, CKF_SERIAL_SESSION, NULL, NULL, &handle),
                     CKR_SESSION_COUNT);
    assert_int_equal(f->C_CloseSession(first), CKR_OK);
    open_session();
}

static void a_token_that_goes_ends_its_sessions_and_comes_back_elsewhere(void **state)
{
    (void)state;
    CK_SESSION_HANDLE handle = open_session();
    CK_SESSION_INFO info;
    CK_TOKEN_INFO token;
    CK_ULONG count = 0;
    assert_int_equal(login(handle), CKR_OK);
    fault_set(fault, "gone");
    assert_int_equal(fault->sessions(), 0);
    assert_int_equal(f->C_GetSlotList(CK_TRUE, NULL, &count), CKR_OK);
    assert_int_equal(count, 0);
    assert_int_equal(f->C_GetTokenInfo(slot, &token), CKR_TOKEN_NOT_PRESENT);
    assert_int_equal(session_info(handle), CKR_DEVICE_REMOVED);
    assert_int_equal(f->C_OpenSession(slot, CKF_SERIAL_SESSION, NULL, NULL, &handle),
                     CKR_TOKEN_NOT_PRESENT);
    fault_set(fault, "slot +1000");
    assert_int_equal(first_slot(), slot + 1000);
    assert_int_equal(f->C_GetTokenInfo(slot, &token), CKR_SLOT_ID_INVALID);
    assert_int_equal(f->C_GetTokenInfo(slot + 1000, &token), CKR_OK);
    assert_int_equal(session_info(handle), CKR_SESSION_HANDLE_INVALID);
    assert_int_equal(f->C_OpenSession(slot + 1000, CKF_SERIAL_SESSION, NULL, NULL, &handle),
                     CKR_OK);
    assert_int_equal(f->C_GetSessionInfo(handle, &info), CKR_OK);
    assert_int_equal(info.slotID, slot + 1000);
    assert_int_equal(info.state, CKS_RO_PUBLIC_SESSION);
}

static void lengths_values_and_texts_are_what_the_script_says(void **state)
{
    (void)state;
    CK_SLOT_ID slots[16];
    CK_ULONG count = ARRAY_LEN(slots);
    CK_TOKEN_INFO token, true_token;
    CK_INFO info;
    fault_set(fault, "C_GetSlotList 1 length 999999\nC_GetSlotList 2 length +1\n"
                     "C_GetSlotList 3 length -1\nC_GetSlotList 4 length unavailable\n"
                     "C_GetTokenInfo 2 garbage serial\nC_GetInfo 1 garbage library\n"
                     "C_GetTokenInfo 2 flags CKF_USER_PIN_FINAL_TRY\n");
    assert_int_equal(f->C_GetSlotList(CK_TRUE, slots, &count), CKR_OK);
    assert_int_equal(count, 999999);
    CK_ULONG plus = ARRAY_LEN(slots), minus = ARRAY_LEN(slots);
    assert_int_equal(f->C_GetSlotList(CK_TRUE, slots, &plus), CKR_OK);
    assert_int_equal(f->C_GetSlotList(CK_TRUE, slots, &minus), CKR_OK);
    assert_int_equal(plus, minus + 2);
    assert_int_equal(f->C_GetSlotList(CK_TRUE, NULL, &count), CKR_OK);
    assert_true(count == CK_UNAVAILABLE_INFORMATION);
    assert_int_equal(f->C_GetTokenInfo(slot, &true_token), CKR_OK);
    assert_int_equal(f->C_GetTokenInfo(slot, &token), CKR_OK);
    assert_int_equal(token.serialNumber[0], 0x1b);
    assert_null(memchr(token.serialNumber, 0, sizeof token.serialNumber));
    assert_memory_equal(token.label, true_token.label, sizeof token.label);
    assert_int_equal(token.flags, true_token.flags | CKF_USER_PIN_FINAL_TRY);
    assert_int_equal(f->C_GetInfo(&info), CKR_OK);
    assert_int_equal(info.libraryDescription[0], 0x1b);
}

static void an_attribute_lies_alone(void **state)
{
    (void)state;
    CK_OBJECT_CLASS class = CKO_DATA;
    CK_BBOOL private = CK_FALSE, told = CK_FALSE;
    char value[] = "a value";
    CK_ATTRIBUTE rows[] = {{CKA_CLASS, &class, sizeof class},
                           {CKA_PRIVATE, &private, sizeof private},
                           {CKA_VALUE, value, sizeof value}};
    CK_OBJECT_HANDLE object;
    CK_SESSION_HANDLE handle = open_session();
    assert_int_equal(f->C_CreateObject(handle, rows, 3, &object), CKR_OK);
    fault_set(fault, "C_GetAttributeValue 1 of CKA_PRIVATE value 01\n"
                     "C_GetAttributeValue * of CKA_VALUE return CKR_OK\n"
                     "C_GetAttributeValue * of CKA_VALUE length 7777\n");
    CK_ATTRIBUTE row = {CKA_VALUE, NULL, 0};
    assert_int_equal(f->C_GetAttributeValue(handle, object, &row, 1), CKR_OK);
    assert_int_equal(row.ulValueLen, 7777);
    row = (CK_ATTRIBUTE){CKA_PRIVATE, &told, sizeof told};
    assert_int_equal(f->C_GetAttributeValue(handle, object, &row, 1), CKR_OK);
    assert_int_equal(told, CK_TRUE);
    assert_int_equal(f->C_GetAttributeValue(handle, object, &row, 1), CKR_OK);
    assert_int_equal(told, CK_FALSE);
}

static void *ask_session_info(void *argument)
{
    const CK_SESSION_HANDLE *handle = argument;
    assert_int_equal(session_info(*handle), CKR_OK);
    return NULL;
}

static void a_call_that_hangs_holds_up_no_other_and_ends_with_the_script(void **state)
{
    (void)state;
    pthread_t thread;
    CK_SESSION_HANDLE handle = open_session();
    fault_set(fault, "C_GetSessionInfo 1 hang\n");
    assert_int_equal(pthread_create(&thread, NULL, ask_session_info, &handle), 0);
    while (fault->calls("C_GetSessionInfo") == 0)
        sched_yield();
    assert_int_equal(session_info(handle), CKR_OK);
    assert_int_equal(fault->reached("C_GetSessionInfo"), 1);
    fault_set(fault, "");
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(fault->reached("C_GetSessionInfo"), 2);
}

/* C_Decrypt without an operation fails in the module, after the delay. */
static void *decrypt_nothing(void *argument)
{
    const CK_SESSION_HANDLE *handle = argument;
    CK_BYTE in[16] = {0}, out[16];
    CK_ULONG len = sizeof out;
    assert_int_equal(f->C_Decrypt(*handle, in, sizeof in, out, &len),
                     CKR_OPERATION_NOT_INITIALIZED);
    return NULL;
}

static void delays_of_private_keys_pass_side_by_side(void **state)
{
    (void)state;
    enum {
        SESSIONS = 16,
        DELAY_MS = 100
    };
    pthread_t threads[SESSIONS];
    CK_SESSION_HANDLE handles[SESSIONS];
    for (int i = 0; i < SESSIONS; i++)
        handles[i] = open_session();
    fault_set(fault, "private-key-delay 100");
    int64_t begun = clock_monotonic_ms();
    assert_int_equal(session_info(handles[0]), CKR_OK); /* not an operation of that kind */
    for (int i = 0; i < SESSIONS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, decrypt_nothing, &handles[i]), 0);
    for (int i = 0; i < SESSIONS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    int64_t took = clock_monotonic_ms() - begun;
    assert_in_range(took, DELAY_MS, SESSIONS * DELAY_MS / 2);
}

/* The delay is what the real module takes: it counts in the time, and does not come on top. */
static void the_time_of_a_private_key_is_that_of_the_whole_operation(void **state)
{
    (void)state;
    enum {
        TIME_MS = 400
    };
    CK_SESSION_HANDLE handle = open_session();
    fault_set(fault, "private-key-delay 300\nprivate-key-time 400");
    int64_t begun = clock_monotonic_ms();
    decrypt_nothing(&handle);
    assert_in_range(clock_monotonic_ms() - begun, TIME_MS, TIME_MS + 299);
}

static void a_process_dies_of_it_as_told(void **state)
{
    (void)state;
    fault_set(fault, "C_GetInfo 1 die");
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        CK_INFO info;
        f->C_GetInfo(&info);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), FAULT_EXIT);
}

static void calls_are_logged_as_the_script_asks(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct buf text = BUF_INIT(4096);
    char path[96], script[256], expected[256];
    fixture_path(&fixture, "calls", path);
    snprintf(script, sizeof script, "log %s C_Login C_GetInfo\nC_Login 1 return CKR_PIN_LOCKED\n",
             path);
    CK_SESSION_HANDLE handle = open_session();
    fault_set(fault, script);
    assert_int_equal(login(handle), CKR_PIN_LOCKED);
    assert_int_equal(session_info(handle), CKR_OK);
    assert_int_equal(login(handle), CKR_OK);
    MUST(file_read(path, &text, &err), err);
    snprintf(expected, sizeof expected,
             "%ld C_Login CKR_PIN_LOCKED fault\n%ld C_Login CKR_OK real\n", (long)getpid(),
             (long)getpid());
    assert_string_equal(buf_text(&text), expected);
    buf_free(&text);
}

/* Last but for the next: RESEAL_FAULT stays set no longer than this. */
static void a_script_in_a_file_is_read_again_when_it_is_another(void **state)
{
    (void)state;
    char path[96], next[96];
    fixture_path(&fixture, "script", path);
    fixture_path(&fixture, "script.new", next);
    fixture_write(path, "C_GetSessionInfo * return CKR_DEVICE_ERROR once\n");
    CK_SESSION_HANDLE handle = open_session();
    assert_int_equal(setenv("RESEAL_FAULT", path, 1), 0);
    assert_int_equal(session_info(handle), CKR_DEVICE_ERROR);
    assert_int_equal(session_info(handle), CKR_OK);
    fixture_write(next, "# the same, but once has been\n"
                        "C_GetInfo * return CKR_OK\n");
    assert_int_equal(rename(next, path), 0);
    assert_int_equal(session_info(handle), CKR_OK);
    fixture_write(next, "C_GetSessionInfo * return CKR_DEVICE_ERROR once\n");
    assert_int_equal(rename(next, path), 0);
    assert_int_equal(session_info(handle), CKR_OK);
    assert_int_equal(unsetenv("RESEAL_FAULT"), 0);
}

static void a_script_that_is_misused_is_refused_with_its_line(void **state)
{
    (void)state;
    static const char *const scripts[] = {
        "module",
        "module a b",
        "modul x",
        "slot 5",
        "sessions-max many",
        "private-key-delay 25ms",
        "private-key-time 25ms",
        "gone away",
        "log",
        "log /nonexistent/place/log *",
        "C_Unwrap 1 die",
        "C_UnwrapKey",
        "C_UnwrapKey 0 die",
        "C_UnwrapKey 3..2 die",
        "C_UnwrapKey 1 explode",
        "C_UnwrapKey 1 return CKR_NO_SUCH",
        "C_UnwrapKey 1 return",
        "C_UnwrapKey 1 return CKR_OK late",
        "C_UnwrapKey 1 delay 25",
        "C_UnwrapKey 1 length x",
        "C_UnwrapKey 1 of CKA_VALUE die",
        "C_GetAttributeValue 1 of CKA_NO_SUCH die",
        "C_GetAttributeValue 1 value 00",
        "C_GetAttributeValue 1 of CKA_VALUE value 0",
        "C_GetAttributeValue 1 of CKA_VALUE value 0g",
        "C_GetInfo 1 garbage label",
        "C_GetTokenInfo 1 garbage library",
        "C_GetTokenInfo 1 flags CKF_NO_SUCH",
        "C_GetInfo 1 flags CKF_USER_PIN_LOCKED",
        "module /another/module.so",
    };
    for (size_t i = 0; i < ARRAY_LEN(scripts); i++) {
        if (fault->set(scripts[i]))
            fail_msg("accepted: %s", scripts[i]);
        CK_INFO info;
        assert_int_equal(f->C_GetInfo(&info), CKR_FUNCTION_REJECTED);
        assert_int_equal(f->C_Initialize(NULL), CKR_GENERAL_ERROR);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(without_rules_every_call_is_the_real_ones, calm),
        cmocka_unit_test_setup(a_fault_meets_the_calls_that_it_names, calm),
        cmocka_unit_test_setup(effects_are_done_to_the_real_session, calm),
        cmocka_unit_test_setup(an_opened_session_that_is_answered_with_an_error_stays_nobodys,
                               calm),
        cmocka_unit_test_setup(sessions_are_limited_to_so_many, calm),
        cmocka_unit_test_setup(a_token_that_goes_ends_its_sessions_and_comes_back_elsewhere, calm),
        cmocka_unit_test_setup(lengths_values_and_texts_are_what_the_script_says, calm),
        cmocka_unit_test_setup(an_attribute_lies_alone, calm),
        cmocka_unit_test_setup(a_call_that_hangs_holds_up_no_other_and_ends_with_the_script, calm),
        cmocka_unit_test_setup(delays_of_private_keys_pass_side_by_side, calm),
        cmocka_unit_test_setup(the_time_of_a_private_key_is_that_of_the_whole_operation, calm),
        cmocka_unit_test_setup(a_process_dies_of_it_as_told, calm),
        cmocka_unit_test_setup(calls_are_logged_as_the_script_asks, calm),
        cmocka_unit_test_setup(a_script_in_a_file_is_read_again_when_it_is_another, calm),
        cmocka_unit_test_setup(a_script_that_is_misused_is_refused_with_its_line, calm),
    };
    return cmocka_run_group_tests(tests, start, end);
}
