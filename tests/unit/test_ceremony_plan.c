/* SPDX-License-Identifier: Apache-2.0 */
/* A plan is right as a whole or refused, before anything is done. */
#include "tests/unit/check.h"
#include <sys/stat.h>
#include <unistd.h>
#include "reseal/file.h"
#include "reseal/ceremony_plan.h"

#define GOOD_TOKEN  "[token]\nmodule = lib/x.so\nlabel = vault\n"
#define GOOD_KEY    "[key]\nlabel = sealing\n"
#define GOOD_OUTPUT "[output]\npublic_key = key.pem\ntranscript = record\n"
#define GOOD_PLAN   "[ceremony]\nname = first\n" GOOD_TOKEN GOOD_KEY GOOD_OUTPUT

static char folder[] = "/tmp/reseal-plan-XXXXXX";
static char path[64], blocker[64];

static int make_folder(void **state)
{
    (void)state;
    if (mkdtemp(folder) == NULL)
        return -1;
    snprintf(path, sizeof path, "%s/plan.ini", folder);
    snprintf(blocker, sizeof blocker, "%s/key.pem", folder);
    return 0;
}

static int drop_folder(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(folder);
}

static bool load(const char *text, struct ceremony_plan **out, struct error *err)
{
    struct bytes content = {(const uint8_t *)text, strlen(text)};
    return file_write(path, 0600, FILE_REPLACE, content, err) && ceremony_plan_load(path, out, err);
}

static void a_short_plan_gets_the_strong_defaults(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct ceremony_plan *plan = NULL;
    char wanted[128];
    assert_ok(load(GOOD_PLAN, &plan, &err), &err);
    assert_int_equal(plan->key.bits, 3072);
    assert_int_equal(plan->key.custody, CUSTODY_TOKEN);
    assert_string_equal(plan->key.label, "sealing");
    assert_int_equal(plan->padding_count, PADDING_COUNT);
    assert_string_equal(plan->pin, "prompt");
    assert_null(plan->firmware);
    assert_null(plan->public_key_cng);
    assert_false(plan->allow_yes);
    assert_int_equal(plan->signatures, 0);
    assert_int_equal(plan->witness_count, 0);
    assert_int_equal(plan->backup, BACKUP_NONE);
    assert_ok(ceremony_plan_outputs_free(plan, &err), &err);
    snprintf(wanted, sizeof wanted, "%s/lib/x.so", folder);
    assert_string_equal(plan->address.module, wanted);
    snprintf(wanted, sizeof wanted, "%s/record", folder);
    assert_string_equal(plan->transcript, wanted);
    snprintf(wanted, sizeof wanted, "%s/key.pem.descriptor", folder);
    assert_string_equal(plan->descriptor, wanted);
    assert_int_equal(strlen(plan->sha256), 64);
    assert_int_equal(plan->text.len, strlen(GOOD_PLAN));
    ceremony_plan_free(&plan);
    assert_null(plan);
}

static void a_full_plan_is_read_as_it_says(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct ceremony_plan *plan = NULL;
    assert_ok(load("[ceremony]\nname = n\nplace = p\nofficer = o\nallow_yes = yes\nsignatures = 2\n"
                   "[witness ann]\nname = Ann A.\n[witness bob-2]\nname = Bob\n"
                   "[backup]\nrule = transport\ntransport_key = second, third\n" GOOD_TOKEN
                   "serial = 0123\nmanufacturer = m m\nmodel = mo\nfirmware = 2.6\npin = fd:7\n"
                   "init_args = configDir='sql:/x'\n"
                   "[key]\nlabel = k\nbits = 4096\ncustody = host\npadding = oaepSha512\n"
                   "[output]\npublic_key = a\npublic_key_cng = b\ndescriptor = d\ntranscript = c\n",
                   &plan, &err),
              &err);
    assert_int_equal(plan->key.bits, 4096);
    assert_int_equal(plan->key.custody, CUSTODY_HOST);
    assert_int_equal(plan->padding_count, 1);
    assert_int_equal(plan->paddings[0], OAEP_SHA512);
    assert_string_equal(plan->manufacturer, "m m");
    assert_string_equal(plan->firmware, "2.6");
    assert_string_equal(plan->address.serial, "0123");
    assert_string_equal(plan->address.init_args, "configDir='sql:/x'");
    assert_string_equal(plan->pin, "fd:7");
    assert_true(plan->allow_yes);
    assert_int_equal(plan->signatures, 2);
    assert_int_equal(plan->witness_count, 2);
    assert_string_equal(ceremony_plan_witness(plan, "ann")->name, "Ann A.");
    assert_string_equal(ceremony_plan_witness(plan, "bob-2")->name, "Bob");
    assert_null(ceremony_plan_witness(plan, "Ann A."));
    assert_int_equal(plan->backup, BACKUP_TRANSPORT);
    assert_int_equal(plan->transport_count, 2);
    ceremony_plan_free(&plan);
}

static void every_mistake_is_refused_and_named(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *named; /* in text or hint */
    } rows[] = {
        {"", "ceremony"},
        {GOOD_PLAN "[key]\nlable = x\n", "plan.ini:12: unknown key \"lable\""},
        {GOOD_PLAN "[key]\nlable = x\n", "did you mean \"label\"?"},
        {"[ceremony]\nname = n\n" GOOD_TOKEN GOOD_OUTPUT, "[key] has no \"label\""},
        {"[ceremony]\nname = n\n" GOOD_KEY GOOD_OUTPUT, "module"},
        {GOOD_TOKEN GOOD_KEY GOOD_OUTPUT, "[ceremony] has no \"name\""},
        {"[ceremony]\nname = n\n" GOOD_TOKEN GOOD_KEY, "[output] has no \"public_key\""},
        {"[ceremony]\nname = n\n" GOOD_TOKEN GOOD_KEY "[output]\npublic_key = a\n",
         "[output] has no \"transcript\""},
        {GOOD_PLAN "[output]\npublic_key_cng = key.pem.descriptor\n", "twice"},
        {GOOD_PLAN "[ceremony]\nsignatures = 1\n", "there are 0 witnesses"},
        {GOOD_PLAN "[ceremony]\nsignatures = 9\n", "signatures"},
        {GOOD_PLAN "[ceremony]\nallow_yes = true\n", "yes or no"},
        {GOOD_PLAN "[witness]\nname = x\n", "[witness ID]"},
        {GOOD_PLAN "[witness ann]\nkey = plan.ini\n", "name"},
        {GOOD_PLAN "[witness ann]\nname = Ann\nkey = plan.ini\n", "no public key in PEM"},
        {GOOD_PLAN "[witness ann]\nname = Ann\nkey = nowhere.pem\n", "nowhere.pem"},
        {GOOD_PLAN "[backup]\nrule = transport\n", "go together"},
        {GOOD_PLAN "[backup]\ntransport_key = x\n", "go together"},
        {GOOD_PLAN "[backup]\nrule = transport\ntransport_key = x, y, x\n", "\"x\" twice"},
        {GOOD_PLAN "[backup]\nrule = copy\n", "none|transport"},
        {"[ceremony]\nname = n\n[token]\nmodule = x\n" GOOD_KEY GOOD_OUTPUT,
         "neither label nor serial"},
        {GOOD_PLAN "[key]\nbits = 1024\n", "2048|3072|4096"},
        {GOOD_PLAN "[key]\nbits = 3072 bits\n", "2048|3072|4096"},
        {GOOD_PLAN "[key]\ncustody = unusable\n", "token|host"},
        {GOOD_PLAN "[key]\npadding = pkcs1\n", "padding"},
        {GOOD_PLAN "[key]\npadding = oaepSha1\n", "padding"},
        {GOOD_PLAN "[key]\npadding = oaepSha256, oaepSha256\n", "oaepSha256 twice"},
        {GOOD_PLAN "[key]\npadding =\n", "padding"},
        {GOOD_PLAN "[key]\nlabel = other\n", "a second time"},
        {GOOD_PLAN "[output]\npublic_key_cng = record\n", "twice"},
        {GOOD_PLAN "[token]\npin = 1234\n", "secret"},
        {"[ceremony]\nname = n\n" GOOD_TOKEN "[key]\nlabel = a,b\n" GOOD_OUTPUT, "comma"},
        {GOOD_PLAN "[token]\nuri = pkcs11:token=other\n", "contradict"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct error err = ERROR_INIT;
        struct ceremony_plan *plan = NULL;
        if (load(rows[i].text, &plan, &err))
            fail_msg("plan %zu was accepted", i);
        assert_null(plan);
        if (rows[i].named != NULL && strstr(err.text, rows[i].named) == NULL &&
            strstr(err.hint, rows[i].named) == NULL)
            fail_msg("plan %zu: \"%s\" is not in \"%s\" (%s)", i, rows[i].named, err.text,
                     err.hint);
    }
}

static void a_pin_in_the_plan_is_refused_and_not_repeated(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct ceremony_plan *plan = NULL;
    assert_refused(load(GOOD_PLAN "[token]\npin = 87654321\n", &plan, &err), &err, FAIL_USAGE);
    assert_null(strstr(err.text, "87654321"));
    assert_null(strstr(err.hint, "87654321"));
}

static void an_output_that_exists_is_refused_and_kept(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct ceremony_plan *plan = NULL;
    struct bytes content = {(const uint8_t *)"old", 3};
    struct buf after = BUF_INIT(16);
    assert_ok(file_write(blocker, 0600, FILE_NEW, content, &err), &err);
    assert_ok(load(GOOD_PLAN, &plan, &err), &err);
    assert_refused(ceremony_plan_outputs_free(plan, &err), &err, FAIL_EXISTS);
    assert_non_null(strstr(err.text, "key.pem"));
    assert_ok(file_read(blocker, &after, &err), &err);
    assert_string_equal(buf_text(&after), "old");
    assert_int_equal(unlink(blocker), 0);
    /* A dangling symbolic link is something, too: a file would appear somewhere else. */
    assert_int_equal(symlink("/nonexistent/place", blocker), 0);
    assert_refused(ceremony_plan_outputs_free(plan, &err), &err, FAIL_EXISTS);
    assert_int_equal(unlink(blocker), 0);
    ceremony_plan_free(&plan);
    assert_ok(load(GOOD_PLAN "[output]\npublic_key_cng = nowhere/key\n", &plan, &err), &err);
    assert_refused(ceremony_plan_outputs_free(plan, &err), &err, FAIL_IO);
    assert_non_null(strstr(err.text, "nowhere"));
    ceremony_plan_free(&plan);
    buf_free(&after);
}

static void a_missing_plan_is_not_found(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct ceremony_plan *plan = NULL;
    assert_refused(ceremony_plan_load("/nonexistent/plan.ini", &plan, &err), &err, FAIL_NOT_FOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_short_plan_gets_the_strong_defaults),
        cmocka_unit_test(a_full_plan_is_read_as_it_says),
        cmocka_unit_test(every_mistake_is_refused_and_named),
        cmocka_unit_test(a_pin_in_the_plan_is_refused_and_not_repeated),
        cmocka_unit_test(an_output_that_exists_is_refused_and_kept),
        cmocka_unit_test(a_missing_plan_is_not_found),
    };
    return cmocka_run_group_tests(tests, make_folder, drop_folder);
}
