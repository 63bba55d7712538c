/* SPDX-License-Identifier: Apache-2.0 */
/* `reseal ceremony show, verify, sign, note, commit`: what is done with a transcript. */
#include <limits.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>
#include "cmd_ceremony.h"
#include "reseal/ceremony_commit.h"
#include "reseal/ceremony_show.h"
#include "reseal/file.h"
#include "reseal/text.h"
#include "reseal/token_signer.h"
#include "token_options.h"

#define KEY_FILE_MAX 65536
#define NOTE_MAX     8192

bool run_ceremony_show(const struct invocation *invocation, struct error *err)
{
    struct transcript_record *record = NULL;
    const char *path = invocation_argument(invocation, 0);
    if (!transcript_read(path, &record, NULL, err))
        return false;
    if (!invocation_json(invocation)) {
        ceremony_show(record, stdout);
        transcript_record_free(&record);
        return true;
    }
    struct json_writer *json = NULL;
    bool ok = json_writer_new(true, &json, err);
    if (ok) {
        json_object(json, NULL);
        json_put_text(json, "state", ceremony_state_name(transcript_record_state(record)));
        json_put_text(json, "head", transcript_record_last(record)->sha256);
        json_array(json, "lines");
        for (size_t i = 0; i < transcript_record_count(record); i++)
            json_put_value(json, NULL, transcript_record_at(record, i)->facts);
        json_array_end(json);
        json_object_end(json);
        ok = print_json(json, err);
    }
    json_writer_free(&json);
    transcript_record_free(&record);
    return ok;
}

static bool print_verification(const struct verification *verification, struct error *err)
{
    struct json_writer *json = NULL;
    if (!json_writer_new(true, &json, err))
        return false;
    json_object(json, NULL);
    json_put_bool(json, "verified", verification_holds(verification));
    json_put_text(json, "state", verification_state(verification));
    json_put_integer(json, "signaturesCounted", (int64_t)verification->counted);
    json_put_integer(json, "signaturesWanted", (int64_t)verification->required);
    json_array(json, "findings");
    for (size_t i = 0; i < verification->count; i++) {
        const struct verify_finding *finding = &verification->findings[i];
        json_object(json, NULL);
        json_put_text(json, "verdict", verdict_name(finding->verdict));
        json_put_text(json, "about", finding->about);
        json_put_text(json, "text", finding->text);
        json_object_end(json);
    }
    json_array_end(json);
    json_object_end(json);
    bool ok = print_json(json, err);
    json_writer_free(&json);
    return ok;
}

static void print_findings(const struct verification *verification, enum verdict verdict,
                           const char *title)
{
    size_t shown = 0;
    for (size_t i = 0; i < verification->count; i++) {
        const struct verify_finding *finding = &verification->findings[i];
        char text[sizeof finding->text];
        if (finding->verdict != verdict)
            continue;
        if (shown++ == 0)
            printf("%s\n", title);
        snprintf(text, sizeof text, "%s", finding->text);
        text_make_printable(text);
        printf("  %-11s %s\n", finding->about, text);
    }
}

bool run_ceremony_verify(const struct invocation *invocation, struct error *err)
{
    const struct verify_options options = {
        .transcript = invocation_argument(invocation, 0),
        .plan = invocation_option(invocation, "plan"),
        .head = invocation_option(invocation, "head"),
    };
    struct verification *verification = NULL;
    bool ok = true;
    if (!ceremony_verify(&options, &verification, err))
        return false;
    if (invocation_json(invocation)) {
        ok = print_verification(verification, err);
    } else {
        print_findings(verification, VERIFIED_WRONG, "WRONG:");
        if (verification->unfinished)
            printf("UNFINISHED: the record has no end, so that it is not verified. So far:\n");
        print_findings(verification, VERIFIED_PROVEN, "Proven by the bytes at hand:");
        print_findings(verification, VERIFIED_NOT_PROVEN, "Not proven:");
    }
    if (verification->wrong > 0)
        invocation_set_status(invocation, error_exit_status(FAIL_INPUT));
    else if (verification->unfinished)
        invocation_set_status(invocation, error_exit_status(FAIL_POLICY));
    verification_free(&verification);
    return ok;
}

/* OpenSSL asks for the password of an encrypted key. */
struct key_password {
    const char *source, *path;
    struct error *err;
};

static int give_password(char *buffer, int size, int writing, void *context)
{
    const struct key_password *password = context;
    struct secret *secret = NULL;
    char question[256];
    (void)writing;
    snprintf(question, sizeof question, "Password of the key %.200s", password->path);
    if (!secret_read(password->source != NULL ? password->source : "prompt", question,
                     (size_t)size - 1, &secret, password->err))
        return -1;
    int len = (int)secret_len(secret);
    memcpy(buffer, secret_data(secret), (size_t)len);
    secret_free(&secret);
    return len;
}

static bool load_key(const char *path, const char *password_source, EVP_PKEY **out,
                     struct error *err)
{
    struct buf content = BUF_INIT(KEY_FILE_MAX);
    struct key_password password = {password_source, path, err};
    *out = NULL;
    if (!file_read(path, &content, err))
        return false;
    BIO *bio = BIO_new_mem_buf(content.data, (int)content.len);
    if (bio != NULL)
        *out = PEM_read_bio_PrivateKey(bio, NULL, give_password, &password);
    BIO_free(bio);
    buf_free(&content);
    ERR_clear_error();
    if (*out != NULL)
        return true;
    if (err->kind != FAIL_NONE)
        return error_context(err, "%s", path);
    error_set(err, FAIL_INPUT, "%s holds no private key in PEM, or its password is another", path);
    return error_hint(err, "a witness signs with a key of his own: openssl genpkey -algorithm "
                           "ed25519 -aes256 -out KEY, or a pkcs11: URI of his token");
}

/* The PIN of the witness's own token: asked for here, or on the token's pad. */
static bool open_signer(const struct invocation *invocation, const char *uri,
                        struct token_signer **out, struct error *err)
{
    struct signer_address address;
    struct secret *pin = NULL;
    const char *source = invocation_option(invocation, "pin");
    bool pad = false, ok = false;
    if (!signer_address_from_uri(uri, &address, err) ||
        !signer_has_pin_pad(&address.token, &pad, err))
        return false;
    if (pad && (source == NULL || strcmp(source, "prompt") == 0))
        fprintf(stderr, PIN_PAD_NOTE "\n");
    else if (!secret_read(source != NULL ? source : "prompt", "PIN of the witness's token", PIN_MAX,
                          &pin, err))
        return error_context(err, "the PIN of the witness's token");
    ok = token_signer_open(&address, pin, out, err);
    secret_free(&pin);
    return ok;
}

/* Who signs, by the plan; a witness that it does not name gives his own name. */
static bool name_witness(const struct invocation *invocation,
                         const struct transcript_record *record, struct ceremony_signature *out,
                         struct error *err)
{
    const char *id = invocation_option(invocation, "witness");
    const char *name = invocation_option(invocation, "name");
    const struct json_value *rules = json_get(transcript_record_at(record, 0)->facts, "rules");
    const struct json_value *witnesses = json_get(rules, "witnesses");
    if (id == NULL) {
        error_set(err, FAIL_USAGE, "who signs is not told");
        return error_hint(err, "give --witness ID, as in the section [witness ID] of the plan");
    }
    if (!witness_id_check(id, err))
        return false;
    for (size_t i = 0; i < json_count(witnesses); i++) {
        const char *planned = transcript_member(json_at(witnesses, i), "id");
        const char *his = transcript_member(json_at(witnesses, i), "name");
        if (planned != NULL && his != NULL && strcmp(planned, id) == 0)
            name = his;
    }
    if (name == NULL)
        print_warning(
            "the plan names no witness \"%s\": this signature will not count for a commit", id);
    snprintf(out->id, sizeof out->id, "%s", id);
    snprintf(out->name, sizeof out->name, "%s", name != NULL ? name : id);
    text_make_printable(out->name);
    return true;
}

/* Nobody puts his name under what does not verify, or is not over. */
static bool verify_before(const char *path, struct verification **out, struct error *err)
{
    const struct verify_options options = {.transcript = path};
    if (!ceremony_verify(&options, out, err))
        return false;
    if (!verification_check(*out, path, err))
        return error_context(err, "nothing was signed");
    if (!(*out)->unfinished)
        return true;
    error_set(err, FAIL_POLICY, "nothing was signed: the ceremony is unfinished");
    return error_hint(err, "`reseal ceremony run` with its plan goes on");
}

static bool tell_signature(const struct invocation *invocation,
                           const struct ceremony_signature *signature, const char *path,
                           struct error *err)
{
    struct json_writer *json = NULL;
    fprintf(stderr, "%s has signed lines 1 to %zu, SHA-256 of the last\n%s\nwith %s, key %s\n",
            signature->name, signature->lines, signature->sha256, signature->algorithm,
            signature->key_fingerprint);
    if (!invocation_json(invocation))
        return printf("%s\n", path) > 0;
    if (!json_writer_new(true, &json, err))
        return false;
    json_object(json, NULL);
    json_put_text(json, "witness", signature->id);
    json_put_text(json, "name", signature->name);
    json_put_integer(json, "lines", (int64_t)signature->lines);
    json_put_text(json, "head", signature->sha256);
    json_put_text(json, "algorithm", signature->algorithm);
    json_put_text(json, "spkiSha256", signature->key_fingerprint);
    json_put_text(json, "signature", path);
    json_object_end(json);
    bool ok = print_json(json, err);
    json_writer_free(&json);
    return ok;
}

static bool write_signature(const struct invocation *invocation, const char *transcript,
                            const struct verification *verification, const struct signing_key *key,
                            struct error *err)
{
    struct ceremony_signature signature = {.lines = 0};
    struct buf content = BUF_INIT(16384);
    char path[PATH_MAX];
    const char *out = invocation_option(invocation, "out");
    bool ok = name_witness(invocation, verification->record, &signature, err) &&
              ceremony_signature_make(verification->record, key, &signature, &content, err) &&
              (out != NULL ||
               ceremony_signature_path(transcript, signature.id, path, sizeof path, err)) &&
              file_write(out != NULL ? out : path, 0644, FILE_NEW, buf_bytes(&content), err);
    buf_free(&content);
    return ok && tell_signature(invocation, &signature, out != NULL ? out : path, err);
}

bool run_ceremony_sign(const struct invocation *invocation, struct error *err)
{
    const char *transcript = invocation_argument(invocation, 0);
    const char *named = invocation_option(invocation, "key");
    struct verification *verification = NULL;
    struct token_signer *signer = NULL;
    EVP_PKEY *key = NULL;
    bool ok = false;
    if (named == NULL) {
        error_set(err, FAIL_USAGE, "the key to sign with is not told");
        return error_hint(err, "give --key FILE (PEM), or --key pkcs11:... for one on a token");
    }
    if (!verify_before(transcript, &verification, err))
        goto done;
    if (strncmp(named, "pkcs11:", 7) == 0) {
        if (!open_signer(invocation, named, &signer, err)) {
            token_options_fault(err);
            goto done;
        }
        ok = write_signature(invocation, transcript, verification, token_signer_key(signer), err);
    } else {
        ok = load_key(named, invocation_option(invocation, "password"), &key, err) &&
             write_signature(invocation, transcript, verification,
                             &(const struct signing_key){.key = key}, err);
    }
done:
    EVP_PKEY_free(key);
    token_signer_close(&signer);
    verification_free(&verification);
    return ok;
}

static bool tell_note(const struct invocation *invocation, const char *head, struct error *err)
{
    struct json_writer *json = NULL;
    fprintf(stderr, "recorded; SHA-256 of the last line is now %s\n", head);
    if (!invocation_json(invocation))
        return true;
    if (!json_writer_new(true, &json, err))
        return false;
    json_object(json, NULL);
    json_put_text(json, "head", head);
    json_object_end(json);
    bool ok = print_json(json, err);
    json_writer_free(&json);
    return ok;
}

/* The record is looked at before anybody types words for it. */
bool run_ceremony_note(const struct invocation *invocation, struct error *err)
{
    char head[DIGEST_TEXT];
    struct buf words = BUF_INIT(NOTE_MAX);
    struct transcript_record *record = NULL;
    size_t cut_off;
    const char *path = invocation_argument(invocation, 0);
    const char *text = invocation_option(invocation, "text");
    bool ok = false;
    if (!transcript_read(path, &record, &cut_off, err))
        return false;
    transcript_record_free(&record);
    if (text != NULL)
        buf_put_text(&words, text);
    else if (!file_read("-", &words, err))
        goto done;
    while (words.len > 0 && strchr("\r\n", words.data[words.len - 1]) != NULL)
        words.data[--words.len] = '\0';
    ok = buf_check(&words, "the note", err) && ceremony_note(path, buf_text(&words), head, err) &&
         tell_note(invocation, head, err);
done:
    buf_free(&words);
    return ok;
}

static bool read_count(const struct invocation *invocation, size_t *out, struct error *err)
{
    const char *text = invocation_option(invocation, "require-witnesses");
    char *end = NULL;
    *out = 0;
    if (text == NULL)
        return true;
    unsigned long value = strtoul(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != '\0' || value > VERIFY_SIGNATURES_MAX)
        return error_set(err, FAIL_USAGE, "--require-witnesses wants a number from 0 to %d",
                         VERIFY_SIGNATURES_MAX);
    *out = value;
    return true;
}

bool run_ceremony_commit(const struct invocation *invocation, struct error *err)
{
    struct commit_options options = {
        .transcript = invocation_argument(invocation, 0),
        .confirmed = invocation_flag(invocation, "yes"),
    };
    struct commit_result result;
    struct json_writer *json = NULL;
    if (!read_count(invocation, &options.witnesses, err) ||
        !ceremony_commit(&options, &result, err))
        return false;
    fprintf(stderr, "The key \"%s\" is committed: its descriptor is %s\n", result.label,
            result.descriptor);
    if (!invocation_json(invocation)) {
        printf("%s\n", result.descriptor);
        return true;
    }
    if (!json_writer_new(true, &json, err))
        return false;
    json_object(json, NULL);
    json_put_text(json, "label", result.label);
    json_put_text(json, "spkiSha256", result.fingerprint);
    json_put_text(json, "descriptor", result.descriptor);
    json_put_integer(json, "signatures", (int64_t)result.signatures);
    json_put_text(json, "head", result.head);
    json_object_end(json);
    bool ok = print_json(json, err);
    json_writer_free(&json);
    return ok;
}
