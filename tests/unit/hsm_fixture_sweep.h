/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sweep: every function that hsm/ calls, answered with every CK_RV that has a name, at the
 * first or the last call or at all of them; and what must hold whatever the token does:
 *
 *   - each answer is the sealed password, in the custody that was promised, or an error whose kind
 *     fits the class of the CK_RV and whose text names it (the uniform one for a bad message);
 *   - no PIN is tried again after an answer that may stand for a wrong one, and once otherwise;
 *   - no session stays open that could have been closed;
 *   - once the fault is over, jobs are done again, or the helper has asked to be restarted.
 *
 * Which functions, and how many calls, is counted by the fault module in a run without faults. In
 * the short form each pair of function and CK_RV is met at one of the places, in turn;
 * RESEAL_LONG=1 takes all. RESEAL_PART=2/4 takes every fourth case, from the second on.
 */
#ifndef RESEAL_TESTS_HSM_FIXTURE_SWEEP_H
#define RESEAL_TESTS_HSM_FIXTURE_SWEEP_H

#include "hsm_fixture_service.h"

#define PASSWORD_LEN 17
#define LEFT_OVER_RV "CKR_OPERATION_ACTIVE" /* where the module did not see the whole operation */
#define UNKNOWN_RVS  2 /* a vendor's and one of nobody, after those with a name */

static enum custody promised;
static unsigned long cases, violations;

static inline bool is_long(void)
{
    const char *word = getenv("RESEAL_LONG");
    return word != NULL && word[0] != '\0' && strcmp(word, "0") != 0;
}

/* Whether the next case is of the part that is run; without parts each is. */
static inline bool case_is_ours(void)
{
    static unsigned long next, part, parts;
    if (parts == 0) {
        const char *word = getenv("RESEAL_PART");
        if (word == NULL)
            part = parts = 1;
        else if (sscanf(word, "%lu/%lu", &part, &parts) != 2 || part == 0 || part > parts)
            fail_msg("RESEAL_PART=%s is no part", word);
    }
    return next++ % parts == part - 1;
}

static inline size_t swept_rvs(void)
{
    return ck_rv_count() + UNKNOWN_RVS;
}

static inline CK_RV swept_rv(size_t index)
{
    return index < ck_rv_count()    ? ck_rv_at(index)
           : index == ck_rv_count() ? CKR_VENDOR_DEFINED + 0x12
                                    : 0x7777;
}

/* Of each class one, and those of no class. */
static inline bool stands_for_class(size_t index)
{
    if (swept_rv(index) == CKR_OK)
        return false;
    for (size_t i = 0; i < index; i++) {
        if (index < ck_rv_count() && ck_rv_class(swept_rv(i)) == ck_rv_class(swept_rv(index)))
            return false;
    }
    return true;
}

/* One fault, and how a failure that it causes is told. */
struct scene {
    const char *setup;    /* rules that come first; may be empty */
    const char *function; /* NULL: the setup alone */
    char calls[24];       /* of it: as in a rule */
    CK_RV rv;
    char rv_name[CK_RV_TEXT];
    const char *when; /* "return" or "after" */
};

/* The sweep goes on, so that one run shows everything that is wrong. */
#define SCENE_FAIL(scene, ...)                                                                     \
    do {                                                                                           \
        print_error("%s / %s %s %s %s: ", (scene)->setup,                                          \
                    (scene)->function != NULL ? (scene)->function : "", (scene)->calls,            \
                    (scene)->when, (scene)->rv_name);                                              \
        print_error(__VA_ARGS__);                                                                  \
        print_error("\n");                                                                         \
        violations++;                                                                              \
    } while (0)

static inline void scene_script(const struct scene *scene, char *out, size_t size)
{
    int len = snprintf(out, size, "%s\n", scene->setup);
    if (scene->function != NULL)
        len += snprintf(out + len, size - (size_t)len, "%s %s %s 0x%lx\n", scene->function,
                        scene->calls, scene->when, scene->rv);
    assert_true(len > 0 && (size_t)len < size);
}

static inline bool scene_is(const struct scene *scene, const char *function)
{
    return scene->function != NULL && strcmp(scene->function, function) == 0;
}

static inline bool scene_lasts(const struct scene *scene)
{
    return strcmp(scene->calls, "*") == 0;
}

/* After such an answer of C_Login the PIN is never tried again. */
static inline bool scene_refuses_pin(const struct scene *scene)
{
    enum ck_class class = ck_rv_class(scene->rv);
    bool softhsm_is_busy = promised == CUSTODY_HOST && scene->rv == CKR_GENERAL_ERROR;
    return scene_is(scene, "C_Login") && scene->rv != CKR_USER_ALREADY_LOGGED_IN &&
           !softhsm_is_busy &&
           (class == CK_CLASS_LOGIN_LOST || class == CK_CLASS_MESSAGE_BAD ||
            class == CK_CLASS_NOT_THIS_WAY || class == CK_CLASS_PIN || class == CK_CLASS_GENERAL);
}

/* -- jobs -- */

/* True: the answer is the password. False: it is the failure. */
static inline bool job_done(const struct scene *scene, struct run *run, struct error *failure)
{
    static uint32_t number;
    static struct buf sealed = BUF_INIT(1024); /* sealed once: sealing is not what is tested */
    struct error err = ERROR_INIT;
    struct frame frame;
    struct resealed_message message;
    struct secret *opened = NULL;
    uint8_t expected[PASSWORD_LEN];
    static struct reseal_message good;
    if (sealed.len == 0)
        good = peer_job(&setting, sealing, KEY_NAME, PASSWORD_LEN, &sealed);
    peer_ask(run->channel, ++number, &good);
    if (!peer_next(run->channel, &frame))
        fail_msg("no answer");
    assert_int_equal(frame.number, number);
    if (frame.type == HELPER_FAILED) {
        MUST(failed_decode(frame.body, failure, &err), err);
        return false;
    }
    assert_int_equal(frame.type, HELPER_RESEALED);
    MUST(resealed_decode(frame.body, &message, &err), err);
    if (message.custody != promised)
        SCENE_FAIL(scene, "custody %s", custody_name(message.custody));
    fixture_password(PASSWORD_LEN, expected);
    if (!cms_decrypt(message.der, setting.device.key, setting.device.certificate, &opened, &err))
        SCENE_FAIL(scene, "the answer does not open: %s", err.text);
    else if (secret_len(opened) != PASSWORD_LEN ||
             memcmp(secret_data(opened), expected, PASSWORD_LEN) != 0)
        SCENE_FAIL(scene, "the answer opens to another password");
    secret_free(&opened);
    return true;
}

static inline void job_must_succeed(const struct scene *scene, struct run *run)
{
    struct error failure = ERROR_INIT;
    if (!job_done(scene, run, &failure))
        SCENE_FAIL(scene, "a job failed when the fault was over: %s: %s",
                   failure_name(failure.kind), failure.text);
}

/* -- what may be said of it -- */

static inline bool opens_passwords(const char *function)
{
    static const char *const names[] = {"C_DecryptInit", "C_Decrypt", "C_UnwrapKey", "C_DeriveKey",
                                        "C_WrapKey"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (strcmp(names[i], function) == 0)
            return true;
    }
    return false;
}

/* Two faults in one job: it may be the other of them that it is given up for. */
static inline bool names_another(const struct scene *scene, const char *text)
{
    const char *setup = strstr(scene->setup, "CKR_");
    char word[64];
    bool left_active = scene_is(scene, "C_Decrypt") || scene_is(scene, "C_DecryptInit");
    if ((setup != NULL || left_active) && strstr(text, LEFT_OVER_RV) != NULL)
        return true;
    return setup != NULL && sscanf(setup, "%63s", word) == 1 && strstr(text, word) != NULL;
}

static inline void check_failure(const struct scene *scene, const struct error *failure)
{
    struct error uniform = ERROR_INIT;
    enum ck_class class = ck_rv_class(scene->rv);
    bool named = strstr(failure->text, scene->rv_name) != NULL, fits = false;
    fail_message(&uniform);
    switch (failure->kind) {
    case FAIL_CRYPTO:
        fits = opens_passwords(scene->function) && !ck_class_is_trouble(class) &&
               strcmp(failure->text, uniform.text) == 0 && strcmp(failure->hint, uniform.hint) == 0;
        break;
    case FAIL_TOKEN: /* a token that does not open its own messages says nothing of a CK_RV */
        fits = named || names_another(scene, failure->text) ||
               (scene_lasts(scene) && opens_passwords(scene->function) &&
                strstr(failure->text, "what was sealed a moment ago") != NULL);
        break;
    case FAIL_UNSUPPORTED:
        fits = named && class == CK_CLASS_NOT_THIS_WAY;
        break;
    case FAIL_PIN:
        fits = named && (scene_refuses_pin(scene) || class == CK_CLASS_PIN);
        break;
    case FAIL_NONE:
    case FAIL_INTERNAL:
    case FAIL_USAGE:
    case FAIL_INPUT:
    case FAIL_IO:
    case FAIL_NOT_FOUND:
    case FAIL_EXISTS:
    case FAIL_TOO_LARGE:
    case FAIL_POLICY:
    case FAIL_AUTH:
    case FAIL_REMOTE:
        break;
    }
    if (!fits)
        SCENE_FAIL(scene, "%s: %s", failure_name(failure->kind), failure->text);
}

/* -- a job while the helper runs -- */

/* What a person or time would do: a refused PIN and the wait before the next login are over. */
static inline void forgive(struct run *run)
{
    struct error err = ERROR_INIT;
    pthread_mutex_lock(&run->service.login);
    run->service.refusal = (struct error)ERROR_INIT;
    run->service.login_not_before = 0;
    if (run->service.pin == NULL) /* wiped when it was refused */
        MUST(secret_copy(TEST_PIN, strlen(TEST_PIN), &run->service.pin, &err), err);
    pthread_mutex_unlock(&run->service.login);
}

/* A trouble of the session, the login or the token that is over is none of the job's. */
static inline bool must_recover(const struct scene *scene)
{
    enum ck_class class = ck_rv_class(scene->rv);
    bool heals = class == CK_CLASS_SESSION_LOST || class == CK_CLASS_LOGIN_LOST ||
                 class == CK_CLASS_TOKEN_GONE;
    return scene->setup[0] == '\0' && !scene_lasts(scene) && heals;
}

static inline void meet_in_job(struct scene *scene, struct run **run)
{
    char script[512];
    struct error failure = ERROR_INIT;
    struct token_service *service = &(*run)->service;
    /* Of the start, the login and the worker. The one that holds the login may be missing after a
     * C_Login that failed, and is left to the token where it may have ended with others. */
    static bool blurred; /* by an answer that nobody looked at, and the fault module believed */
    size_t sessions = fault->sessions() > 3 ? fault->sessions() : 3;
    sessions += blurred || atomic_load(&service->token->anchor_doubtful) ? 1 : 0;
    blurred = ck_rv_ends_session(scene->rv);
    cases++;
    scene_script(scene, script, sizeof script);
    fault_set(fault, script);
    fault->reset();
    bool done = job_done(scene, *run, &failure);
    if (!done)
        check_failure(scene, &failure);
    if (!done && must_recover(scene))
        SCENE_FAIL(scene, "was not done again: %s", failure.text);
    if (!done && failure.kind == FAIL_PIN && scene_is(scene, "C_Login")) {
        assert_int_equal(service->refusal.kind, FAIL_PIN);
        /* Where the module has logged in and said otherwise, the next job finds it so. */
        done = job_done(scene, *run, &failure);
        if (done ? strcmp(scene->when, "after") != 0 : failure.kind != FAIL_PIN)
            SCENE_FAIL(scene, "goes on after a refused PIN: %s", failure.text);
    } else if (scene_is(scene, "C_Login") && scene_refuses_pin(scene) &&
               fault->calls("C_Login") > 0) {
        SCENE_FAIL(scene, "does not count as a refused PIN");
    }
    if (fault->calls("C_Login") > 1)
        SCENE_FAIL(scene, "the PIN was tried %lu times", fault->calls("C_Login"));
    fault_set(fault, "");
    if (atomic_load(&service->hopeless)) {
        if (!scene_lasts(scene) && ck_rv_class(scene->rv) != CK_CLASS_RESTART)
            SCENE_FAIL(scene, "the helper has given up");
        assert_int_equal(run_end(*run, false), 4);
        *run = run_start();
        job_must_succeed(scene, *run);
        return;
    }
    if (!done && ck_rv_class(scene->rv) == CK_CLASS_RESTART)
        SCENE_FAIL(scene, "the helper does not ask to be restarted");
    forgive(*run);
    job_must_succeed(scene, *run);
    if (fault->sessions() > sessions + (ck_rv_ends_session(scene->rv) ? 1 : 0))
        SCENE_FAIL(scene, "%zu sessions are open instead of %zu", fault->sessions(), sessions);
}

/* How often each function is called in one job after that setup. */
static inline void count_in_job(struct run *run, const char *setup,
                                struct fault_counter counters[FAULT_FUNCTIONS_MAX], size_t *count)
{
    struct scene scene = {.setup = setup, .function = NULL, .when = ""};
    fault_set(fault, setup);
    fault->reset();
    job_must_succeed(&scene, run);
    *count = fault->counters(counters, FAULT_FUNCTIONS_MAX);
    fault_set(fault, "");
}

/* The places at which a rule meets `calls` calls: the first, the last, all of them, or each. */
static inline size_t place_count(unsigned long calls)
{
    return is_long() ? calls + 1 : calls > 1 ? 3 : 2;
}

/* Whether that CK_RV is met at that place. `few` CK_RVs do where a case takes long. */
static inline bool place_is_swept(size_t rv, size_t place, size_t places, size_t turn, bool few)
{
    bool ends = place <= 1 || place + 1 == places; /* all, the first, the last */
    if (swept_rv(rv) == CKR_OK)
        return false;
    if (is_long())
        return ends || !few || stands_for_class(rv);
    return place == turn % places && (!few || stands_for_class(rv));
}

static inline void place_text(size_t place, unsigned long calls, char out[static 24])
{
    size_t number = is_long() ? place : place == 1 ? 1 : place == 2 ? calls : 0;
    if (number == 0)
        snprintf(out, 24, "*");
    else
        snprintf(out, 24, "%zu", number);
}

static inline void scene_rv(struct scene *scene, size_t index)
{
    scene->rv = swept_rv(index);
    ck_rv_text(scene->rv, scene->rv_name);
    scene->when = index % 2 == 0 ? "after" : "return";
}

static inline void sweep_jobs(const char *setup)
{
    struct fault_counter counters[FAULT_FUNCTIONS_MAX];
    size_t count = 0;
    violations = 0;
    struct run *run = run_start();
    struct scene scene = {.setup = setup};
    job_must_succeed(&scene, run);
    count_in_job(run, setup, counters, &count);
    for (size_t i = 0; i < count; i++) {
        scene.function = counters[i].function;
        size_t places = place_count(counters[i].calls);
        if (counters[i].calls == 0)
            continue;
        for (size_t rv = 0; rv < swept_rvs(); rv++) {
            scene_rv(&scene, rv);
            for (size_t place = 0; place < places; place++) {
                if (!place_is_swept(rv, place, places, rv, setup[0] != '\0') || !case_is_ours())
                    continue;
                place_text(place, counters[i].calls, scene.calls);
                meet_in_job(&scene, &run);
            }
        }
    }
    assert_int_equal(run_end(run, true), 0);
    assert_int_equal(violations, 0);
}

/* -- the start -- */

/* Why a helper does not serve: beside what may be said of a job, that nothing was found, or not the
 * custody that is wanted. */
static inline void check_refusal(const struct scene *scene, const struct error *failure)
{
    bool named = strstr(failure->text, scene->rv_name) != NULL;
    if (failure->kind == FAIL_POLICY || failure->kind == FAIL_UNSUPPORTED ||
        failure->kind == FAIL_NOT_FOUND) {
        /* A token that says it is logged in where it is not shows no private key. */
        bool misled = scene_is(scene, "C_Login") && scene->rv == CKR_USER_ALREADY_LOGGED_IN;
        if (!named && !misled)
            SCENE_FAIL(scene, "%s: %s", failure_name(failure->kind), failure->text);
    } else {
        check_failure(scene, failure);
    }
}

static inline void jobs_after_start(const struct scene *scene, struct run *run)
{
    unsigned failures = 0;
    for (int i = 0; i < 3 && !atomic_load(&run->service.hopeless); i++) {
        struct error failure = ERROR_INIT;
        if (job_done(scene, run, &failure))
            continue;
        failures++;
        check_refusal(scene, &failure);
    }
    /* A token that says it does not do a thing is believed until the helper starts anew. */
    if (failures > 1 && !scene_lasts(scene) && ck_rv_class(scene->rv) != CK_CLASS_NOT_THIS_WAY)
        SCENE_FAIL(scene, "%u jobs failed of one fault", failures);
}

static inline void meet_in_start(const struct scene *scene, const CK_FUNCTION_LIST *functions)
{
    char script[512];
    cases++;
    scene_script(scene, script, sizeof script);
    struct run *run = run_try(script);
    if (hello.ready)
        jobs_after_start(scene, run);
    else
        check_refusal(scene, &hello.error);
    if (scene_is(scene, "C_Login") && scene_refuses_pin(scene) &&
        (hello.ready || hello.error.kind != FAIL_PIN))
        SCENE_FAIL(scene, "does not count as a refused PIN");
    if (fault->calls("C_Login") > 1)
        SCENE_FAIL(scene, "the PIN was tried %lu times", fault->calls("C_Login"));
    if (fault->calls("C_Login") > 0 && !pin_tried)
        SCENE_FAIL(scene, "the PIN was tried without a word before");
    int status = run_end(run, true);
    if (status != 0 && status != 4)
        SCENE_FAIL(scene, "the helper ended with %d", status);
    if (fault->left_open() > (ck_rv_ends_session(scene->rv) ? 1 : 0))
        SCENE_FAIL(scene, "%zu sessions were left open", fault->left_open());
    fault_set(fault, "");
    /* A module that was not finalised, or not initialised by us as we were told. */
    if (scene_is(scene, "C_Initialize") || scene_is(scene, "C_Finalize"))
        (void)functions->C_Finalize(NULL);
}

static inline void must_start(void)
{
    const struct scene calm = {.setup = "", .calls = "", .when = "calm"};
    struct run *run = run_start();
    job_must_succeed(&calm, run);
    assert_int_equal(run_end(run, true), 0);
}

static inline void sweep_start(void)
{
    struct fault_counter counters[FAULT_FUNCTIONS_MAX];
    struct scene scene = {.setup = ""};
    violations = 0;
    struct run *run = run_try("");
    assert_true(hello.ready);
    const CK_FUNCTION_LIST *functions = run->service.token->f;
    job_must_succeed(&scene, run);
    assert_int_equal(run_end(run, true), 0);
    assert_int_equal(fault->left_open(), 0);
    size_t count = fault->counters(counters, FAULT_FUNCTIONS_MAX);
    for (size_t i = 0; i < count; i++) {
        scene.function = counters[i].function;
        size_t places = place_count(counters[i].calls), turn = i;
        for (size_t rv = 0; rv < swept_rvs() && counters[i].calls > 0; rv++) {
            scene_rv(&scene, rv);
            turn += stands_for_class(rv) ? 1 : 0;
            for (size_t place = 0; place < places; place++) {
                if (!place_is_swept(rv, place, places, turn, true) || !case_is_ours())
                    continue;
                place_text(place, counters[i].calls, scene.calls);
                meet_in_start(&scene, functions);
            }
        }
        must_start();
    }
    assert_int_equal(violations, 0);
}

/* -- bad messages -- */

/* Whatever the token says of a bad message: it is told by the uniform error, or as trouble. */
static inline void meet_bad_message(const struct scene *scene, struct run **run)
{
    static uint32_t number = 1000000;
    char script[512];
    struct error failure = ERROR_INIT, uniform = ERROR_INIT;
    struct buf sealed = BUF_INIT(1024);
    struct reseal_message bad = peer_job(&setting, sealing, KEY_NAME, PASSWORD_LEN, &sealed);
    cases++;
    sealed.data[sealed.len / 2] ^= 1;
    scene_script(scene, script, sizeof script);
    fault_set(fault, script);
    fault->reset();
    peer_ask((*run)->channel, ++number, &bad);
    peer_failure((*run)->channel, number, &failure);
    fault_set(fault, "");
    buf_free(&sealed);
    fail_message(&uniform);
    if (failure.kind != FAIL_CRYPTO)
        check_failure(scene, &failure);
    else if (strcmp(failure.text, uniform.text) != 0 || strcmp(failure.hint, uniform.hint) != 0)
        SCENE_FAIL(scene, "not told alike: %s", failure.text);
    if (fault->calls("C_Login") > 0)
        SCENE_FAIL(scene, "the PIN was tried for it");
    if (atomic_load(&(*run)->service.hopeless)) {
        assert_int_equal(run_end(*run, false), 4);
        *run = run_start();
    }
    job_must_succeed(scene, *run);
}

static inline void sweep_bad_messages(const char *opening)
{
    struct scene scene = {.setup = "", .function = opening};
    violations = 0;
    struct run *run = run_start();
    for (size_t rv = 0; rv < swept_rvs(); rv++) {
        scene_rv(&scene, rv);
        scene.when = "after";
        for (size_t place = 0; place < 3; place++) {
            /* A token that goes on so costs a helper each time. */
            if (!place_is_swept(rv, place, 3, rv % 2, false) &&
                (place != 2 || !stands_for_class(rv)))
                continue;
            if (!case_is_ours())
                continue;
            snprintf(scene.calls, sizeof scene.calls, "%s",
                     place == 0   ? "1"
                     : place == 1 ? "2" /* the secret of our own that shows that the token works */
                                  : "*");
            meet_bad_message(&scene, &run);
        }
    }
    assert_int_equal(run_end(run, true), 0);
    assert_int_equal(violations, 0);
}

#endif
