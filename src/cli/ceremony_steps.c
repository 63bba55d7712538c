/* SPDX-License-Identifier: Apache-2.0 */
/* The acts of a ceremony, in their order. */
#define _GNU_SOURCE /* dl_iterate_phdr */
#include "ceremony_run.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <link.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "command.h"
#include "reseal/file.h"
#include "token_options.h"

#define PUBLIC_KEY_MAX 8192

static const char *pin_source(const struct ceremony *ceremony)
{
    return ceremony->options->pin != NULL ? ceremony->options->pin : ceremony->plan->pin;
}

static bool read_pin(struct ceremony *ceremony, struct error *err)
{
    return secret_read(pin_source(ceremony), PIN_PROMPT, PIN_MAX, &ceremony->pin, err) ||
           error_context(err, "the PIN of the token");
}

static bool terminal_present(struct error *err)
{
    int tty = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
    if (tty < 0) {
        error_set(err, FAIL_USAGE, "there is no terminal on which this ceremony can be confirmed");
        return error_hint(err, "run it on a terminal, or confirm it with --yes");
    }
    close(tty);
    return true;
}

/* Everything that can fail without the token fails here. */
static bool act_plan(struct ceremony *ceremony, struct error *err)
{
    ssize_t len = readlink("/proc/self/exe", ceremony->binary, sizeof ceremony->binary - 1);
    if (len < 0)
        return error_errno(err, FAIL_IO, "cannot find the file of this program");
    ceremony->binary[len] = '\0';
    if (!digest_of_file("/proc/self/exe", ceremony->binary_sha256, err) ||
        !ceremony_plan_load(ceremony->options->plan, &ceremony->plan, err))
        return false;
    if (!ceremony->options->confirmed && !terminal_present(err))
        return false;
    if (strcmp(pin_source(ceremony), "prompt") != 0 && !read_pin(ceremony, err))
        return false;
    fprintf(stderr, "      %s, SHA-256 %s\n", ceremony->plan->path, ceremony->plan->sha256);
    fprintf(stderr, "      key \"%s\", RSA-%d, made for custody %s\n", ceremony->plan->key.label,
            ceremony->plan->key.bits, custody_name(ceremony->plan->key.custody));
    return true;
}

/* The file that the loader really mapped for a module that was named without a folder. */
static int find_mapped(struct dl_phdr_info *info, size_t size, void *context)
{
    struct ceremony *ceremony = context;
    (void)size;
    const char *slash = info->dlpi_name != NULL ? strrchr(info->dlpi_name, '/') : NULL;
    if (slash == NULL || strcmp(slash + 1, ceremony->plan->address.module) != 0)
        return 0;
    int len = snprintf(ceremony->module, sizeof ceremony->module, "%s", info->dlpi_name);
    return len > 0 && (size_t)len < sizeof ceremony->module;
}

static bool hash_module(struct ceremony *ceremony, struct error *err)
{
    const char *named = ceremony->plan->address.module;
    if (strchr(named, '/') != NULL)
        snprintf(ceremony->module, sizeof ceremony->module, "%s", named);
    else if (dl_iterate_phdr(find_mapped, ceremony) == 0)
        return error_set(err, FAIL_NOT_FOUND, "cannot find the file of the module %s", named);
    return digest_of_file(ceremony->module, ceremony->module_sha256, err);
}

static bool compare_identity(struct ceremony *ceremony, struct error *err)
{
    const struct ceremony_plan *plan = ceremony->plan;
    const struct token_facts *facts = &ceremony->facts;
    const char *label = plan->address.label, *serial = plan->address.serial;
    const struct identity_check checks[IDENTITY_CHECKS] = {
        {"label", label[0] != '\0' ? label : NULL, facts->label, false},
        {"serial", serial[0] != '\0' ? serial : NULL, facts->serial, false},
        {"manufacturer", plan->manufacturer, facts->manufacturer, false},
        {"model", plan->model, facts->model, false},
        {"firmware", plan->firmware, facts->firmware, false},
    };
    const struct identity_check *wrong = NULL;
    memcpy(ceremony->identity, checks, sizeof checks);
    for (size_t i = 0; i < IDENTITY_CHECKS; i++) {
        struct identity_check *check = &ceremony->identity[i];
        check->ok = check->wanted == NULL || strcmp(check->wanted, check->found) == 0;
        fprintf(stderr, "      %-13s %-34s %s\n", check->name, check->found,
                check->wanted == NULL ? "(the plan does not say)"
                : check->ok           ? "as in the plan"
                                      : "NOT as in the plan");
        if (!check->ok && wrong == NULL)
            wrong = check;
    }
    if (wrong == NULL)
        return true;
    error_set(err, FAIL_POLICY, "this is not the token of the plan: its %s is \"%s\", not \"%s\"",
              wrong->name, wrong->found, wrong->wanted);
    return error_hint(err, "nothing was done; check the token and the plan");
}

static bool act_token(struct ceremony *ceremony, struct error *err)
{
    if (!token_open(&ceremony->plan->address, &ceremony->token, err))
        return false;
    token_facts_get(ceremony->token, &ceremony->facts);
    return hash_module(ceremony, err) && compare_identity(ceremony, err);
}

static bool label_free(struct ceremony *ceremony, struct error *err)
{
    if (key_label_free(ceremony->session, ceremony->plan->key.label, err))
        return true;
    if (err->kind == FAIL_EXISTS)
        error_hint(err, "nothing was changed; name another label in the plan, or look at "
                        "`reseal key list`");
    return false;
}

/* Before the login only public objects are seen; a key pair usually shows by its public half. */
static bool act_free(struct ceremony *ceremony, struct error *err)
{
    struct ceremony_plan *plan = ceremony->plan;
    return session_open(ceremony->token, SESSION_READ_WRITE, &ceremony->session, err) &&
           label_free(ceremony, err) &&
           transcript_create(plan->transcript, &ceremony->transcript, err);
}

static bool act_login(struct ceremony *ceremony, struct error *err)
{
    if (!token_pin_state(ceremony->token, &ceremony->pin_state, err))
        return false;
    fprintf(stderr, "      state of the PIN: %s\n", pin_state_text(ceremony->pin_state));
    if (pin_is_for_pad(ceremony->token, pin_source(ceremony)))
        fprintf(stderr, "      " PIN_PAD_NOTE "\n");
    else if (ceremony->pin == NULL && !read_pin(ceremony, err))
        return false;
    bool ok = token_login(ceremony->token, ceremony->pin, err);
    secret_free(&ceremony->pin);
    return ok && label_free(ceremony, err); /* now with the private objects in view */
}

/* Reads what is typed up to the end of the line; a signal ends it. */
static bool read_typed(int tty, char *out, size_t size, struct error *err)
{
    size_t len = 0;
    for (;;) {
        char c;
        if (!ceremony_wait_typed(tty, err))
            return false;
        ssize_t got = read(tty, &c, 1);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return error_errno(err, FAIL_IO, "cannot read from the terminal");
        if (got == 0 || c == '\n')
            break;
        if (len + 1 < size)
            out[len++] = c;
    }
    out[len] = '\0';
    return true;
}

static bool act_confirm(struct ceremony *ceremony, struct error *err)
{
    char typed[16] = "";
    if (ceremony->options->confirmed) {
        fprintf(stderr, "      confirmed by --yes\n");
        return true;
    }
    int tty = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
    if (tty < 0)
        return error_errno(err, FAIL_IO, "cannot open the terminal");
    dprintf(tty, "      Make the key \"%s\" on the token \"%s\" now? Type Yes to go on: ",
            ceremony->plan->key.label, ceremony->facts.label);
    bool ok = read_typed(tty, typed, sizeof typed, err);
    close(tty);
    if (!ok)
        return false;
    ceremony->asked = true;
    if (strcmp(typed, "Yes") == 0)
        return true;
    error_set(err, FAIL_POLICY, "the ceremony was not confirmed");
    return error_hint(err, "nothing was changed on the token; only exactly \"Yes\" confirms");
}

/* A pair that does not read back as wanted is destroyed by key_generate; the next step shows why.
 */
static bool act_generate(struct ceremony *ceremony, struct error *err)
{
    fprintf(stderr, "      this may take a while\n");
    if (key_generate(ceremony->session, &ceremony->plan->key, &ceremony->birth, &ceremony->key,
                     err))
        return true;
    if (ceremony->birth.check_count == 0)
        return false;
    ceremony->birth_error = *err;
    return true;
}

static bool print_checks(const struct key_birth *birth, struct error *err)
{
    static const char *const headers[] = {"      ATTRIBUTE", "WANTED", "FOUND", ""};
    struct table *table = NULL;
    bool ok = false;
    if (!table_new(headers, ARRAY_LEN(headers), &table, err))
        return false;
    for (size_t i = 0; i < birth->check_count; i++) {
        const struct attribute_check *check = &birth->checks[i];
        char name[64];
        snprintf(name, sizeof name, "      %s", check->name);
        const char *cells[] = {name, check->wanted, check->found, check->ok ? "ok" : "WRONG"};
        if (!table_row(table, cells, err))
            goto done;
    }
    table_print(table, stderr);
    ok = true;
done:
    table_free(&table);
    return ok;
}

static bool act_read_back(struct ceremony *ceremony, struct error *err)
{
    if (!print_checks(&ceremony->birth, err))
        return false;
    if (ceremony->key == NULL) {
        *err = ceremony->birth_error;
        return false;
    }
    return sealing_key_public(ceremony->session, ceremony->key, &ceremony->public_key, err);
}

static bool act_unreadable(struct ceremony *ceremony, struct error *err)
{
    if (!key_is_unreadable(ceremony->session, ceremony->key, ceremony->refusal, err)) {
        if (err->kind == FAIL_NONE)
            error_set(err, FAIL_POLICY, "the token gives the private key away");
        return false;
    }
    fprintf(stderr, "      asked for the private exponent and the primes, the token answered %s\n",
            ceremony->refusal);
    return true;
}

static bool judge_padding(const struct ceremony *ceremony, enum padding padding, struct error *err)
{
    const struct padding_finding *found = probe_padding(&ceremony->finding, padding);
    enum custody wanted = ceremony->plan->key.custody;
    if (found == NULL)
        return error_set(err, FAIL_TOKEN, "%s was not probed", padding_name(padding));
    fprintf(stderr, "      %s: custody %s", padding_name(padding), custody_name(found->custody));
    if (found->call[0] != '\0')
        fprintf(stderr, " (%s: %s)", found->call, found->ck_rv);
    fprintf(stderr, "\n");
    if (found->custody == wanted)
        return true;
    error_set(err, FAIL_UNSUPPORTED,
              "with %s this token reaches custody %s, not %s: %s answered %s",
              padding_name(padding), custody_name(found->custody), custody_name(wanted),
              found->call, found->ck_rv);
    return error_hint(err, wanted == CUSTODY_TOKEN
                               ? "use a token, or a release of it, that keeps the secret to itself "
                                 "all the way, or plan the key with custody = host"
                               : "leave this padding out of the plan, or use another token");
}

static bool act_proof(struct ceremony *ceremony, struct error *err)
{
    const struct ceremony_plan *plan = ceremony->plan;
    if (!sealing_key_describe(ceremony->session, ceremony->key, &ceremony->finding, err) ||
        !token_probe(ceremony->session, ceremony->key, &ceremony->finding, err))
        return false;
    if (ceremony->finding.bits != plan->key.bits)
        return error_set(err, FAIL_POLICY, "the token made a key of %d bits, not %d",
                         ceremony->finding.bits, plan->key.bits);
    for (size_t i = 0; i < plan->padding_count; i++) {
        if (!judge_padding(ceremony, plan->paddings[i], err))
            return false;
    }
    return true;
}

/* Finds the key anew, by its label and in a session of its own, as the connector will. */
static bool read_public_again(struct ceremony *ceremony, EVP_PKEY **out, struct error *err)
{
    struct session *session = NULL;
    struct sealing_key *key = NULL;
    char fingerprint[FINGERPRINT_TEXT];
    bool ok = false;
    *out = NULL;
    if (!session_open(ceremony->token, SESSION_READ_ONLY, &session, err) ||
        !sealing_key_find(session, ceremony->plan->key.label, &key, err) ||
        !sealing_key_public(session, key, out, err) ||
        !public_key_fingerprint(*out, fingerprint, err))
        goto done;
    if (EVP_PKEY_eq(*out, ceremony->public_key) != 1 ||
        strcmp(fingerprint, ceremony->finding.fingerprint) != 0) {
        error_set(err, FAIL_TOKEN, "the token gives another public key than at first");
        goto done;
    }
    ok = true;
done:
    sealing_key_free(&key);
    session_close(&session);
    if (!ok) {
        EVP_PKEY_free(*out);
        *out = NULL;
    }
    return ok;
}

static bool write_public(EVP_PKEY *key, bool cng, const char *path, bool *written,
                         char sha256[static DIGEST_TEXT], struct error *err)
{
    struct buf content = BUF_INIT(PUBLIC_KEY_MAX);
    bool ok = false;
    if (!(cng ? public_key_to_cng(key, &content, err) : public_key_to_pem(key, &content, err)) ||
        !file_write(path, 0644, FILE_NEW, buf_bytes(&content), err))
        goto done;
    *written = true;
    fprintf(stderr, "      written: %s\n", path);
    ok = digest_of(buf_bytes(&content), sha256, err);
done:
    buf_free(&content);
    return ok;
}

static bool act_public_key(struct ceremony *ceremony, struct error *err)
{
    const struct ceremony_plan *plan = ceremony->plan;
    EVP_PKEY *key = NULL;
    if (!read_public_again(ceremony, &key, err))
        return false;
    bool ok = write_public(key, false, plan->public_key, &ceremony->pem_written,
                           ceremony->pem_sha256, err);
    if (ok && plan->public_key_cng != NULL)
        ok = write_public(key, true, plan->public_key_cng, &ceremony->cng_written,
                          ceremony->cng_sha256, err);
    EVP_PKEY_free(key);
    return ok;
}

static bool act_fingerprint(struct ceremony *ceremony, struct error *err)
{
    const char *hex = ceremony->finding.fingerprint;
    struct buf words = BUF_INIT(1024);
    bool ok = true;
    fprintf(stderr, "      SHA-256 %s\n", hex);
    for (size_t at = 0; at + 8 <= strlen(hex) && ok; at += 8) {
        buf_reset(&words);
        digest_spell(&words, hex + at, 8);
        ok = buf_check(&words, "the words", err);
        if (ok)
            fprintf(stderr, "      %.8s  %s\n", hex + at, buf_text(&words));
    }
    buf_free(&words);
    return ok;
}

/* The line itself is the act: with it on the disk the key is accepted. */
static bool act_close(struct ceremony *ceremony, struct error *err)
{
    (void)ceremony;
    (void)err;
    return true;
}

const struct ceremony_step ceremony_steps[] = {
    {"plan", "Read and check the plan", act_plan, facts_plan},
    {"token", "Find the token and compare it with the plan", act_token, facts_token},
    {"free", "Make sure that the label is free, and begin the transcript", act_free, facts_free},
    {"login", "Log in to the token", act_login, facts_login},
    {"confirm", "Confirm", act_confirm, facts_confirm},
    {"generate", "Make the key pair on the token", act_generate, facts_generate},
    {"read-back", "Read every attribute back", act_read_back, facts_read_back},
    {"unreadable", "Try to read the private key", act_unreadable, facts_unreadable},
    {"proof", "Seal, reseal and open a random secret", act_proof, facts_proof},
    {"public-key", "Read the public key back and write it", act_public_key, facts_public_key},
    {"fingerprint", "Read the fingerprint aloud and compare", act_fingerprint, facts_fingerprint},
    {"close", "Accept the key and close the transcript", act_close, NULL},
    {NULL, NULL, NULL, NULL},
};
