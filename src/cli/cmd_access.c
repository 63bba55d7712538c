/* SPDX-License-Identifier: Apache-2.0 */
/* `reseal access add|list|remove|wrap|token`: who may use the hub's queue and its API. */
#include <string.h>
#include <unistd.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include "access_file.h"
#include "command.h"
#include "reseal/access.h"
#include "reseal/file.h"
#include "reseal/text.h"

#define ID_PREFIX    "RSLK"
#define ID_LETTERS   16
#define SECRET_BYTES 30 /* 40 characters of base64, as AWS has them */
#define TOKEN_BYTES  32
#define OUTPUT_MAX   4096

static bool want_output(const struct invocation *invocation, const char **out, struct error *err)
{
    *out = invocation_option(invocation, "output");
    if (*out != NULL && (*out)[0] != '\0')
        return true;
    error_set(err, FAIL_USAGE, "--output is missing: where the secret goes");
    return error_hint(err,
                      "name a new file, which only you may read, or \"-\" for standard output");
}

/* A new file of mode 0600, or standard output. */
static bool write_output(const char *path, struct bytes content, struct error *err)
{
    if (strcmp(path, "-") == 0)
        return fd_write_all(STDOUT_FILENO, content, err);
    return file_write(path, 0600, FILE_NEW, content, err);
}

static bool name_valid(const char *name)
{
    size_t len = strlen(name);
    return len >= 1 && len < 64 &&
           strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.") == len;
}

/* An id that nobody has, and a secret half that nobody guesses. */
static bool make_credential(const char *name, const char *rights, struct credential *out,
                            struct error *err)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    uint8_t random[ID_LETTERS];
    struct secret *raw = NULL;
    struct buf text = BUF_INIT(64);
    *out = (struct credential){.secret_access_key = NULL};
    snprintf(out->profile, sizeof out->profile, "%s", name);
    snprintf(out->rights, sizeof out->rights, "%s", rights);
    bool ok = secret_new(SECRET_BYTES, &raw, err) && RAND_bytes(random, sizeof random) == 1 &&
              RAND_priv_bytes(secret_data(raw), SECRET_BYTES) == 1;
    if (ok) {
        size_t used = strlen(ID_PREFIX);
        memcpy(out->access_key_id, ID_PREFIX, used);
        for (size_t i = 0; i < ID_LETTERS; i++)
            out->access_key_id[used + i] = letters[random[i] % 32];
        base64_encode(&text, secret_data(raw), SECRET_BYTES);
        ok = buf_check(&text, "the secret access key", err) &&
             secret_copy(text.data, text.len, &out->secret_access_key, err);
    } else {
        error_openssl(err, FAIL_INTERNAL, "no random numbers");
    }
    buf_free(&text);
    secret_free(&raw);
    return ok;
}

/* The client's file first: of a key that is in force somebody must have the secret half. */
static bool hand_out(struct access_file *file, const struct credential *credential,
                     const char *profile, const char *output, struct error *err)
{
    struct buf text = BUF_INIT(OUTPUT_MAX);
    access_profile_put(&text, profile, credential);
    bool ok = buf_check(&text, "the profile", err) && access_file_add(file, credential, err) &&
              write_output(output, buf_bytes(&text), err);
    buf_free(&text);
    if (!ok)
        return false;
    if (access_file_save(file, err))
        return true;
    if (strcmp(output, "-") != 0)
        unlink(output); /* made a moment ago, and of no use */
    return false;
}

static bool run_add(const struct invocation *invocation, struct error *err)
{
    const char *name = invocation_argument(invocation, 0), *output;
    const char *rights = invocation_option(invocation, "rights");
    const char *profile = invocation_option(invocation, "profile");
    const struct config *config;
    struct access_file file;
    struct credential credential = {.secret_access_key = NULL};
    rights = rights != NULL ? rights : "";
    profile = profile != NULL ? profile : "default";
    if (!name_valid(name) || !name_valid(profile))
        return error_set(err, FAIL_USAGE,
                         "a name has 1 to 63 letters, digits, '-', '_' and '.', not \"%.64s\"",
                         name_valid(name) ? profile : name);
    if (strlen(rights) > 180) { /* one line of the file */
        error_set(err, FAIL_USAGE, "--rights has more than 180 bytes");
        return error_hint(err, "use '*' in names of queues, or add lines to the file by hand");
    }
    if (!rights_valid(rights, err) || !want_output(invocation, &output, err) ||
        !invocation_hub_config(invocation, &config, err))
        return false;
    bool ok = access_file_open(config, NULL, &file, err) &&
              make_credential(name, rights, &credential, err) &&
              hand_out(&file, &credential, profile, output, err);
    if (ok)
        fprintf(stderr, "added the key %s [%s] to %s; %s\n", credential.access_key_id, name,
                file.path,
                file.all != NULL ? "a running hub takes it by itself"
                                 : "the file is new: give it to the hub's user (chown)");
    if (ok && file.wrap == NULL)
        print_warning("%s has the secret half in clear: see access_key_wrap in [hub]", file.path);
    secret_free(&credential.secret_access_key);
    access_file_close(&file);
    return ok;
}

static bool print_list_json(const struct access_file *file, struct error *err)
{
    struct json_writer *json = NULL;
    if (!json_writer_new(true, &json, err))
        return false;
    json_object(json, NULL);
    json_array(json, "keys");
    for (size_t i = 0; file->all != NULL && i < credentials_count(file->all); i++) {
        const struct credential *one = credentials_at(file->all, i);
        json_object(json, NULL);
        json_put_text(json, "name", one->profile);
        json_put_text(json, "accessKeyId", one->access_key_id);
        json_put_text(json, "rights", one->rights[0] != '\0' ? one->rights : "all:*");
        json_put_bool(json, "wrapped", one->wrapped);
        json_object_end(json);
    }
    json_array_end(json);
    json_object_end(json);
    bool ok = print_json(json, err);
    json_writer_free(&json);
    return ok;
}

static bool print_list(const struct access_file *file, struct error *err)
{
    static const char *const headers[] = {"name", "access key", "secret half", "rights"};
    struct table *table = NULL;
    bool ok = table_new(headers, ARRAY_LEN(headers), &table, err);
    for (size_t i = 0; ok && file->all != NULL && i < credentials_count(file->all); i++) {
        const struct credential *one = credentials_at(file->all, i);
        const char *const cells[] = {one->profile, one->access_key_id,
                                     one->wrapped ? "wrapped" : "in clear",
                                     one->rights[0] != '\0' ? one->rights : "all:*"};
        ok = table_row(table, cells, err);
    }
    if (ok)
        table_print(table, stdout);
    table_free(&table);
    return ok;
}

static bool run_list(const struct invocation *invocation, struct error *err)
{
    const struct config *config;
    struct access_file file;
    if (!invocation_hub_config(invocation, &config, err))
        return false;
    bool ok = access_file_open(config, NULL, &file, err) &&
              (invocation_json(invocation) ? print_list_json(&file, err) : print_list(&file, err));
    access_file_close(&file);
    return ok;
}

static bool run_remove(const struct invocation *invocation, struct error *err)
{
    const char *name = invocation_argument(invocation, 0);
    const struct config *config;
    struct access_file file;
    if (!invocation_hub_config(invocation, &config, err))
        return false;
    bool ok = access_file_open(config, NULL, &file, err) && access_file_remove(&file, name, err) &&
              access_file_save(&file, err);
    if (ok)
        fprintf(stderr, "removed the key [%s] from %s; a running hub refuses it from now on\n",
                name, file.path);
    access_file_close(&file);
    return ok;
}

static bool run_wrap(const struct invocation *invocation, struct error *err)
{
    const char *from = invocation_option(invocation, "from");
    const struct config *config;
    struct access_file file;
    size_t count = 0;
    if (!invocation_hub_config(invocation, &config, err))
        return false;
    bool ok = access_file_open(config, from, &file, err) && access_file_wrap(&file, &count, err) &&
              access_file_save(&file, err);
    if (ok)
        fprintf(stderr, "wrapped the secret halves in %s, %zu of which were in clear\n", file.path,
                count);
    access_file_close(&file);
    return ok;
}

static bool run_token(const struct invocation *invocation, struct error *err)
{
    const char *output;
    uint8_t random[TOKEN_BYTES], digest[EVP_MAX_MD_SIZE];
    char token[2 * TOKEN_BYTES + 2], hex[2 * 32 + 1];
    unsigned len = 0;
    if (!want_output(invocation, &output, err))
        return false;
    if (strcmp(output, "-") == 0)
        return error_set(err, FAIL_USAGE,
                         "--output must be a file: standard output has the digest");
    bool ok = RAND_priv_bytes(random, sizeof random) == 1;
    hex_encode(token, random, sizeof random);
    ok = ok && EVP_Digest(token, 2 * TOKEN_BYTES, digest, &len, EVP_sha256(), NULL) == 1 &&
         len == 32;
    if (!ok)
        error_openssl(err, FAIL_INTERNAL, "no random numbers");
    token[sizeof token - 2] = '\n';
    ok = ok && write_output(output, (struct bytes){(const uint8_t *)token, sizeof token - 1}, err);
    memory_wipe(token, sizeof token);
    memory_wipe(random, sizeof random);
    if (!ok)
        return false;
    hex_encode(hex, digest, 32);
    printf("sha256:%s\n", hex);
    fprintf(stderr, "the token is in %s; add the line above to the file of hub.api_token\n",
            output);
    return true;
}

static const struct command_option add_options[] = {
    {"output", "FILE",
     "new file for the client, in the AWS shared credentials format; \"-\": stdout"},
    {"rights", "RIGHTS", "\"receive:QUEUE send:QUEUE manage:QUEUE ...\" (default: everything)"},
    {"profile", "NAME", "section in the client's file (default: default)"},
    {NULL, NULL, NULL},
};

static const struct command_option wrap_options[] = {
    {"from", "SOURCE", "where the key is that they are wrapped under now, to change it"},
    {NULL, NULL, NULL},
};

static const struct command_option token_options[] = {
    {"output", "FILE", "new file for the token"},
    {NULL, NULL, NULL},
};

const struct command access_commands[] = {
    {"access", "add", "NAME --output FILE", "make an access key for the hub's queue", add_options,
     1, 1, run_add},
    {"access", "list", "", "the access keys of the hub and their rights", NULL, 0, 0, run_list},
    {"access", "remove", "NAME", "take an access key out of force", NULL, 1, 1, run_remove},
    {"access", "wrap", "", "encrypt the keys' secret halves in the hub's file", wrap_options, 0, 0,
     run_wrap},
    {"access", "token", "--output FILE", "make a token for the hub's API; prints its digest",
     token_options, 0, 0, run_token},
    {NULL, NULL, NULL, NULL, NULL, 0, 0, NULL},
};
