/* SPDX-License-Identifier: Apache-2.0 */
/* A connector with several tokens: which one gets a request, and what happens when one fails. */
#include "tests/unit/connector_scene.h"

/* Two tokens with the same key, unless lines "# key" say otherwise. */
#define SECTION(name, key)                                                                         \
    "[token " name "]\nmodule = none.so\nlabel = actor\npin = file:none\nkey = " key "\n"
#define TWO_TOKENS SECTION("a", ACTOR_KEY) SECTION("b", ACTOR_KEY)

static void start_two(struct scene *scene, const char *actors)
{
    scene->tokens = TWO_TOKENS;
    start(scene, actors, "");
}

/* -- sharing -- */

static void work_is_shared_by_the_tokens_that_hold_the_key(void **state)
{
    struct scene *scene = *state;
    start_two(scene, "slow");
    wait_for_state(scene, "serving");
    offer_for(scene, ACTOR_KEY, "r", 1, 4);
    wait_for_counts(scene, "resealed", 4);
    assert_int_equal(token_number(scene, "a", "jobs"), 2);
    assert_int_equal(token_number(scene, "b", "jobs"), 2);
    assert_int_equal(count_of(scene, "retried"), 0);
    assert_int_equal(stop(scene), 0);
}

/* Compared by public key: a real helper knows the labels of its own token only, and so do these. */
static void one_public_key_may_have_two_labels(void **state)
{
    struct scene *scene = *state;
    scene->tokens = SECTION("a", "old") SECTION("b", "new");
    start(scene, "slow\n# key a: old k\n# key b: new k", "");
    wait_for_state(scene, "serving");
    offer_for(scene, "old", "r", 1, 4);
    wait_for_counts(scene, "resealed", 4);
    assert_int_equal(token_number(scene, "a", "jobs"), 2);
    assert_int_equal(token_number(scene, "b", "jobs"), 2);
    assert_int_equal(stop(scene), 0);
}

static void each_key_goes_to_the_token_that_has_it(void **state)
{
    struct scene *scene = *state;
    scene->tokens = SECTION("a", "one") SECTION("b", "two");
    start(scene, "good\n# key a: one k\n# key b: two l", "");
    wait_for_state(scene, "serving");
    offer_for(scene, "one", "r", 1, 3);
    offer_for(scene, "two", "s", 1, 2);
    wait_for_counts(scene, "resealed", 5);
    assert_int_equal(token_number(scene, "a", "jobs"), 3);
    assert_int_equal(token_number(scene, "b", "jobs"), 2);
    offer_for(scene, "three", "t", 3, 1);
    wait_for_counts(scene, "refused", 1);
    assert_int_equal(stop(scene), 0);
}

static void what_one_token_cannot_do_another_does(void **state)
{
    struct scene *scene = *state;
    start_two(scene, "good\n# actor a: unsupported");
    wait_for_state(scene, "serving");
    offer_for(scene, ACTOR_KEY, "r", 3, 4);
    wait_for_counts(scene, "resealed", 4);
    assert_true(token_number(scene, "a", "jobs") > 0);
    assert_int_equal(stop(scene), 0);
}

static void what_no_token_can_do_is_refused(void **state)
{
    struct scene *scene = *state;
    start_two(scene, "unsupported");
    offer_for(scene, ACTOR_KEY, "r", 1, 1);
    expect_answer(scene, OUTCOME_REFUSED, RESULT_NOT_SUPPORTED);
    assert_int_equal(stop(scene), 0);
}

static void a_helper_that_answers_for_another_is_replaced(void **state)
{
    struct scene *scene = *state;
    start_two(scene, "slow\n# actor a: neighbour");
    wait_for_state(scene, "serving");
    offer_for(scene, ACTOR_KEY, "r", 1,
              2); /* the first to a, the second, with the next number, to b */
    wait_for_counts(scene, "resealed", 2);
    assert_int_equal(actor_starts_of(scene->config, "a"), 2);
    assert_int_equal(actor_starts_of(scene->config, "b"), 1);
    assert_true(log_contains(scene, "a job that it does not have"));
    assert_int_equal(stop(scene), 0);
}

/* -- a token that fails -- */

/* More than `before`. */
static void wait_for_jobs_of(struct scene *scene, const char *token, int64_t before)
{
    const struct timespec pause = {.tv_nsec = 10000000};
    int64_t end = clock_monotonic_ms() + BOUND_MS;
    while (token_number(scene, token, "jobs") <= before) {
        assert_true(clock_monotonic_ms() < end);
        nanosleep(&pause, NULL);
    }
}

static void work_leaves_a_token_that_fails_and_comes_back_to_it(void **state)
{
    struct scene *scene = *state;
    set_token_of(scene, "a", true);
    start_two(scene, "good\n# actor a: token-away");
    wait_for_token_state(scene, "a", "serving");
    wait_for_token_state(scene, "b", "serving");
    /* Each with the last of its attempts: a counted one would end it. */
    for (unsigned i = 0; i < 4; i++) {
        char id[16];
        snprintf(id, sizeof id, "r%u", i);
        offer_for(scene, ACTOR_KEY, id, 3, 10);
    }
    wait_for_counts(scene, "resealed", 40);
    wait_for_token_state(scene, "a", "away");
    wait_for_state(scene, "degraded");
    assert_int_equal(token_number(scene, "b", "jobs"), 40);
    assert_int_equal(count_of(scene, "failed"), 0);
    set_token_of(scene, "a", false);
    for (unsigned i = 0; log_count(scene, "the token answers again") == 0; i++) {
        char id[16];
        snprintf(id, sizeof id, "s%u", i);
        offer_for(scene, ACTOR_KEY, id, 3, 1); /* it is tried with what comes */
    }
    wait_for_state(scene, "serving");
    int64_t before = token_number(scene, "a", "jobs");
    offer_for(scene, ACTOR_KEY, "last", 3, 10);
    wait_for_jobs_of(scene, "a", before);
    wait_until_in_hand(scene, 0);
    assert_int_equal(count_of(scene, "failed") + count_of(scene, "refused"), 0);
    assert_int_equal(stop(scene), 0);
}

static void the_jobs_of_a_helper_that_dies_go_to_the_other_token(void **state)
{
    struct scene *scene = *state;
    start_two(scene, "good\n# actor a: die");
    wait_for_token_state(scene, "b", "serving");
    for (unsigned i = 0; i < 5; i++) {
        char id[16];
        snprintf(id, sizeof id, "r%u", i);
        offer_for(scene, ACTOR_KEY, id, 3, 4);
    }
    wait_for_counts(scene, "resealed", 20);
    assert_true(log_count(scene, "the token helper is lost") > 0);
    assert_int_equal(count_of(scene, "failed") + count_of(scene, "refused"), 0);
    assert_int_equal(stop(scene), 0);
}

static void the_jobs_of_a_helper_that_hangs_go_to_the_other_token(void **state)
{
    struct scene *scene = *state;
    start_two(scene, "good\n# actor a: hang");
    wait_for_state(scene, "serving");
    offer_for(scene, ACTOR_KEY, "r", 3, 4);
    wait_for_counts(scene, "resealed", 4);
    assert_int_equal(token_number(scene, "b", "jobs"), 4);
    assert_int_equal(stop(scene), 0);
}

/* Fewer are held than come; and they are the ones that were there first. */
static void a_key_whose_token_is_away_starves_no_other(void **state)
{
    struct scene *scene = *state;
    scene->tokens = SECTION("a", "one") SECTION("b", "two");
    set_token_of(scene, "b", true);
    start(scene, "good\n# actor b: token-away\n# key a: one k\n# key b: two l", "");
    wait_for_state(scene, "serving");
    for (unsigned i = 0; i < 6; i++) {
        char id[16];
        snprintf(id, sizeof id, "two%u", i);
        offer_for(scene, "two", id, 3, 10);
        snprintf(id, sizeof id, "one%u", i);
        offer_for(scene, "one", id, 3, 1);
    }
    wait_for_counts(scene, "resealed", 6);
    wait_for_token_state(scene, "b", "away");
    assert_int_equal(token_number(scene, "a", "jobs"), 6);
    struct json *json = ask_status(scene);
    int64_t held = status_number(json_root(json), "inHand");
    json_free(&json);
    assert_in_range(held, 30, 40);
    await_containing(scene, "ChangeMessageVisibilityBatch", "\"VisibilityTimeout\":20");
    assert_int_equal(count_of(scene, "failed") + count_of(scene, "refused"), 0);
    set_token_of(scene, "b", false);
    wait_for_counts(scene, "resealed", 6 + held);
    wait_for_state(scene, "serving");
    assert_int_equal(stop(scene), 0);
}

static void a_key_of_a_token_that_was_never_ready_is_waited_for(void **state)
{
    struct scene *scene = *state;
    scene->tokens = SECTION("a", "one") SECTION("b", "two");
    start(scene, "good\n# actor b: refuse-token\n# key a: one k\n# key b: two l", "");
    wait_for_state(scene, "degraded");
    offer_for(scene, "two", "r", 3, 1); /* the last of its attempts */
    await_containing(scene, "ChangeMessageVisibilityBatch", "\"VisibilityTimeout\":20");
    offer_for(scene, "one", "s", 1, 1);
    wait_for_counts(scene, "resealed", 1);
    assert_int_equal(count_of(scene, "refused"), 0);
    assert_int_equal(stop(scene), 0);
}

static void a_request_that_both_tokens_fail_on_ends_while_others_are_served(void **state)
{
    struct scene *scene = *state;
    start_two(scene, "poison");
    wait_for_state(scene, "serving");
    offer_poison(scene, "poison-1", 3);
    wait_for_log_count(scene, "the token is away", 2);
    for (unsigned i = 0; count_of(scene, "failed") == 0; i++) {
        char id[16];
        snprintf(id, sizeof id, "good%u", i);
        offer_for(scene, ACTOR_KEY, id, 1, 1);
        wait_for_counts(scene, "resealed", i + 1);
    }
    assert_int_equal(stop(scene), 0);
}

/* -- the start -- */

static void a_refused_pin_halts_its_own_token_alone(void **state)
{
    struct scene *scene = *state;
    start_two(scene, "good\n# actor a: refuse-pin");
    wait_for_token_state(scene, "a", "halted");
    wait_for_state(scene, "degraded");
    offer_for(scene, ACTOR_KEY, "r", 1, 5);
    wait_for_counts(scene, "resealed", 5);
    struct json *json = ask_status(scene);
    const struct json_value *helper = json_get(status_token(json, "a"), "helper");
    assert_string_equal(json_text(json_get(json_get(helper, "error"), "kind"), NULL), "pin");
    json_free(&json);
    assert_int_equal(actor_starts_of(scene->config, "a"), 1);
    assert_int_equal(stop(scene), 0);
}

static void a_pin_refused_in_a_job_moves_the_work_to_the_other_token(void **state)
{
    struct scene *scene = *state;
    start_two(scene, "good\n# actor a: pin-in-job");
    wait_for_state(scene, "serving");
    offer_for(scene, ACTOR_KEY, "r", 3, 4);
    wait_for_counts(scene, "resealed", 4);
    wait_for_token_state(scene, "a", "halted");
    assert_int_equal(actor_starts_of(scene->config, "a"), 1);
    assert_int_equal(stop(scene), 0);
}

static void pins_refused_by_all_tokens_end_the_start(void **state)
{
    struct scene *scene = *state;
    start_two(scene, "refuse-pin");
    assert_int_equal(wait_for_end(scene), 4);
    assert_int_equal(actor_starts_of(scene->config, "a"), 1);
    assert_int_equal(actor_starts_of(scene->config, "b"), 1);
    assert_int_equal(peer_count(&scene->peer, "ReceiveMessage"), 0);
}

static void a_token_that_is_not_found_does_not_keep_the_other_from_serving(void **state)
{
    struct scene *scene = *state;
    start_two(scene, "good\n# actor b: absent");
    offer_for(scene, ACTOR_KEY, "r", 1, 1);
    expect_answer(scene, OUTCOME_RESEALED, RESULT_NONE);
    wait_for_token_state(scene, "b", "away");
    wait_for_state(scene, "degraded");
    assert_int_equal(stop(scene), 0);
}

static void tokens_of_which_none_is_found_end_the_start(void **state)
{
    struct scene *scene = *state;
    start_two(scene, "absent");
    assert_int_equal(wait_for_end(scene), 4);
}

static void a_mistake_about_one_token_ends_the_start(void **state)
{
    struct scene *scene = *state;
    start_two(scene, "good\n# actor b: host"); /* less custody than required */
    assert_int_equal(wait_for_end(scene), 3);
    assert_true(log_contains(scene, "custody host at best"));
}

static void two_tokens_that_share_a_descriptor_for_their_pins_are_no_start(void **state)
{
    struct scene *scene = *state;
    scene->tokens = "[token a]\nmodule = none.so\nlabel = x\npin = fd:9\nkey = " ACTOR_KEY "\n"
                    "[token b]\nmodule = none.so\nlabel = x\npin = fd:9\nkey = " ACTOR_KEY "\n";
    start(scene, "good", "");
    assert_int_equal(wait_for_end(scene), 2);
    assert_int_equal(actor_starts_of(scene->config, "a"), 0);
    assert_true(log_contains(scene, "from one descriptor, 9"));
}

/* -- one label for two keys -- */

static void a_label_that_means_two_keys_ends_the_start(void **state)
{
    struct scene *scene = *state;
    scene->tokens = TWO_TOKENS;
    start(scene, "good\n# key a: " ACTOR_KEY " k\n# key b: " ACTOR_KEY " l", "");
    assert_int_equal(wait_for_end(scene), 3);
    assert_true(log_contains(scene, "have different keys under the label"));
}

/* No one may guess, and a wrong guess would be a final answer: its requests wait, others go on. */
static void a_label_that_turns_out_to_mean_two_keys_is_served_by_neither(void **state)
{
    struct scene *scene = *state;
    scene->tokens = SECTION("a", "same, one") SECTION("b", "same, two");
    start(scene,
          "good\n# actor b: refuse-token-once\n"
          "# key a: same k\n# key a: one m\n# key b: same l\n# key b: two n",
          "");
    wait_for_token_state(scene, "b", "serving");
    wait_for_state(scene, "degraded");
    offer_for(scene, "same", "r", 3, 1);
    await_containing(scene, "ChangeMessageVisibilityBatch", "\"VisibilityTimeout\":20");
    offer_for(scene, "one", "s", 1, 1);
    offer_for(scene, "two", "t", 1, 1);
    wait_for_counts(scene, "resealed", 2);
    assert_int_equal(count_of(scene, "refused") + count_of(scene, "failed"), 0);
    struct json *json = ask_status(scene);
    const struct json_value *conflicts = json_get(json_root(json), "conflicts");
    assert_int_equal(json_count(conflicts), 1);
    assert_non_null(strstr(json_text(json_at(conflicts, 0), NULL), "\"same\""));
    json_free(&json);
    assert_int_equal(stop(scene), 0);
}

int main(int argc, char **argv)
{
    actor_main(argc, argv);
    const struct CMUnitTest tests[] = {
        scene_test(work_is_shared_by_the_tokens_that_hold_the_key),
        scene_test(one_public_key_may_have_two_labels),
        scene_test(each_key_goes_to_the_token_that_has_it),
        scene_test(what_one_token_cannot_do_another_does),
        scene_test(what_no_token_can_do_is_refused),
        scene_test(a_helper_that_answers_for_another_is_replaced),
        scene_test(work_leaves_a_token_that_fails_and_comes_back_to_it),
        scene_test(the_jobs_of_a_helper_that_dies_go_to_the_other_token),
        scene_test(the_jobs_of_a_helper_that_hangs_go_to_the_other_token),
        scene_test(a_key_whose_token_is_away_starves_no_other),
        scene_test(a_key_of_a_token_that_was_never_ready_is_waited_for),
        scene_test(a_request_that_both_tokens_fail_on_ends_while_others_are_served),
        scene_test(a_refused_pin_halts_its_own_token_alone),
        scene_test(a_pin_refused_in_a_job_moves_the_work_to_the_other_token),
        scene_test(pins_refused_by_all_tokens_end_the_start),
        scene_test(a_token_that_is_not_found_does_not_keep_the_other_from_serving),
        scene_test(tokens_of_which_none_is_found_end_the_start),
        scene_test(a_mistake_about_one_token_ends_the_start),
        scene_test(two_tokens_that_share_a_descriptor_for_their_pins_are_no_start),
        scene_test(a_label_that_means_two_keys_ends_the_start),
        scene_test(a_label_that_turns_out_to_mean_two_keys_is_served_by_neither),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
