/* SPDX-License-Identifier: Apache-2.0 */
/* `reseal key`: list and export; its other verbs have files of their own. */
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "reseal/file.h"
#include "key_commands.h"
#include "token_options.h"

#define PUBLIC_KEY_MAX 8192 /* bytes of a PEM or CNG public key */

static bool list_as_json(const struct key_list_item *items, size_t count, struct error *err)
{
    struct json_writer *json = NULL;
    if (!json_writer_new(true, &json, err))
        return false;
    json_object(json, NULL);
    json_array(json, "keys");
    for (size_t i = 0; i < count; i++) {
        json_object(json, NULL);
        json_put_text(json, "label", items[i].label);
        json_put_text(json, "id", items[i].id);
        json_put_text(json, "type", items[i].type);
        json_put_integer(json, "bits", items[i].bits);
        json_put_bool(json, "private", items[i].has_private);
        json_put_bool(json, "public", items[i].has_public);
        json_put_text(json, "fingerprint",
                      items[i].fingerprint[0] != '\0' ? items[i].fingerprint : NULL);
        json_object_end(json);
    }
    json_array_end(json);
    json_object_end(json);
    bool ok = print_json(json, err);
    json_writer_free(&json);
    return ok;
}

static const char *halves(const struct key_list_item *item)
{
    if (item->has_private && item->has_public)
        return "private + public";
    return item->has_private ? "private" : "public";
}

static bool list_as_table(const struct key_list_item *items, size_t count, struct error *err)
{
    static const char *const headers[] = {"LABEL", "TYPE", "HALVES", "ID", "PUBLIC KEY SHA-256"};
    struct table *table = NULL;
    bool ok = false;
    if (!table_new(headers, ARRAY_LEN(headers), &table, err))
        return false;
    for (size_t i = 0; i < count; i++) {
        char type[32];
        if (items[i].bits > 0)
            snprintf(type, sizeof type, "%s-%d", items[i].type, items[i].bits);
        else
            snprintf(type, sizeof type, "%s", items[i].type);
        const char *cells[] = {items[i].label, type, halves(&items[i]),
                               items[i].id[0] != '\0' ? items[i].id : NULL,
                               items[i].fingerprint[0] != '\0' ? items[i].fingerprint : NULL};
        if (!table_row(table, cells, err))
            goto done;
    }
    table_print(table, stdout);
    ok = true;
done:
    table_free(&table);
    return ok;
}

static bool run_list(const struct invocation *invocation, struct error *err)
{
    struct token_address address;
    struct secret *pin = NULL;
    struct key_list_item *items = NULL;
    size_t count = 0;
    bool ok = false;
    if (!token_options_address(invocation, &address, err) ||
        !token_options_pin(invocation, &pin, err))
        goto done;
    if (!key_list(&address, pin, &items, &count, err)) {
        token_options_fault(err);
        goto done;
    }
    ok = invocation_json(invocation) ? list_as_json(items, count, err)
                                     : list_as_table(items, count, err);
    if (ok && count == 0 && !invocation_json(invocation))
        fprintf(stderr, "the token has no keys; `reseal ceremony run PLAN` makes one\n");
done:
    free(items);
    secret_free(&pin);
    return ok;
}

static bool write_out(const char *path, bool binary, const struct buf *content, struct error *err)
{
    if (path != NULL)
        return file_write(path, 0644, FILE_NEW, buf_bytes(content), err);
    if (binary && isatty(STDOUT_FILENO)) {
        error_set(err, FAIL_USAGE, "a CNG key is binary, and standard output is a terminal");
        return error_hint(err, "give --out FILE, or send standard output into a file");
    }
    if (!fd_write_all(STDOUT_FILENO, buf_bytes(content), err))
        return error_context(err, "standard output");
    return true;
}

/* With a PIN only where one is asked for: a public key is usually a public object. */
static bool find_public(const struct invocation *invocation, EVP_PKEY **out, struct error *err)
{
    struct token_address address;
    struct secret *pin = NULL;
    *out = NULL;
    if (!token_options_address(invocation, &address, err))
        return false;
    if (invocation_option(invocation, "pin") != NULL && !token_options_pin(invocation, &pin, err))
        return false;
    bool ok = key_export(&address, pin, invocation_argument(invocation, 0), out, err);
    if (!ok && err->kind == FAIL_NOT_FOUND && pin == NULL && err->hint[0] == '\0')
        error_hint(err, "a public key that only a logged-in user sees needs --pin SOURCE");
    secret_free(&pin);
    return ok || token_options_fault(err);
}

static bool export_as_json(EVP_PKEY *key, const char *label, struct error *err)
{
    struct buf pem = BUF_INIT(PUBLIC_KEY_MAX);
    struct json_writer *json = NULL;
    char fingerprint[FINGERPRINT_TEXT];
    bool ok = false;
    if (!public_key_to_pem(key, &pem, err) || !public_key_fingerprint(key, fingerprint, err) ||
        !json_writer_new(true, &json, err))
        goto done;
    json_object(json, NULL);
    json_put_text(json, "label", label);
    json_put_text(json, "type", EVP_PKEY_get0_type_name(key));
    json_put_integer(json, "bits", EVP_PKEY_get_bits(key));
    json_put_text(json, "fingerprint", fingerprint);
    json_put_text(json, "pem", buf_text(&pem));
    json_object_end(json);
    ok = print_json(json, err);
done:
    json_writer_free(&json);
    buf_free(&pem);
    return ok;
}

static bool run_export(const struct invocation *invocation, struct error *err)
{
    const char *format = invocation_option(invocation, "format");
    const char *out = invocation_option(invocation, "out");
    bool cng = format != NULL && strcmp(format, "cng") == 0;
    struct buf content = BUF_INIT(PUBLIC_KEY_MAX);
    EVP_PKEY *key = NULL;
    bool ok = false;
    if (format != NULL && !cng && strcmp(format, "pem") != 0) {
        error_set(err, FAIL_USAGE, "--format must be pem or cng, not \"%s\"", format);
        goto done;
    }
    if (cng && out == NULL && invocation_json(invocation)) {
        error_set(err, FAIL_USAGE, "a CNG key is binary and cannot be told in JSON");
        error_hint(err, "give --out FILE as well, or leave out --format: the JSON has the PEM");
        goto done;
    }
    if (!find_public(invocation, &key, err))
        goto done;
    if (out == NULL && invocation_json(invocation)) {
        ok = export_as_json(key, invocation_argument(invocation, 0), err);
        goto done;
    }
    if (!(cng ? public_key_to_cng(key, &content, err) : public_key_to_pem(key, &content, err)))
        goto done;
    ok = write_out(out, cng, &content, err) &&
         (!invocation_json(invocation) ||
          export_as_json(key, invocation_argument(invocation, 0), err));
done:
    EVP_PKEY_free(key);
    buf_free(&content);
    return ok;
}

static const struct command_option list_options[] = {TOKEN_OPTIONS, PIN_OPTION, {NULL, NULL, NULL}};
static const struct command_option export_options[] = {
    {"format", "pem|cng", "PEM (default), or a CNG RSAPUBLICBLOB as Windows tools take it"},
    {"out", "FILE", "a new file, instead of standard output"},
    TOKEN_OPTIONS,
    PIN_OPTION,
    {NULL, NULL, NULL}};

const struct command key_commands[] = {
    {"key", "list", "", "show the key pairs on the token", list_options, 0, 0, run_list},
    {"key", "export", "LABEL", "write the public half of a key", export_options, 1, 1, run_export},
    {"key", "rotate", "OLD NEW", "put every record that is under one sealing key under another",
     key_rotate_options, 2, 2, key_rotate_run},
    {"key", "inventory", "[TRANSCRIPT...]", "every object on the token against the records",
     key_inventory_options, 0, 256, key_inventory_run},
    {"key", "retire", "TRANSCRIPT", "let no connector serve a key any more; recorded",
     key_retire_options, 1, 1, key_retire_run},
    {"key", "destroy", "TRANSCRIPT", "destroy a retired key on its token; recorded",
     key_destroy_options, 1, 1, key_destroy_run},
    {NULL, NULL, NULL, NULL, NULL, 0, 0, NULL},
};
