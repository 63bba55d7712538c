/* SPDX-License-Identifier: Apache-2.0 */
#include "reseal/ceremony_plan.h"

#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <openssl/evp.h>
#include "reseal/file.h"
#include "witness_key.h"

#define PADDINGS "oaepSha256|oaepSha384|oaepSha512"

const struct config_key ceremony_plan_table[] = {
    {"ceremony", "name", CONFIG_TEXT, 1, 256, NULL, NULL,
     "what this ceremony is, as the record shall name it"},
    {"ceremony", "place", CONFIG_TEXT, 1, 256, NULL, NULL, "where it is held"},
    {"ceremony", "officer", CONFIG_TEXT, 1, 256, NULL, NULL, "who holds it"},
    {"ceremony", "allow_yes", CONFIG_FLAG, 0, 0, NULL, "no",
     "whether --yes may stand for what a person types: for rehearsals and machines"},
    {"ceremony", "signatures", CONFIG_NUMBER, 0, WITNESSES_MAX, NULL, "0",
     "signatures of witnesses that the key needs before it may be used"},

    {"witness *", "name", CONFIG_TEXT, 1, 128, NULL, NULL,
     "a witness, one section [witness ID] each, as the record shall name him"},
    {"witness *", "key", CONFIG_PATH, 0, 0, NULL, NULL,
     "his public key (PEM); with it only signatures by that key count"},

    {"token", "module", CONFIG_PATH, 0, 0, NULL, NULL,
     "path of the PKCS#11 module (.so) of the token's maker"},
    {"token", "init_args", CONFIG_TEXT, 0, 1024, NULL, NULL,
     "library parameters for modules that want them (NSS)"},
    {"token", "uri", CONFIG_TEXT, 0, 1024, NULL, NULL,
     "RFC 7512 URI instead of module, label and serial"},
    {"token", "label", CONFIG_TEXT, 1, 32, NULL, NULL, "label of the token"},
    {"token", "serial", CONFIG_TEXT, 1, 16, NULL, NULL, "serial number of the token"},
    {"token", "manufacturer", CONFIG_TEXT, 1, 32, NULL, NULL, "its maker, as the token tells it"},
    {"token", "model", CONFIG_TEXT, 1, 16, NULL, NULL, "its model, as the token tells it"},
    {"token", "firmware", CONFIG_TEXT, 1, 15, NULL, NULL, "its firmware, as MAJOR.MINOR"},
    {"token", "pin", CONFIG_SECRET, 0, 0, NULL, "prompt", "where the user PIN is"},

    {"key", "label", CONFIG_TEXT, 1, 128, NULL, NULL, "label of the key that is made"},
    {"key", "bits", CONFIG_CHOICE, 0, 0, "2048|3072|4096", "3072", "length of the RSA modulus"},
    {"key", "custody", CONFIG_CHOICE, 0, 0, "token|host", "token",
     "what the key is made for: token (it may only unwrap) or host (it may only decrypt)"},
    {"key", "padding", CONFIG_LIST, 0, 0, PADDINGS, "oaepSha256, oaepSha384, oaepSha512",
     "paddings that must be proved to work with that custody"},

    {"backup", "rule", CONFIG_CHOICE, 0, 0, "none|transport", "none",
     "none: the key never leaves its token; transport: it is replicated before it may be used"},
    {"backup", "transport_key", CONFIG_LIST, 0, 0, NULL, NULL,
     "labels of the transport keys that the key may be wrapped for"},

    {"backup", "wrapping", CONFIG_CHOICE, 0, 0, "until-shut|trusted", "until-shut",
     "who may wrap it until it is replicated: the user, or keys of the security officer alone "
     "(CKA_WRAP_WITH_TRUSTED, where the token has it)"},

    {"output", "public_key", CONFIG_PATH, 0, 0, NULL, NULL, "new file for the public key (PEM)"},
    {"output", "public_key_cng", CONFIG_PATH, 0, 0, NULL, NULL,
     "new file for the public key as a CNG RSAPUBLICBLOB"},
    {"output", "descriptor", CONFIG_PATH, 0, 0, NULL, NULL,
     "new file that lets a connector use the key, written by `reseal ceremony commit` (default: "
     "public_key with .descriptor behind)"},
    {"output", "transcript", CONFIG_PATH, 0, 0, NULL, NULL, "new file for the record (JSON Lines)"},
    {NULL, NULL, CONFIG_TEXT, 0, 0, NULL, NULL, NULL},
};

static bool plan_fault(const struct ceremony_plan *plan, struct error *err)
{
    return error_context(err, "%s", plan->path);
}

/* A label ends up on screens, in records and in other programs' configurations. */
static bool label_printable(const char *label)
{
    for (const unsigned char *at = (const unsigned char *)label; *at != '\0'; at++) {
        if (*at < 0x20 || *at == 0x7f || *at == ',') /* [token] key is a list with commas */
            return false;
    }
    return true;
}

static bool read_token(struct ceremony_plan *plan, struct error *err)
{
    const struct config *config = plan->config;
    if (!token_address_from_config(config, "token", &plan->address, err))
        return false;
    if (plan->address.label[0] == '\0' && plan->address.serial[0] == '\0') {
        error_set(err, FAIL_USAGE, "[token] names neither label nor serial");
        error_hint(err,
                   "a ceremony is for one token: `reseal token list` shows what identifies it");
        return plan_fault(plan, err);
    }
    plan->manufacturer = config_text(config, "token", "manufacturer");
    plan->model = config_text(config, "token", "model");
    plan->firmware = config_text(config, "token", "firmware");
    if (plan->manufacturer == NULL && plan->address.manufacturer[0] != '\0')
        plan->manufacturer = plan->address.manufacturer; /* the URI's */
    if (plan->model == NULL && plan->address.model[0] != '\0')
        plan->model = plan->address.model;
    plan->pin = config_text(config, "token", "pin");
    return true;
}

static bool read_paddings(struct ceremony_plan *plan, struct error *err)
{
    size_t count = config_list_count(plan->config, "key", "padding");
    for (size_t i = 0; i < count; i++) {
        enum padding padding;
        const char *name = config_list_at(plan->config, "key", "padding", i);
        if (!padding_parse(name, &padding, err))
            return plan_fault(plan, err);
        for (size_t j = 0; j < plan->padding_count; j++) {
            if (plan->paddings[j] != padding)
                continue;
            error_set(err, FAIL_USAGE, "[key] padding names %s twice", name);
            return plan_fault(plan, err);
        }
        plan->paddings[plan->padding_count++] = padding;
    }
    if (plan->padding_count > 0)
        return true;
    error_set(err, FAIL_USAGE, "[key] padding is empty");
    return plan_fault(plan, err);
}

static bool read_key(struct ceremony_plan *plan, struct error *err)
{
    const char *label = NULL;
    if (!config_want(plan->config, "key", "label", &label, err))
        return false;
    if (!label_printable(label)) {
        error_set(err, FAIL_USAGE, "[key] label has a comma or a control character");
        return plan_fault(plan, err);
    }
    snprintf(plan->key.label, sizeof plan->key.label, "%s", label);
    plan->key.bits = atoi(config_text(plan->config, "key", "bits")); /* one of three choices */
    if (!custody_parse(config_text(plan->config, "key", "custody"), &plan->key.custody))
        return error_set(err, FAIL_INTERNAL, "custody of the plan");
    return read_paddings(plan, err);
}

bool ceremony_output_possible(const char *path, struct error *err)
{
    struct stat st;
    char copy[PATH_MAX];
    if (lstat(path, &st) == 0) {
        error_set(err, FAIL_EXISTS, "%s exists already and is never overwritten", path);
        return error_hint(err, "nothing was done; name another file in the plan, or keep the old "
                               "one elsewhere");
    }
    if (errno != ENOENT)
        return error_errno(err, FAIL_IO, "cannot examine %s", path);
    int len = snprintf(copy, sizeof copy, "%s", path);
    if (len < 0 || (size_t)len >= sizeof copy)
        return error_set(err, FAIL_USAGE, "the path %.64s... is too long", path);
    const char *folder = dirname(copy);
    if (access(folder, W_OK | X_OK) == 0)
        return true;
    error_errno(err, FAIL_IO, "cannot make %s in %s", path, folder);
    return error_hint(err, "nothing was done; make the folder, or name another in the plan");
}

bool ceremony_plan_outputs_free(const struct ceremony_plan *plan, struct error *err)
{
    const char *paths[] = {plan->transcript, plan->public_key, plan->public_key_cng,
                           plan->descriptor};
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        if (paths[i] != NULL && !ceremony_output_possible(paths[i], err))
            return false;
    }
    return true;
}

static bool read_outputs(struct ceremony_plan *plan, struct error *err)
{
    const struct config *config = plan->config;
    if (!config_want(config, "output", "public_key", &plan->public_key, err) ||
        !config_want(config, "output", "transcript", &plan->transcript, err))
        return false;
    plan->public_key_cng = config_text(config, "output", "public_key_cng");
    const char *named = config_text(config, "output", "descriptor");
    int len =
        snprintf(plan->descriptor, sizeof plan->descriptor, "%s%s",
                 named != NULL ? named : plan->public_key, named != NULL ? "" : ".descriptor");
    if (len < 0 || (size_t)len >= sizeof plan->descriptor)
        return error_set(err, FAIL_USAGE, "the path of the descriptor is too long");
    const char *paths[] = {plan->transcript, plan->public_key, plan->public_key_cng,
                           plan->descriptor};
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        for (size_t j = 0; j < i && paths[i] != NULL; j++) {
            if (paths[j] == NULL || strcmp(paths[i], paths[j]) != 0)
                continue;
            error_set(err, FAIL_USAGE, "[output] names %s twice", paths[i]);
            return plan_fault(plan, err);
        }
    }
    return true;
}

static bool read_witness(struct ceremony_plan *plan, const char *section, struct error *err)
{
    const char *id = strchr(section, ' ');
    if (id == NULL) {
        error_set(err, FAIL_USAGE, "a witness has a section of his own: [witness ID]");
        return plan_fault(plan, err);
    }
    struct plan_witness *witness = &plan->witnesses[plan->witness_count++];
    witness->id = id + 1;
    witness->key = config_text(plan->config, section, "key");
    return config_want(plan->config, section, "name", &witness->name, err);
}

static bool load_witness_key(const struct ceremony_plan *plan, struct plan_witness *witness,
                             struct error *err)
{
    EVP_PKEY *key = NULL;
    bool ok = witness_key_load(witness->key, &key, err) &&
              public_key_fingerprint(key, witness->key_fingerprint, err);
    EVP_PKEY_free(key);
    return ok || error_context(err, "%s: [witness %s] key", plan->path, witness->id);
}

static bool load_witness_keys(struct ceremony_plan *plan, struct error *err)
{
    for (size_t i = 0; i < plan->witness_count; i++) {
        struct plan_witness *witness = &plan->witnesses[i];
        if (witness->key == NULL)
            continue;
        if (!load_witness_key(plan, witness, err))
            return false;
        for (size_t j = 0; j < i; j++) {
            if (strcmp(plan->witnesses[j].key_fingerprint, witness->key_fingerprint) != 0)
                continue;
            error_set(err, FAIL_USAGE, "the witnesses %s and %s have one key",
                      plan->witnesses[j].id, witness->id);
            return plan_fault(plan, err);
        }
    }
    return true;
}

static bool read_witnesses(struct ceremony_plan *plan, struct error *err)
{
    const char *section;
    for (size_t i = 0; (section = config_section_at(plan->config, i)) != NULL; i++) {
        if (strncmp(section, "witness", 7) != 0 || !config_section_given(plan->config, section))
            continue;
        if (plan->witness_count == WITNESSES_MAX) {
            error_set(err, FAIL_USAGE, "more than %d witnesses", WITNESSES_MAX);
            return plan_fault(plan, err);
        }
        if (!read_witness(plan, section, err))
            return false;
    }
    plan->signatures = (size_t)config_number(plan->config, "ceremony", "signatures");
    if (plan->signatures <= plan->witness_count)
        return true;
    error_set(err, FAIL_USAGE, "[ceremony] signatures wants %zu, and there are %zu witnesses",
              plan->signatures, plan->witness_count);
    error_hint(err, "add a section [witness ID] for each");
    return plan_fault(plan, err);
}

/* One that is named twice would count for two replicas. */
static bool transport_keys_differ(const struct ceremony_plan *plan, struct error *err)
{
    for (size_t i = 0; i < plan->transport_count; i++) {
        const char *label = config_list_at(plan->config, "backup", "transport_key", i);
        for (size_t j = 0; j < i; j++) {
            if (strcmp(config_list_at(plan->config, "backup", "transport_key", j), label) == 0)
                return error_set(err, FAIL_USAGE, "[backup] transport_key names \"%s\" twice",
                                 label);
        }
    }
    return true;
}

static bool read_backup(struct ceremony_plan *plan, struct error *err)
{
    plan->backup = strcmp(config_text(plan->config, "backup", "rule"), "transport") == 0
                       ? BACKUP_TRANSPORT
                       : BACKUP_NONE;
    plan->transport_count = config_list_count(plan->config, "backup", "transport_key");
    if (plan->backup == BACKUP_TRANSPORT &&
        !key_wrapping_parse(config_text(plan->config, "backup", "wrapping"), &plan->key.wrapping))
        return error_set(err, FAIL_INTERNAL, "wrapping of the plan");
    if (!transport_keys_differ(plan, err))
        return plan_fault(plan, err);
    if ((plan->backup == BACKUP_TRANSPORT) == (plan->transport_count > 0))
        return true;
    error_set(err, FAIL_USAGE, "[backup] rule = transport and transport_key go together");
    return plan_fault(plan, err);
}

const char *backup_rule_name(enum backup_rule rule)
{
    return rule == BACKUP_TRANSPORT ? "transport" : "none";
}

const struct plan_witness *ceremony_plan_witness(const struct ceremony_plan *plan, const char *id)
{
    for (size_t i = 0; i < plan->witness_count; i++) {
        if (strcmp(plan->witnesses[i].id, id) == 0)
            return &plan->witnesses[i];
    }
    return NULL;
}

/* All but the witnesses' keys, from the text alone. */
static bool read_text(struct ceremony_plan *plan, const char *path, struct error *err)
{
    if (!digest_of(buf_bytes(&plan->text), plan->sha256, err) ||
        !config_parse(path, buf_bytes(&plan->text), ceremony_plan_table, &plan->config, err))
        return false;
    plan->path = config_path(plan->config);
    if (!config_want(plan->config, "ceremony", "name", &plan->name, err))
        return false;
    plan->place = config_text(plan->config, "ceremony", "place");
    plan->officer = config_text(plan->config, "ceremony", "officer");
    plan->allow_yes = config_flag(plan->config, "ceremony", "allow_yes");
    return read_token(plan, err) && read_key(plan, err) && read_witnesses(plan, err) &&
           read_backup(plan, err) && read_outputs(plan, err);
}

static struct ceremony_plan *plan_new(struct error *err)
{
    struct ceremony_plan *plan = calloc(1, sizeof *plan);
    if (plan == NULL)
        error_memory(err);
    else
        plan->text = (struct buf)BUF_INIT(PLAN_MAX);
    return plan;
}

/* The text that is hashed and kept is the one that is read as a configuration. */
bool ceremony_plan_load(const char *path, struct ceremony_plan **out, struct error *err)
{
    *out = NULL;
    struct ceremony_plan *plan = plan_new(err);
    char *real = realpath(path, NULL);
    bool ok = false;
    if (plan == NULL)
        goto done;
    if (!file_read(path, &plan->text, err)) {
        error_hint(err, "PLAN is the path of a reviewed INI file; reseal-ceremony(1) says more");
        goto done;
    }
    if (!read_text(plan, real != NULL ? real : path, err) || !load_witness_keys(plan, err))
        goto done;
    *out = plan;
    plan = NULL; /* transferred */
    ok = true;
done:
    free(real);
    ceremony_plan_free(&plan);
    return ok;
}

bool ceremony_plan_recall(const char *path, struct bytes text, struct ceremony_plan **out,
                          struct error *err)
{
    *out = NULL;
    struct ceremony_plan *plan = plan_new(err);
    if (plan == NULL)
        return false;
    buf_put(&plan->text, text.data, text.len);
    if (!buf_check(&plan->text, "the plan", err) || !read_text(plan, path, err)) {
        ceremony_plan_free(&plan);
        return false;
    }
    *out = plan;
    return true;
}

void ceremony_plan_free(struct ceremony_plan **plan)
{
    if (plan == NULL || *plan == NULL)
        return;
    config_free(&(*plan)->config);
    buf_free(&(*plan)->text);
    free(*plan);
    *plan = NULL;
}
