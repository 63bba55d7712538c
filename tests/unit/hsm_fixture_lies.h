/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers that are no failures and not true: lengths, counts, handles, texts and attributes. What
 * can be seen through is refused; nothing is ever read or written beyond its place (ASan looks on),
 * and no answer opens to another password.
 */
#ifndef RESEAL_TESTS_HSM_FIXTURE_LIES_H
#define RESEAL_TESTS_HSM_FIXTURE_LIES_H

#include "hsm_fixture_sweep.h"
#include "reseal/text.h"

static const char *const length_liars[] = {
    "C_GetSlotList",
    "C_FindObjects",
    "C_Decrypt",
    "C_UnwrapKey",
    "C_WrapKey",
    "C_CreateObject",
    "C_GenerateKey",
    "C_GetAttributeValue",
    "C_GetAttributeValue * of CKA_MODULUS",
    "C_GetAttributeValue * of CKA_PUBLIC_EXPONENT",
    "C_GetAttributeValue * of CKA_LABEL",
    "C_GetAttributeValue * of CKA_ID",
    "C_GetAttributeValue * of CKA_KEY_TYPE",
    "C_GetAttributeValue * of CKA_SENSITIVE",
};
static const char *const lengths[] = {"0", "1", "+1", "-1", "999999", "unavailable"};

static const char *const text_lies[] = {
    "C_GetTokenInfo * garbage label",
    "C_GetTokenInfo * garbage serial",
    "C_GetTokenInfo * garbage manufacturer",
    "C_GetTokenInfo * garbage model",
    "C_GetTokenInfo from 2 garbage serial",
    "C_GetInfo * garbage library",
    "C_GetAttributeValue * of CKA_LABEL value 1b5b324a000aff",
    "C_GetAttributeValue * of CKA_ID value 00",
    "C_GetAttributeValue * of CKA_MODULUS value 00",
    "C_GetAttributeValue * of CKA_MODULUS value ffffffffffffffff",
    "C_GetAttributeValue * of CKA_PUBLIC_EXPONENT value 00",
    "C_GetAttributeValue * of CKA_PUBLIC_EXPONENT value 01",
};

static inline void assert_clean(const char *text)
{
    assert_true(utf8_is_strict(text, strlen(text)));
    for (const char *at = text; *at != '\0'; at++)
        assert_true((unsigned char)*at >= 0x20 && *at != 0x7f);
}

static inline void assert_told_cleanly(void)
{
    const struct token_facts *facts = &hello.report.token;
    assert_clean(facts->label);
    assert_clean(facts->serial);
    assert_clean(facts->manufacturer);
    assert_clean(facts->model);
    assert_clean(facts->library);
    assert_clean(hello.error.text);
    assert_clean(hello.error.hint);
}

/* Three jobs, each of which may fail; job_done looks at those that do not. */
static inline void lie_to_jobs(const struct scene *scene, struct run *run)
{
    for (int i = 0; i < 3 && !atomic_load(&run->service.hopeless); i++) {
        struct error failure = ERROR_INIT;
        if (job_done(scene, run, &failure))
            continue;
        assert_clean(failure.text);
        if (failure.kind == FAIL_INTERNAL || failure.kind == FAIL_PIN)
            SCENE_FAIL(scene, "%s: %s", failure_name(failure.kind), failure.text);
    }
}

static inline void lie_at_start(const char *script)
{
    const struct scene scene = {.setup = script, .calls = "", .when = "at the start"};
    if (!case_is_ours())
        return;
    cases++;
    struct run *run = run_try(script);
    assert_told_cleanly();
    if (hello.ready)
        lie_to_jobs(&scene, run);
    else if (hello.error.kind == FAIL_INTERNAL || hello.error.kind == FAIL_PIN)
        SCENE_FAIL(&scene, "%s: %s", failure_name(hello.error.kind), hello.error.text);
    if (fault->calls("C_Login") > 1)
        SCENE_FAIL(&scene, "the PIN was tried %lu times", fault->calls("C_Login"));
    (void)run_end(run, true);
    fault_set(fault, "");
}

/* Once when the session is there, once when it is opened anew under the lie. */
static inline void lie_in_jobs(const char *script, const char *opening, struct run **run)
{
    char rules[256];
    const struct scene scene = {.setup = script, .calls = "", .when = "in jobs"};
    for (int anew = 0; anew < 2; anew++) {
        if (!case_is_ours())
            continue;
        cases++;
        snprintf(rules, sizeof rules, "%s\n%s %s\n", script, anew ? opening : "#",
                 "1 return CKR_SESSION_CLOSED close");
        fault_set(fault, rules);
        lie_to_jobs(&scene, *run);
        fault_set(fault, "");
        if (atomic_load(&(*run)->service.hopeless)) {
            assert_int_equal(run_end(*run, false), 4);
            *run = run_start();
        }
        forgive(*run);
        job_must_succeed(&scene, *run);
    }
}

static inline void sweep_lies(const char *opening)
{
    char script[128];
    violations = 0;
    struct run *run = run_start();
    for (size_t i = 0; i < ARRAY_LEN(length_liars) * ARRAY_LEN(lengths); i++) {
        const char *liar = length_liars[i / ARRAY_LEN(lengths)];
        snprintf(script, sizeof script, "%s%s length %s", liar,
                 strchr(liar, ' ') == NULL ? " *" : "", lengths[i % ARRAY_LEN(lengths)]);
        lie_in_jobs(script, opening, &run);
    }
    for (size_t i = 0; i < ARRAY_LEN(text_lies); i++)
        lie_in_jobs(text_lies[i], opening, &run);
    assert_int_equal(run_end(run, true), 0);
    for (size_t i = 0; i < ARRAY_LEN(length_liars) * ARRAY_LEN(lengths); i++) {
        const char *liar = length_liars[i / ARRAY_LEN(lengths)];
        if (!is_long() && i % 2 != 0)
            continue;
        snprintf(script, sizeof script, "%s%s length %s", liar,
                 strchr(liar, ' ') == NULL ? " *" : "", lengths[i % ARRAY_LEN(lengths)]);
        lie_at_start(script);
    }
    for (size_t i = 0; i < ARRAY_LEN(text_lies); i++)
        lie_at_start(text_lies[i]);
    must_start();
    assert_int_equal(violations, 0);
}

/* A token that counts down is not asked to log in, whatever else it says. */
static inline void no_pin_where_the_token_counts_down(void)
{
    static const char *const flags[] = {"CKF_USER_PIN_COUNT_LOW", "CKF_USER_PIN_FINAL_TRY",
                                        "CKF_USER_PIN_LOCKED", "CKF_USER_PIN_TO_BE_CHANGED"};
    for (size_t i = 0; i < ARRAY_LEN(flags); i++) {
        char script[128];
        snprintf(script, sizeof script, "C_GetTokenInfo * flags %s", flags[i]);
        struct run *run = run_try(script);
        assert_false(hello.ready);
        assert_int_equal(hello.error.kind, FAIL_PIN);
        assert_false(pin_tried);
        assert_int_equal(fault->calls("C_Login"), 0);
        assert_int_equal(run_end(run, true), 4);
    }
    must_start();
}

#endif
