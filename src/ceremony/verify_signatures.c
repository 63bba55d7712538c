/* SPDX-License-Identifier: Apache-2.0 */
/* Who has signed, what that covers, and whether the plan lets it count. */
#include <dirent.h>
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "reseal/file.h"
#include "verify.h"

#define SIGNATURE_FILE 16384

/* The rule of the plan about the witness of that id, or NULL. */
static const struct json_value *rule_of(const struct transcript_record *record, const char *id)
{
    const struct json_value *rules = json_get(transcript_record_at(record, 0)->facts, "rules");
    const struct json_value *witnesses = json_get(rules, "witnesses");
    for (size_t i = 0; i < json_count(witnesses); i++) {
        const char *name = transcript_member(json_at(witnesses, i), "id");
        if (name != NULL && strcmp(name, id) == 0)
            return json_at(witnesses, i);
    }
    return NULL;
}

/* Whether the plan names him, and the key, and the key is that one. */
static void judge(struct verification *verification, struct verified_signature *entry)
{
    const struct ceremony_signature *signature = &entry->signature;
    const struct json_value *rule = rule_of(verification->record, signature->id);
    const char *wanted = transcript_member(rule, "spkiSha256");
    if (rule == NULL) {
        verify_say(verification, VERIFIED_NOT_PROVEN, "signatures",
                   "\"%s\" is no witness of the plan: his signature does not count", signature->id);
        return;
    }
    if (wanted != NULL && strcmp(wanted, signature->key_fingerprint) != 0) {
        verify_say(verification, VERIFIED_WRONG, "signatures",
                   "the signature of %s is by another key than the plan names", signature->name);
        return;
    }
    entry->planned = true;
    if (wanted == NULL)
        verify_say(verification, VERIFIED_NOT_PROVEN, "signatures",
                   "that the key (SHA-256 %s) is that of %s: the plan does not name it",
                   signature->key_fingerprint, signature->name);
}

static void check_file(struct verification *verification, const char *path)
{
    struct error err = ERROR_INIT;
    struct buf content = BUF_INIT(SIGNATURE_FILE);
    if (verification->signature_count == VERIFY_SIGNATURES_MAX) {
        verify_say(verification, VERIFIED_WRONG, "signatures", "more than %d signatures",
                   VERIFY_SIGNATURES_MAX);
        return;
    }
    struct verified_signature *entry = &verification->signatures[verification->signature_count];
    memset(entry, 0, sizeof *entry);
    if (!file_read(path, &content, &err) || !digest_of(buf_bytes(&content), entry->sha256, &err) ||
        !ceremony_signature_check(verification->record, buf_bytes(&content), &entry->signature,
                                  &err)) {
        verify_say(verification, VERIFIED_WRONG, "signatures", "%s: %s", path, err.text);
        buf_free(&content);
        return;
    }
    snprintf(entry->path, sizeof entry->path, "%s", path);
    verification->signature_count++;
    verify_say(verification, VERIFIED_PROVEN, "signatures",
               "%s has signed lines 1 to %zu at %s (%s, key SHA-256 %s)", entry->signature.name,
               entry->signature.lines, entry->signature.time, entry->signature.algorithm,
               entry->signature.key_fingerprint);
    judge(verification, entry);
    buf_free(&content);
}

/* The key was shown in full only in the line that accepts it: who signed less has not seen it. */
static bool covers_key(const struct verification *verification,
                       const struct verified_signature *entry)
{
    const struct transcript_line *closed =
        transcript_record_find(verification->record, "close", LINE_DONE);
    return closed != NULL && entry->signature.lines >= closed->number;
}

/* Two signatures by one witness, or by one key under two names, count once. */
static bool is_another(const struct verification *verification, size_t index)
{
    const struct verified_signature *all = verification->signatures;
    for (size_t i = 0; i < index; i++) {
        if (all[i].planned && covers_key(verification, &all[i]) &&
            (strcmp(all[i].signature.id, all[index].signature.id) == 0 ||
             strcmp(all[i].signature.key_fingerprint, all[index].signature.key_fingerprint) == 0))
            return false;
    }
    return true;
}

static void count(struct verification *verification)
{
    const struct transcript_record *record = verification->record;
    const struct json_value *rules = json_get(transcript_record_at(record, 0)->facts, "rules");
    int64_t required = 0;
    size_t covered = 0;
    if (rules != NULL &&
        !json_integer(json_get(rules, "signatures"), 0, VERIFY_SIGNATURES_MAX, &required))
        verify_say(verification, VERIFIED_WRONG, "signatures",
                   "the record does not say how many signatures are needed");
    verification->required = (size_t)required;
    for (size_t i = 0; i < verification->signature_count; i++) {
        const struct verified_signature *entry = &verification->signatures[i];
        if (entry->planned && covers_key(verification, entry) && is_another(verification, i))
            verification->counted++;
        if (entry->signature.lines > covered)
            covered = entry->signature.lines;
    }
    if (verification->required > 0 || verification->counted > 0)
        verify_say(verification,
                   verification->counted >= verification->required ? VERIFIED_PROVEN
                   : verification->state == CEREMONY_COMMITTED     ? VERIFIED_WRONG
                                                                   : VERIFIED_NOT_PROVEN,
                   "signatures", "%zu of the %zu signatures that the plan wants",
                   verification->counted, verification->required);
    if (covered > 0 && covered < transcript_record_count(record))
        verify_say(verification, VERIFIED_NOT_PROVEN, "signatures",
                   "lines %zu to %zu came after every signature", covered + 1,
                   transcript_record_count(record));
}

/* Whether the name is BASE.ID.sig. */
static bool is_signature(const char *name, const char *base)
{
    size_t len = strlen(base), whole = strlen(name);
    return whole > len + 5 && strncmp(name, base, len) == 0 && name[len] == '.' &&
           strcmp(name + whole - 4, ".sig") == 0;
}

void verify_signatures(struct verification *verification, const struct verify_options *options)
{
    char folder[PATH_MAX], copy[PATH_MAX], path[PATH_MAX];
    struct dirent **entries = NULL;
    snprintf(folder, sizeof folder, "%s", options->transcript);
    snprintf(copy, sizeof copy, "%s", options->transcript);
    const char *place = dirname(folder), *base = basename(copy);
    int found = scandir(place, &entries, NULL, alphasort);
    if (found < 0)
        verify_say(verification, VERIFIED_NOT_PROVEN, "signatures",
                   "the folder of the transcript cannot be searched for signatures: %s",
                   strerror(errno));
    for (int i = 0; i < found; i++) {
        int len = snprintf(path, sizeof path, "%s/%s", place, entries[i]->d_name);
        if (is_signature(entries[i]->d_name, base) && len > 0 && (size_t)len < sizeof path)
            check_file(verification, path);
        free(entries[i]);
    }
    free(entries);
    count(verification);
}
