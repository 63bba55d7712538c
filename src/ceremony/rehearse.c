/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A rehearsal: the same plan, step by step, on a SoftHSM token that is made for it and thrown away,
 * with outputs in the same folder.
 */
#define _GNU_SOURCE /* nftw */
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <openssl/rand.h>
#include <unistd.h>
#include "reseal/file.h"
#include "reseal/text.h"
#include "reseal/token_init.h"
#include "run.h"

#define REHEARSAL_PIN 16 /* characters */

struct rehearsal {
    char folder[64];
    char public_key[80], public_key_cng[80], transcript[80];
};

static const char *find_softhsm(const struct ceremony *ceremony)
{
    static const char *const paths[] = {
        "/usr/lib/softhsm/libsofthsm2.so",
        "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
        "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
        "/usr/lib64/pkcs11/libsofthsm2.so",
        "/usr/local/lib/softhsm/libsofthsm2.so",
    };
    if (ceremony->options->softhsm != NULL)
        return ceremony->options->softhsm;
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        if (access(paths[i], R_OK) == 0)
            return paths[i];
    }
    return NULL;
}

/* A PIN that nobody needs to know. */
static bool random_pin(struct secret **out, struct error *err)
{
    if (!secret_new(REHEARSAL_PIN, out, err))
        return false;
    uint8_t *at = secret_data(*out);
    if (RAND_priv_bytes(at, REHEARSAL_PIN) != 1)
        return error_openssl(err, FAIL_INTERNAL, "no random numbers for a PIN");
    for (size_t i = 0; i < REHEARSAL_PIN; i++)
        at[i] = (uint8_t)('a' + at[i] % 26);
    return true;
}

static bool write_configuration(const struct rehearsal *rehearsal, struct error *err)
{
    char path[128], text[256];
    snprintf(path, sizeof path, "%s/tokens", rehearsal->folder);
    if (mkdir(path, 0700) != 0)
        return error_errno(err, FAIL_IO, "cannot make %s", path);
    snprintf(text, sizeof text,
             "directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\n", path);
    snprintf(path, sizeof path, "%s/softhsm2.conf", rehearsal->folder);
    if (!file_write(path, 0600, FILE_NEW, (struct bytes){(const uint8_t *)text, strlen(text)}, err))
        return false;
    /* SoftHSM reads it when it is initialised, in this process only. */
    if (setenv("SOFTHSM2_CONF", path, 1) != 0)
        return error_errno(err, FAIL_INTERNAL, "cannot set SOFTHSM2_CONF");
    return true;
}

static bool make_token(struct ceremony *ceremony, struct token_address *address, struct error *err)
{
    const struct token_place place = {.by_slot = false};
    struct token_before before;
    struct token_facts facts;
    struct secret *so_pin = NULL;
    bool ok = random_pin(&so_pin, err) && random_pin(&ceremony->pin, err) &&
              token_init_look(address, &place, &before, err) &&
              token_init(address, &before, so_pin, ceremony->pin, &facts, err);
    secret_free(&so_pin);
    return ok;
}

/* Whether a token of this SoftHSM can do what the plan asks for is found by doing. */
static bool reaches_token(struct ceremony *ceremony, bool *out, struct error *err)
{
    struct token *token = NULL;
    struct session *session = NULL;
    struct sealing_key *key = NULL;
    struct key_finding finding;
    bool ok = false;
    *out = false;
    if (!token_open(&ceremony->plan->address, &token, err) ||
        !token_login(token, ceremony->pin, err) ||
        !session_open(token, SESSION_READ_WRITE, &session, err) ||
        !sealing_key_make_trial(session, 2048, CUSTODY_TOKEN, &key, err) ||
        !token_probe(session, key, &finding, err))
        goto done;
    *out = true;
    for (size_t i = 0; i < ceremony->plan->padding_count; i++) {
        const struct padding_finding *found = probe_padding(&finding, ceremony->plan->paddings[i]);
        *out = *out && found != NULL && found->custody == CUSTODY_TOKEN;
    }
    ok = true;
done:
    sealing_key_free(&key);
    session_close(&session);
    token_close(&token);
    return ok;
}

static void turn_outputs(struct ceremony_plan *plan, struct rehearsal *rehearsal)
{
    const char *folder = rehearsal->folder;
    snprintf(rehearsal->public_key, sizeof rehearsal->public_key, "%s/key.pem", folder);
    snprintf(rehearsal->public_key_cng, sizeof rehearsal->public_key_cng, "%s/key.cng", folder);
    snprintf(rehearsal->transcript, sizeof rehearsal->transcript, "%s/record", folder);
    snprintf(plan->descriptor, sizeof plan->descriptor, "%s/descriptor", folder);
    plan->public_key = rehearsal->public_key;
    plan->transcript = rehearsal->transcript;
    if (plan->public_key_cng != NULL)
        plan->public_key_cng = rehearsal->public_key_cng;
}

static bool turn_plan(struct ceremony *ceremony, const char *module, struct error *err)
{
    struct ceremony_plan *plan = ceremony->plan;
    struct token_address address = {.init_args = ""};
    bool able;
    snprintf(address.module, sizeof address.module, "%s", module);
    snprintf(address.label, sizeof address.label, "%s",
             plan->address.label[0] != '\0' ? plan->address.label : "rehearsal");
    if (!make_token(ceremony, &address, err))
        return false;
    plan->address = address;
    plan->manufacturer = plan->model = plan->firmware = NULL;
    if (plan->key.custody != CUSTODY_TOKEN)
        return true;
    if (!reaches_token(ceremony, &able, err))
        return false;
    if (able)
        return true;
    plan->key.custody = CUSTODY_HOST;
    talk("this SoftHSM cannot keep a password inside: the rehearsal makes its key for custody "
         "host; whether the real token can do custody token, --dry-run shows");
    return true;
}

bool rehearsal_begin(struct ceremony *ceremony, struct error *err)
{
    const char *module = find_softhsm(ceremony);
    if (module == NULL) {
        error_set(err, FAIL_NOT_FOUND, "a rehearsal needs SoftHSM, and its module is not found");
        return error_hint(err, "install softhsm2, or give --softhsm PATH");
    }
    struct rehearsal *rehearsal = calloc(1, sizeof *rehearsal);
    if (rehearsal == NULL)
        return error_memory(err);
    snprintf(rehearsal->folder, sizeof rehearsal->folder, "/tmp/reseal-rehearsal-XXXXXX");
    if (mkdtemp(rehearsal->folder) == NULL) {
        free(rehearsal);
        return error_errno(err, FAIL_IO, "cannot make a folder for the rehearsal");
    }
    ceremony->rehearsal = rehearsal;
    talk("REHEARSAL: on a throw-away token, with outputs in %s", rehearsal->folder);
    turn_outputs(ceremony->plan, rehearsal);
    return write_configuration(rehearsal, err) && turn_plan(ceremony, module, err);
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *walk)
{
    (void)st;
    (void)type;
    (void)walk;
    (void)remove(path);
    return 0;
}

void rehearsal_end(struct ceremony *ceremony)
{
    if (ceremony->rehearsal == NULL)
        return;
    (void)nftw(ceremony->rehearsal->folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
    free(ceremony->rehearsal);
    ceremony->rehearsal = NULL;
}
