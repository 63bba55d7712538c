/* SPDX-License-Identifier: Apache-2.0 */
#include "reseal/key_life.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "reseal/ceremony_verify.h"
#include "reseal/clock.h"
#include "reseal/file.h"
#include "reseal/inventory.h"
#include "reseal/key_descriptor.h"
#include "run.h"

struct life {
    const struct key_life_options *options;
    struct key_life_result *result;
    struct transcript *transcript;
    struct transcript_record *record;
    const struct transcript_line *first;
    enum ceremony_state state;
    const struct token_facts *token; /* destroy */
};

static void take(char *out, size_t size, const char *text)
{
    snprintf(out, size, "%s", text != NULL ? text : "");
}

/* -- the record -- */

static void facts(const void *context, struct json_writer *line)
{
    const struct life *life = context;
    const struct key_life_result *result = life->result;
    json_put_text(line, "label", result->label);
    json_put_text(line, "id", result->id);
    json_put_text(line, "spkiSha256", result->fingerprint);
    json_object(line, "use");
    json_put_bool(line, "known", result->use.known);
    if (result->use.known) {
        json_put_integer(line, "records", result->use.records);
        json_put_integer(line, "requests", result->use.requests);
    }
    json_object_end(line);
    json_put_bool(line, "forced", life->options->forced);
    if (life->token == NULL) {
        json_put_text(line, "mark", result->mark[0] != '\0' ? result->mark : NULL);
        return;
    }
    json_object(line, "token");
    json_put_text(line, "label", life->token->label);
    json_put_text(line, "serial", life->token->serial);
    json_put_text(line, "manufacturer", life->token->manufacturer);
    json_put_text(line, "model", life->token->model);
    json_object_end(line);
    json_put_integer(line, "privateKeys", (int64_t)result->destroyed.private_keys);
    json_put_integer(line, "publicKeys", (int64_t)result->destroyed.public_keys);
}

static bool add(struct life *life, const char *step, enum line_outcome outcome,
                const struct error *failure, struct error *err)
{
    return transcript_add(life->transcript, step, outcome, facts, life, failure, err);
}

/* The reason of the failure counts, not that of a record that cannot be written. */
static bool add_failure(struct life *life, const char *step, struct error *err)
{
    struct error ignored = ERROR_INIT;
    const struct error failure = *err;
    (void)!add(life, step, LINE_FAILED, &failure, &ignored);
    return false;
}

static bool begin(struct life *life, struct error *err)
{
    const char *path = life->options->transcript;
    struct key_life_result *result = life->result;
    size_t cut_off = 0;
    memset(result, 0, sizeof *result);
    /* Locked before it is looked at: nobody adds a line in between. */
    if (!transcript_open(path, &life->transcript, &cut_off, err) ||
        !transcript_read(path, &life->record, NULL, err))
        return false;
    const struct transcript_line *made =
        transcript_record_find(life->record, "generate", LINE_DONE);
    const struct transcript_line *closed = transcript_record_find(life->record, "close", LINE_DONE);
    life->first = transcript_record_at(life->record, 0);
    life->state = transcript_record_state(life->record);
    if (!transcript_record_earnest(life->record, path, err))
        return false;
    if (made == NULL || closed == NULL)
        return error_set(err, FAIL_POLICY, "%s: the ceremony is %s, and there is no key of it",
                         path, ceremony_state_name(life->state));
    take(result->label, sizeof result->label, transcript_text(life->first, "key", "label"));
    take(result->id, sizeof result->id, transcript_text(made, NULL, "id"));
    take(result->fingerprint, sizeof result->fingerprint,
         transcript_text(closed, NULL, "spkiSha256"));
    return strlen(result->id) == KEY_ID_TEXT - 1 ||
           error_set(err, FAIL_INPUT, "%s: it tells no CKA_ID of the key", path);
}

static void end(struct life *life)
{
    if (life->transcript != NULL)
        take(life->result->head, sizeof life->result->head, transcript_head(life->transcript));
    transcript_record_free(&life->record);
    transcript_close(&life->transcript);
}

/* -- what must be so -- */

static bool check_use(struct life *life, struct error *err)
{
    struct key_life_result *result = life->result;
    const struct key_use *use = &result->use;
    if (!life->options->use(life->options->context, result->label, &result->use, err))
        return false;
    if (life->options->forced || (use->known && use->records == 0 && use->requests == 0))
        return true;
    if (!use->known) {
        error_set(
            err, FAIL_POLICY,
            "whether records are under the key \"%s\" is not known: no record store was asked",
            result->label);
        return error_hint(err,
                          "give a configuration with [client] hub and rotation_token; or, with "
                          "--force, be sure of it yourself");
    }
    error_set(err, FAIL_POLICY,
              "%" PRId64 " records and %" PRId64 " waiting requests are under the key \"%s\"",
              use->records, use->requests, result->label);
    return error_hint(err,
                      "`reseal key rotate %s NEW` puts the records under another key; waiting "
                      "requests end by themselves",
                      result->label);
}

static bool confirm(const struct life *life, const char *what, struct error *err)
{
    char question[512];
    const struct json_value *rules = json_get(life->first->facts, "rules");
    const struct key_life_result *result = life->result;
    fprintf(stderr, "the key \"%s\", CKA_ID %s, SHA-256 of its public half\n%s\n", result->label,
            result->id, result->fingerprint);
    if (result->use.known)
        fprintf(stderr, "%" PRId64 " records and %" PRId64 " waiting requests are under it\n",
                result->use.records, result->use.requests);
    else
        fprintf(stderr, "whether records are under it is not known\n");
    if (!life->options->confirmed) {
        snprintf(question, sizeof question, "%s Type the label of the key to go on: ", what);
        return talk_typed(question, result->label, err);
    }
    if (json_true(json_get(rules, "allowYes")))
        return true;
    error_set(err, FAIL_POLICY, "the plan of the key does not allow --yes");
    return error_hint(err, "run it on a terminal, where a person confirms");
}

/* -- retire -- */

static bool check_committed(const struct life *life, struct error *err)
{
    if (life->state == CEREMONY_COMMITTED)
        return true;
    error_set(err, FAIL_POLICY, "the key \"%s\" is %s, and only a committed one is retired",
              life->result->label, ceremony_state_name(life->state));
    return life->state == CEREMONY_ACCEPTED &&
           error_hint(err, "no connector uses it yet; `reseal key destroy --force` ends it");
}

static bool check_record(const struct life *life, struct error *err)
{
    const struct verify_options options = {.transcript = life->options->transcript};
    struct verification *verification = NULL;
    bool ok = ceremony_verify(&options, &verification, err) &&
              verification_check(verification, options.transcript, err);
    verification_free(&verification);
    return ok;
}

/* The mark goes where the plan has put the descriptor, if that is here. */
static bool find_descriptor(struct life *life, struct error *err)
{
    struct key_life_result *result = life->result;
    take(result->descriptor, sizeof result->descriptor,
         transcript_text(life->first, "outputs", "descriptor"));
    if (access(result->descriptor, F_OK) == 0)
        return key_descriptor_mark(result->descriptor, result->mark, sizeof result->mark, err);
    if (errno == ENOENT || errno == ENOTDIR)
        return true;
    return error_errno(err, FAIL_IO, "cannot look for the descriptor %s", result->descriptor);
}

static bool put_mark(struct life *life, struct error *err)
{
    char text[256], now[CLOCK_TEXT];
    clock_format(clock_real_ms(), now);
    snprintf(text, sizeof text,
             "; Written by `reseal key retire`: the connector does not serve the key any more.\n"
             "; retired %s\n",
             now);
    const struct bytes content = {(const uint8_t *)text, strlen(text)};
    return file_write(life->result->mark, 0644, FILE_REPLACE, content, err);
}

bool key_retire(const struct key_life_options *options, struct key_life_result *out,
                struct error *err)
{
    struct life life = {.options = options, .result = out};
    bool ok = begin(&life, err) && check_committed(&life, err) && check_record(&life, err) &&
              find_descriptor(&life, err) && check_use(&life, err) &&
              confirm(&life, "No connector shall serve this key any more.", err) &&
              add(&life, "retire", LINE_ANNOUNCED, NULL, err);
    if (ok && out->mark[0] != '\0' && !put_mark(&life, err))
        ok = add_failure(&life, "retire", err);
    ok = ok && add(&life, "retire", LINE_DONE, NULL, err);
    end(&life);
    return ok;
}

/* -- destroy -- */

static bool check_token(const struct life *life, struct error *err)
{
    const struct token_identity birthplace = transcript_token(life->first, "token");
    const struct token_identity here = token_identity_of(life->token);
    if (token_identity_same(&birthplace, &here) ||
        transcript_record_arrival(life->record, &here) != NULL)
        return true;
    error_set(err, FAIL_POLICY,
              "the key \"%s\" was made on the token \"%s\", serial %s, and this one is \"%s\", "
              "serial %s, to which no line of the record has brought it",
              life->result->label, birthplace.label != NULL ? birthplace.label : "?",
              birthplace.serial != NULL ? birthplace.serial : "?", here.label, here.serial);
    return error_hint(err, "name that token by --token, --module, --label or --serial");
}

static bool check_state(const struct life *life, struct error *err)
{
    if (life->state == CEREMONY_RETIRED || life->state == CEREMONY_DESTROYED ||
        (life->options->forced && life->state != CEREMONY_UNFINISHED))
        return true;
    error_set(err, FAIL_POLICY, "the key \"%s\" is %s, and was not retired", life->result->label,
              ceremony_state_name(life->state));
    if (life->state == CEREMONY_UNFINISHED)
        return error_hint(err, "`reseal ceremony run PLAN --abandon` undoes the ceremony");
    return error_hint(err, "`reseal key retire TRANSCRIPT` comes first; --force does without");
}

/* True where a run before this one has destroyed it and could not say so any more. */
static bool is_done(const struct life *life)
{
    const struct transcript_line *pending = transcript_record_pending(life->record);
    return pending != NULL && strcmp(pending->step, "destroy") == 0;
}

/* What is destroyed is what was shown: objects with the recorded CKA_ID that tell a public half
 * must tell that of the record. */
static bool check_public(struct session *session, const struct life *life, struct error *err)
{
    const struct key_life_result *result = life->result;
    struct inventory_object *objects = NULL;
    size_t count = 0;
    bool same = true;
    if (!token_inventory(session, &objects, &count, err))
        return false;
    for (size_t i = 0; i < count && same; i++) {
        const struct inventory_object *object = &objects[i];
        same = strcmp(object->id, result->id) != 0 || object->fingerprint[0] == '\0' ||
               strcmp(object->fingerprint, result->fingerprint) == 0;
        if (!same)
            error_set(err, FAIL_POLICY,
                      "the key with the recorded CKA_ID has another public half, SHA-256 %s, than "
                      "the record says; it was left alone",
                      object->fingerprint);
    }
    free(objects);
    return same || error_hint(err, "`reseal key inventory` shows what is on the token, and "
                                   "`reseal ceremony verify` what the record proves");
}

static bool find_remains(struct session *session, struct life *life, bool *done, struct error *err)
{
    struct key_remains *found = &life->result->destroyed;
    *done = false;
    if (!key_remains_find(session, life->result->id, found, err))
        return false;
    if (found->private_keys + found->public_keys > 0)
        return check_public(session, life, err);
    *done = is_done(life);
    return *done || error_set(err, FAIL_NOT_FOUND, "the key \"%s\" is not on the token \"%s\"",
                              life->result->label, life->token->label);
}

static bool destroy(struct session *session, struct life *life, struct error *err)
{
    struct key_remains left = {0};
    if (!add(life, "destroy", LINE_ANNOUNCED, NULL, err))
        return false;
    if (!key_remains_destroy(session, life->result->id, life->result->label, err) ||
        !key_remains_find(session, life->result->id, &left, err))
        return add_failure(life, "destroy", err);
    if (left.private_keys + left.public_keys > 0) {
        error_set(err, FAIL_TOKEN, "the token says that it has destroyed the key and shows it yet");
        return add_failure(life, "destroy", err);
    }
    return add(life, "destroy", LINE_DONE, NULL, err);
}

bool key_end(struct session *session, const struct token_facts *token,
             const struct key_life_options *options, struct key_life_result *out, struct error *err)
{
    struct life life = {.options = options, .result = out, .token = token};
    bool done = false;
    bool ok = begin(&life, err) && check_token(&life, err) && check_state(&life, err) &&
              find_remains(session, &life, &done, err);
    if (ok && done) { /* only the record was missing */
        ok = add(&life, "destroy", LINE_DONE, NULL, err);
        end(&life);
        return ok;
    }
    ok = ok && check_use(&life, err) &&
         confirm(&life, "The key will be destroyed, and nothing brings it back.", err) &&
         destroy(session, &life, err);
    end(&life);
    return ok;
}
