/* SPDX-License-Identifier: Apache-2.0 */
/* Files that the record names: programs, public keys, descriptor. */
#include <limits.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include "reseal/key_descriptor.h"
#include "reseal/public_key.h"
#include "verify.h"

/* Programs are updated: another one now is no fault of the record. */
static void verify_program(struct verification *verification, const char *what, const char *path,
                           const char *sha256)
{
    struct error err = ERROR_INIT;
    char found[DIGEST_TEXT];
    if (path == NULL || sha256 == NULL) {
        verify_say(verification, VERIFIED_WRONG, "programs", "%s is not named by the record", what);
        return;
    }
    if (!digest_of_file(path, found, &err))
        verify_say(verification, VERIFIED_NOT_PROVEN, "programs",
                   "%s had the SHA-256 %s; it is not on this machine at %s", what, sha256, path);
    else if (strcmp(found, sha256) != 0)
        verify_say(verification, VERIFIED_NOT_PROVEN, "programs",
                   "%s had the SHA-256 %s; %s is another one by now", what, sha256, path);
    else
        verify_say(verification, VERIFIED_PROVEN, "programs", "%s is the one at %s, SHA-256 %s",
                   what, path, sha256);
}

void verify_programs(struct verification *verification, const struct verify_options *options)
{
    (void)options;
    const struct transcript_line *first = transcript_record_at(verification->record, 0);
    verify_program(verification, "the program that held the ceremony",
                   transcript_text(first, "tool", "path"),
                   transcript_text(first, "tool", "sha256"));
    verify_program(verification, "the PKCS#11 module", transcript_text(first, "module", "path"),
                   transcript_text(first, "module", "sha256"));
}

/* The file holds the key whose fingerprint was read aloud. */
static void verify_public_key(struct verification *verification,
                              const struct verify_options *options, const char *recorded,
                              const char *fingerprint)
{
    struct error err = ERROR_INIT;
    char path[PATH_MAX], found[FINGERPRINT_TEXT];
    EVP_PKEY *key = NULL;
    if (!verify_locate(options, recorded, path, sizeof path))
        return; /* said already */
    if (fingerprint == NULL || !public_key_load(path, &key, &err) ||
        !public_key_fingerprint(key, found, &err) || strcmp(found, fingerprint) != 0)
        verify_say(verification, VERIFIED_WRONG, "outputs",
                   "%s does not hold the public key whose fingerprint was read aloud", path);
    else
        verify_say(verification, VERIFIED_PROVEN, "outputs",
                   "%s holds the public key whose fingerprint was read aloud", path);
    EVP_PKEY_free(key);
}

/* The text that the commit recorded is the file, and tells of the key that was accepted. */
static void verify_descriptor(struct verification *verification,
                              const struct verify_options *options,
                              const struct transcript_line *closed)
{
    const struct transcript_line *commit =
        transcript_record_find(verification->record, "commit", LINE_DONE);
    struct error err = ERROR_INIT;
    struct key_descriptor descriptor;
    char found[DIGEST_TEXT];
    if (commit == NULL)
        return;
    const char *path = transcript_text(commit, "descriptor", "path");
    const char *sha256 = transcript_text(commit, "descriptor", "sha256");
    const char *text = transcript_text(commit, "descriptor", "text");
    const char *label = transcript_text(closed, NULL, "label");
    const char *fingerprint = transcript_text(closed, NULL, "spkiSha256");
    if (path == NULL || sha256 == NULL || text == NULL || label == NULL || fingerprint == NULL) {
        verify_say(verification, VERIFIED_WRONG, "outputs", "the commit names no descriptor");
        return;
    }
    const struct bytes content = {(const uint8_t *)text, strlen(text)};
    if (!digest_of(content, found, &err) || strcmp(found, sha256) != 0 ||
        !key_descriptor_parse(path, content, &descriptor, &err) ||
        strcmp(descriptor.fingerprint, fingerprint) != 0 || strcmp(descriptor.label, label) != 0) {
        verify_say(verification, VERIFIED_WRONG, "outputs",
                   "the descriptor of line %zu is not of the key that was accepted",
                   commit->number);
        return;
    }
    verify_file(verification, options, "outputs", "the descriptor", path, sha256);
}

void verify_outputs(struct verification *verification, const struct verify_options *options)
{
    const struct transcript_line *files =
        transcript_record_find(verification->record, "public-key", LINE_DONE);
    const struct transcript_line *closed =
        transcript_record_find(verification->record, "close", LINE_DONE);
    if (verification->state == CEREMONY_UNFINISHED || verification->state == CEREMONY_FAILED)
        return;
    const struct json_value *list = files != NULL ? json_get(files->facts, "files") : NULL;
    if (json_count(list) == 0)
        verify_say(verification, VERIFIED_WRONG, "outputs", "no public key was written");
    for (size_t i = 0; i < json_count(list); i++) {
        const char *path_text = transcript_member(json_at(list, i), "path");
        const char *sha256_text = transcript_member(json_at(list, i), "sha256");
        if (path_text == NULL || sha256_text == NULL) {
            verify_say(verification, VERIFIED_WRONG, "outputs", "an output has no path or hash");
            continue;
        }
        verify_file(verification, options, "outputs", "the public key", path_text, sha256_text);
        verify_public_key(verification, options, path_text,
                          closed != NULL ? transcript_text(closed, NULL, "spkiSha256") : NULL);
    }
    if (closed != NULL)
        verify_descriptor(verification, options, closed);
}
