/* SPDX-License-Identifier: Apache-2.0 */
/* The acts of a ceremony that show the public key to the world. */
#include <openssl/evp.h>
#include <string.h>
#include <sys/stat.h>
#include "reseal/file.h"
#include "run.h"

#define PUBLIC_KEY_MAX 8192

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

/* True where the file is there and is what would be written: made by this ceremony before it was
 * cut off. */
static bool is_there(const char *path, const struct buf *content)
{
    struct error ignored = ERROR_INIT;
    struct buf found = BUF_INIT(PUBLIC_KEY_MAX);
    struct stat st;
    bool same = lstat(path, &st) == 0 && S_ISREG(st.st_mode) && file_read(path, &found, &ignored) &&
                found.len == content->len && memcmp(found.data, content->data, found.len) == 0;
    buf_free(&found);
    return same;
}

static bool write_public(const struct ceremony *ceremony, EVP_PKEY *key, bool cng, const char *path,
                         bool *written, const char *sha256, struct error *err)
{
    struct buf content = BUF_INIT(PUBLIC_KEY_MAX);
    char digest[DIGEST_TEXT];
    bool ok = false;
    if (!(cng ? public_key_to_cng(key, &content, err) : public_key_to_pem(key, &content, err)))
        goto done;
    bool kept = ceremony->record != NULL && is_there(path, &content);
    if (!kept && !file_write(path, 0644, FILE_NEW, buf_bytes(&content), err))
        goto done;
    *written = true;
    talk("%s: %s", kept ? "was written before" : "written", path);
    ok = digest_of(buf_bytes(&content), digest, err);
    if (ok && strcmp(digest, sha256) != 0)
        ok = error_set(err, FAIL_INTERNAL, "%s is not what was announced", path);
done:
    buf_free(&content);
    return ok;
}

static bool digest_public(EVP_PKEY *key, bool cng, char sha256[static DIGEST_TEXT],
                          struct error *err)
{
    struct buf content = BUF_INIT(PUBLIC_KEY_MAX);
    bool ok =
        (cng ? public_key_to_cng(key, &content, err) : public_key_to_pem(key, &content, err)) &&
        digest_of(buf_bytes(&content), sha256, err);
    buf_free(&content);
    return ok;
}

/* What will be written is told before, so that a file can be known as ours after a crash. */
bool before_public_key(struct ceremony *ceremony, struct error *err)
{
    return digest_public(ceremony->public_key, false, ceremony->pem_sha256, err) &&
           (ceremony->plan->public_key_cng == NULL ||
            digest_public(ceremony->public_key, true, ceremony->cng_sha256, err));
}

bool act_public_key(struct ceremony *ceremony, struct error *err)
{
    const struct ceremony_plan *plan = ceremony->plan;
    EVP_PKEY *key = NULL;
    if (!read_public_again(ceremony, &key, err))
        return false;
    bool ok = write_public(ceremony, key, false, plan->public_key, &ceremony->pem_written,
                           ceremony->pem_sha256, err);
    if (ok && plan->public_key_cng != NULL)
        ok = write_public(ceremony, key, true, plan->public_key_cng, &ceremony->cng_written,
                          ceremony->cng_sha256, err);
    EVP_PKEY_free(key);
    return ok;
}

bool act_fingerprint(struct ceremony *ceremony, struct error *err)
{
    const char *hex = ceremony->finding.fingerprint;
    struct buf words = BUF_INIT(1024);
    bool ok = true;
    talk("SHA-256 %s", hex);
    for (size_t at = 0; at + 8 <= strlen(hex) && ok; at += 8) {
        buf_reset(&words);
        digest_spell(&words, hex + at, 8);
        ok = buf_check(&words, "the words", err);
        if (ok)
            talk("%.8s  %s", hex + at, buf_text(&words));
    }
    buf_free(&words);
    return ok;
}

/* The line itself is the act: with it on the disk the key is accepted. */
bool act_close(struct ceremony *ceremony, struct error *err)
{
    (void)ceremony;
    (void)err;
    return true;
}
