/* SPDX-License-Identifier: Apache-2.0 */
#include "reseal/key_descriptor.h"

#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "reseal/clock.h"

#define SECTION "sealed-key"

static const struct config_key table[] = {
    {SECTION, "label", CONFIG_TEXT, 1, 128, NULL, NULL, "label of the key"},
    {SECTION, "id", CONFIG_TEXT, 2, 64, NULL, NULL, "CKA_ID, in hex"},
    {SECTION, "bits", CONFIG_NUMBER, 2048, 4096, NULL, NULL, "length of the RSA modulus"},
    {SECTION, "custody", CONFIG_CHOICE, 0, 0, "token|host", NULL, "what the key was made for"},
    {SECTION, "public_key_sha256", CONFIG_TEXT, 64, 64, NULL, NULL,
     "SHA-256 of the public key (SPKI)"},
    {SECTION, "token", CONFIG_TEXT, 0, 32, NULL, NULL, "label of the token of its birth"},
    {SECTION, "serial", CONFIG_TEXT, 0, 16, NULL, NULL, "serial number of that token"},
    {SECTION, "transcript", CONFIG_TEXT, 1, 1023, NULL, NULL, "record of the ceremony"},
    {SECTION, "transcript_sha256", CONFIG_TEXT, 64, 64, NULL, NULL,
     "SHA-256 of its last line before the commit"},
    {SECTION, "signatures", CONFIG_NUMBER, 0, 64, NULL, NULL, "signatures of witnesses"},
    {SECTION, "committed", CONFIG_TEXT, 20, 31, NULL, NULL, "when it was committed"},
    {NULL, NULL, CONFIG_TEXT, 0, 0, NULL, NULL, NULL},
};

void key_descriptor_format(const struct key_descriptor *descriptor, struct buf *out)
{
    buf_put_text(out, "; Written by `reseal ceremony commit`; the connector uses the key with it "
                      "only.\n[" SECTION "]\n");
    buf_printf(out, "label = %s\nid = %s\nbits = %d\ncustody = %s\npublic_key_sha256 = %s\n",
               descriptor->label, descriptor->id, descriptor->bits,
               custody_name(descriptor->custody), descriptor->fingerprint);
    if (descriptor->token[0] != '\0')
        buf_printf(out, "token = %s\n", descriptor->token);
    if (descriptor->serial[0] != '\0')
        buf_printf(out, "serial = %s\n", descriptor->serial);
    buf_printf(out, "transcript = %s\ntranscript_sha256 = %s\nsignatures = %d\ncommitted = %s\n",
               descriptor->transcript, descriptor->transcript_sha256, descriptor->signatures,
               descriptor->committed);
}

static bool read_texts(const struct config *config, struct key_descriptor *out, struct error *err)
{
    const struct {
        const char *name;
        char *place;
        size_t size;
        bool wanted;
    } rows[] = {
        {"label", out->label, sizeof out->label, true},
        {"id", out->id, sizeof out->id, true},
        {"public_key_sha256", out->fingerprint, sizeof out->fingerprint, true},
        {"token", out->token, sizeof out->token, false},
        {"serial", out->serial, sizeof out->serial, false},
        {"transcript", out->transcript, sizeof out->transcript, true},
        {"transcript_sha256", out->transcript_sha256, sizeof out->transcript_sha256, true},
        {"committed", out->committed, sizeof out->committed, true},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const char *text = config_text(config, SECTION, rows[i].name);
        if (rows[i].wanted && !config_want(config, SECTION, rows[i].name, &text, err))
            return false;
        snprintf(rows[i].place, rows[i].size, "%s", text != NULL ? text : "");
    }
    return true;
}

static bool read_descriptor(const struct config *config, struct key_descriptor *out,
                            struct error *err)
{
    const char *custody;
    int64_t committed;
    memset(out, 0, sizeof *out);
    if (!read_texts(config, out, err) || !config_want(config, SECTION, "custody", &custody, err))
        return false;
    out->bits = (int)config_number(config, SECTION, "bits");
    out->signatures = (int)config_number(config, SECTION, "signatures");
    if (custody_parse(custody, &out->custody) && clock_parse(out->committed, &committed))
        return true;
    return error_set(err, FAIL_INPUT, "%s: [" SECTION "] committed is no time",
                     config_path(config));
}

bool key_descriptor_load(const char *path, struct key_descriptor *out, struct error *err)
{
    struct config *config = NULL;
    if (!config_load(path, table, &config, err)) {
        error_context(err, "key descriptor");
        if (err->kind == FAIL_NOT_FOUND)
            error_hint(err, "`reseal ceremony commit TRANSCRIPT` writes it");
        return false;
    }
    bool ok = read_descriptor(config, out, err);
    config_free(&config);
    return ok;
}

bool key_descriptor_parse(const char *path, struct bytes text, struct key_descriptor *out,
                          struct error *err)
{
    struct config *config = NULL;
    if (!config_parse(path, text, table, &config, err))
        return error_context(err, "key descriptor");
    bool ok = read_descriptor(config, out, err);
    config_free(&config);
    return ok;
}

bool key_descriptor_mark(const char *path, char *out, size_t size, struct error *err)
{
    int len = snprintf(out, size, "%s.retired", path);
    if (len >= 0 && (size_t)len < size)
        return true;
    return error_set(err, FAIL_USAGE, "the path of the key descriptor %.64s... is too long", path);
}

bool key_descriptor_path(const struct config *config, const char *named, char *out, size_t size,
                         struct error *err)
{
    char folder[PATH_MAX];
    snprintf(folder, sizeof folder, "%s", config_path(config));
    int len = named[0] == '/' ? snprintf(out, size, "%s", named)
                              : snprintf(out, size, "%s/%s", dirname(folder), named);
    if (len >= 0 && (size_t)len < size)
        return true;
    return error_set(err, FAIL_USAGE, "the path of the key descriptor %.64s... is too long", named);
}

static bool load_one(const struct config *config, const char *named, struct key_descriptor *out,
                     struct error *err)
{
    char path[PATH_MAX], mark[PATH_MAX];
    if (!key_descriptor_path(config, named, path, sizeof path, err) ||
        !key_descriptor_load(path, out, err) || !key_descriptor_mark(path, mark, sizeof mark, err))
        return false;
    out->retired = access(mark, F_OK) == 0;
    return true;
}

bool key_descriptors_load(const struct config *config, const char *section,
                          struct key_descriptor *out, size_t *count, struct error *err)
{
    size_t named = config_list_count(config, section, "descriptor");
    *count = 0;
    if (named > DESCRIPTORS_MAX)
        return error_set(err, FAIL_USAGE, "%s: [%s] descriptor names more than %d files",
                         config_path(config), section, DESCRIPTORS_MAX);
    for (size_t i = 0; i < named; i++) {
        if (!load_one(config, config_list_at(config, section, "descriptor", i), &out[i], err))
            return false;
        if (key_descriptor_of(out, i, out[i].fingerprint) != NULL)
            return error_set(err, FAIL_USAGE, "%s: [%s] descriptor names the key \"%s\" twice",
                             config_path(config), section, out[i].label);
        *count = i + 1;
    }
    return true;
}

const struct key_descriptor *key_descriptor_of(const struct key_descriptor *descriptors,
                                               size_t count, const char *fingerprint)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(descriptors[i].fingerprint, fingerprint) == 0)
            return &descriptors[i];
    }
    return NULL;
}

bool key_descriptor_retires(const struct config *config, const char *section, const char *label)
{
    struct key_descriptor descriptors[DESCRIPTORS_MAX];
    struct error ignored = ERROR_INIT;
    size_t count = 0;
    if (!key_descriptors_load(config, section, descriptors, &count, &ignored))
        return false;
    for (size_t i = 0; i < count; i++) {
        if (descriptors[i].retired && strcmp(descriptors[i].label, label) == 0)
            return true;
    }
    return false;
}

bool key_uncommitted_allowed(const struct config *config, const char *section)
{
    return strcmp(config_text(config, section, "uncommitted"), "serve") == 0;
}

bool key_fail_uncommitted(const char *label, const char *fingerprint, struct error *err)
{
    error_set(err, FAIL_POLICY,
              "the key \"%s\" (public key SHA-256 %.16s...) is not committed: no descriptor of "
              "[token] names it",
              label, fingerprint);
    return error_hint(err, "`reseal ceremony commit TRANSCRIPT` writes the descriptor, which "
                           "[token] descriptor names; for a key that no ceremony made, "
                           "uncommitted = serve");
}
