/* SPDX-License-Identifier: Apache-2.0 */
#include "reseal/ceremony_replicate.h"

#include <string.h>
#include "run.h"

struct replication {
    const struct replicate_options *options;
    struct replicate_result *result;
    struct transcript *transcript;
    struct transcript_record *record;
    const struct transcript_line *first;
    struct key_plan plan; /* of the replica */
    char id[KEY_ID_TEXT];
    struct token *from_token, *to_token;
    struct session *from, *to;
    struct transport_secret *secret;
    struct sealing_key *key, *transport, *replica;
    bool finishing; /* all replicas are made; a run before this one was cut off before the end */
};

static void take(char *out, size_t size, const char *text)
{
    snprintf(out, size, "%s", text != NULL ? text : "");
}

/* -- the record -- */

static void put_token(struct json_writer *line, const char *name, const struct token_facts *token)
{
    json_object(line, name);
    json_put_text(line, "label", token->label);
    json_put_text(line, "serial", token->serial);
    json_put_text(line, "manufacturer", token->manufacturer);
    json_put_text(line, "model", token->model);
    json_object_end(line);
}

static void put_proof(struct json_writer *line, const struct key_finding *finding)
{
    json_array(line, "paddings");
    for (size_t i = 0; i < PADDING_COUNT; i++) {
        json_object(line, NULL);
        json_put_text(line, "padding", padding_name(finding->paddings[i].padding));
        json_put_text(line, "custody", custody_name(finding->paddings[i].custody));
        json_object_end(line);
    }
    json_array_end(line);
}

static void facts_replicate(const void *context, struct json_writer *line)
{
    const struct replication *replication = context;
    const struct replicate_result *result = replication->result;
    json_put_text(line, "label", result->label);
    json_put_text(line, "id", replication->id);
    json_put_text(line, "spkiSha256", result->fingerprint);
    put_token(line, "from", &result->from);
    put_token(line, "to", &result->to);
    json_object(line, "transportKey");
    json_put_text(line, "label", replication->options->transport_label);
    json_put_text(line, "spkiSha256",
                  result->transport_fingerprint[0] != '\0' ? result->transport_fingerprint : NULL);
    json_object_end(line);
    if (result->mechanism[0] == '\0')
        return;
    json_put_text(line, "mechanism", result->mechanism);
    json_put_text(line, "oaepHash", result->hash == TRANSPORT_SHA256 ? "SHA-256" : "SHA-1");
    json_put_bool(line, "trusted", replication->options->so_pin != NULL);
    facts_attributes(&result->birth, line);
    put_proof(line, &result->finding);
}

static void facts_backup(const void *context, struct json_writer *line)
{
    const struct replication *replication = context;
    const struct replicate_result *result = replication->result;
    json_put_text(line, "label", result->label);
    json_put_integer(line, "transportKeys", (int64_t)result->wanted);
    put_token(line, "token", &result->to);
    json_put_bool(line, "confined", result->confined);
    facts_wrap_attempts(result->attempts, result->attempt_count, line);
}

/* The reason of the failure counts, not that of a record that cannot be written. */
static bool add_failure(struct replication *replication, const char *step, struct error *err)
{
    struct error ignored = ERROR_INIT;
    const struct error failure = *err;
    (void)!transcript_add(replication->transcript, step, LINE_FAILED, facts_replicate, replication,
                          &failure, &ignored);
    return false;
}

/* -- what must be so -- */

static bool is_replicated(const struct replication *replication, const char *transport_label)
{
    for (size_t i = 0; i < transcript_record_count(replication->record); i++) {
        const struct transcript_line *line = transcript_record_at(replication->record, i);
        const char *label = transcript_text(line, "transportKey", "label");
        if (line->outcome == LINE_DONE && strcmp(line->step, "replicate") == 0 && label != NULL &&
            strcmp(label, transport_label) == 0)
            return true;
    }
    return false;
}

/* Counts what the plan wants and what is done, and looks whether this one is named. */
static bool check_named(struct replication *replication, struct error *err)
{
    const struct json_value *rules = json_get(replication->first->facts, "rules");
    const struct json_value *labels = json_get(rules, "transportKeys");
    const char *wanted = replication->options->transport_label;
    struct replicate_result *result = replication->result;
    bool named = false;
    result->wanted = json_count(labels);
    for (size_t i = 0; i < result->wanted; i++) {
        const char *label = json_text(json_at(labels, i), NULL);
        if (label == NULL)
            continue;
        named = named || strcmp(label, wanted) == 0;
        result->done += is_replicated(replication, label);
    }
    if (!named) {
        error_set(err, FAIL_POLICY, "the plan of the key does not name a transport key \"%s\"",
                  wanted);
        return error_hint(err, "[backup] transport_key of the plan names them");
    }
    if (!is_replicated(replication, wanted))
        return true;
    replication->finishing =
        result->done == result->wanted &&
        transcript_record_find(replication->record, "backup", LINE_DONE) == NULL;
    return replication->finishing ||
           error_set(err, FAIL_EXISTS, "the key went to the transport key \"%s\" already", wanted);
}

static bool read_record(struct replication *replication, struct error *err)
{
    const char *path = replication->options->transcript;
    struct replicate_result *result = replication->result;
    int64_t bits = 0;
    if (!transcript_read(path, &replication->record, NULL, err))
        return false;
    const struct transcript_line *made =
        transcript_record_find(replication->record, "generate", LINE_DONE);
    const struct transcript_line *closed =
        transcript_record_find(replication->record, "close", LINE_DONE);
    enum ceremony_state state = transcript_record_state(replication->record);
    replication->first = transcript_record_at(replication->record, 0);
    if (state != CEREMONY_ACCEPTED || made == NULL || closed == NULL)
        return error_set(err, FAIL_POLICY,
                         "%s: the key is %s; one is replicated between the end of its ceremony "
                         "and its commit",
                         path, ceremony_state_name(state));
    take(result->label, sizeof result->label, transcript_text(replication->first, "key", "label"));
    take(result->fingerprint, sizeof result->fingerprint,
         transcript_text(closed, NULL, "spkiSha256"));
    take(replication->id, sizeof replication->id, transcript_text(made, NULL, "id"));
    take(replication->plan.label, sizeof replication->plan.label, result->label);
    if (!custody_parse(transcript_text(replication->first, "key", "custody"),
                       &replication->plan.custody) ||
        !json_integer(json_get(json_get(replication->first->facts, "key"), "bits"), 2048, 4096,
                      &bits))
        return error_set(err, FAIL_INPUT, "%s: the first line does not tell the key", path);
    replication->plan.bits = (int)bits;
    return check_named(replication, err);
}

/* -- the two tokens -- */

/* The key of the record, by its CKA_ID and its public half: another one may have its label by now.
 */
static bool check_key(const struct replication *replication, struct error *err)
{
    struct key_finding found;
    if (!sealing_key_describe(replication->from, replication->key, &found, err))
        return false;
    if (strcmp(found.id, replication->id) == 0 &&
        strcmp(found.fingerprint, replication->result->fingerprint) == 0)
        return true;
    error_set(err, FAIL_POLICY,
              "the key \"%s\" on the token \"%s\" is not the one of the transcript: the SHA-256 of "
              "its public half is %s",
              replication->result->label, replication->result->from.label, found.fingerprint);
    return error_hint(err, "nothing was done; `reseal key inventory TRANSCRIPT` shows what is on "
                           "the token");
}

/* The security officer before the user: his key for the journey is what wraps the sealing key. */
static bool open_from(struct replication *replication, struct error *err)
{
    const struct replicate_options *options = replication->options;
    struct replicate_result *result = replication->result;
    const struct token_identity recorded = transcript_token(replication->first, "token");
    if (!token_open(&options->from.address, &replication->from_token, err))
        return false;
    token_facts_get(replication->from_token, &result->from);
    const struct token_identity found = token_identity_of(&result->from);
    if (!token_identity_same(&recorded, &found))
        return error_set(
            err, FAIL_POLICY,
            "the key \"%s\" is on the token \"%s\", serial %s, and this one is \"%s\", "
            "serial %s",
            result->label, recorded.label != NULL ? recorded.label : "?",
            recorded.serial != NULL ? recorded.serial : "?", found.label, found.serial);
    if (options->so_pin != NULL &&
        !transport_secret_make_trusted(replication->from_token, options->so_pin,
                                       &replication->secret, err))
        return false;
    if (!options->from.login(options->from.context, replication->from_token, err) ||
        !session_open(replication->from_token, SESSION_READ_WRITE, &replication->from, err) ||
        !sealing_key_find(replication->from, result->label, &replication->key, err) ||
        !check_key(replication, err))
        return false;
    return options->so_pin != NULL ||
           transport_secret_make(replication->from, &replication->secret, err);
}

static bool open_to(struct replication *replication, struct error *err)
{
    const struct replicate_options *options = replication->options;
    struct replicate_result *result = replication->result;
    if (!token_open(&options->to.address, &replication->to_token, err))
        return false;
    token_facts_get(replication->to_token, &result->to);
    const struct token_identity from = token_identity_of(&result->from);
    const struct token_identity to = token_identity_of(&result->to);
    if (token_identity_same(&from, &to))
        return error_set(err, FAIL_USAGE, "both are one token, \"%s\"", result->to.label);
    return options->to.login(options->to.context, replication->to_token, err) &&
           session_open(replication->to_token, SESSION_READ_WRITE, &replication->to, err);
}

static void close_all(struct replication *replication)
{
    sealing_key_free(&replication->replica);
    sealing_key_free(&replication->transport);
    sealing_key_free(&replication->key);
    transport_secret_free(&replication->secret);
    session_close(&replication->to);
    token_close(&replication->to_token);
    session_close(&replication->from);
    token_close(&replication->from_token);
    transcript_record_free(&replication->record);
    if (replication->transcript != NULL)
        take(replication->result->head, sizeof replication->result->head,
             transcript_head(replication->transcript));
    transcript_close(&replication->transcript);
}

static bool confirm(const struct replication *replication, struct error *err)
{
    const struct replicate_result *result = replication->result;
    const struct json_value *rules = json_get(replication->first->facts, "rules");
    fprintf(stderr, "the key \"%s\", SHA-256 of its public half\n%s\n", result->label,
            result->fingerprint);
    fprintf(stderr, "from token \"%s\", serial %s\nto token   \"%s\", serial %s\n",
            result->from.label, result->from.serial, result->to.label, result->to.serial);
    if (replication->finishing)
        fprintf(stderr, "the key is there; a run before this one was cut off before it was made "
                        "sure that nobody wraps it any more\n");
    if (!replication->options->confirmed)
        return talk_yes(replication->finishing ? "Make sure of that now?"
                                               : "Bring the key to that token?",
                        err);
    if (json_true(json_get(rules, "allowYes")))
        return true;
    error_set(err, FAIL_POLICY, "the plan does not allow --yes");
    return error_hint(err, "run it on a terminal, where a person confirms");
}

/* -- the journey -- */

/* Whether a replication for this transport key was begun, and the last one is not known as done. */
static bool was_begun(const struct replication *replication)
{
    for (size_t i = transcript_record_count(replication->record); i > 0; i--) {
        const struct transcript_line *line = transcript_record_at(replication->record, i - 1);
        const char *label = transcript_text(line, "transportKey", "label");
        if (strcmp(line->step, "replicate") == 0 && label != NULL &&
            strcmp(label, replication->options->transport_label) == 0)
            return line->outcome != LINE_DONE;
    }
    return false;
}

/* A replication before this one may have been cut off: what it has left of this key is destroyed,
 * and its transport key is used. A replica that came for another transport key is none of that. */
static bool clear_way(struct replication *replication, struct error *err)
{
    struct error missing = ERROR_INIT;
    const struct replicate_result *result = replication->result;
    const struct token_identity to = token_identity_of(&result->to);
    if (transcript_record_arrival(replication->record, &to) != NULL)
        return error_set(err, FAIL_EXISTS,
                         "a replica of the key \"%s\" is on the token \"%s\" already",
                         result->label, result->to.label);
    if (was_begun(replication) &&
        !key_remains_destroy(replication->to, replication->id, result->label, err))
        return false;
    if (sealing_key_find(replication->to, replication->options->transport_label,
                         &replication->transport, &missing))
        return true;
    if (missing.kind == FAIL_NOT_FOUND)
        return true;
    *err = missing;
    return false;
}

static bool bring(struct replication *replication, struct error *err)
{
    struct replicate_result *result = replication->result;
    struct transport_offer offer = {.public_key = NULL};
    struct wrapped_key wrapped;
    struct key_birth transport_birth;
    wrapped_key_init(&wrapped);
    bool ok = (replication->transport != NULL ||
               transport_key_make(replication->to, replication->options->transport_label, 3072,
                                  &transport_birth, &replication->transport, err)) &&
              transport_offer_make(replication->to, replication->transport, &offer, err);
    if (ok)
        take(result->transport_fingerprint, sizeof result->transport_fingerprint,
             offer.fingerprint);
    ok = ok &&
         transport_wrap(replication->from, replication->key, replication->secret, &offer, &wrapped,
                        err) &&
         transport_unwrap(replication->to, replication->transport, &wrapped, &replication->plan,
                          &result->birth, &replication->replica, err) &&
         token_probe(replication->to, replication->replica, &result->finding, err);
    if (ok) {
        take(result->mechanism, sizeof result->mechanism, wrapped.mechanism);
        result->hash = wrapped.hash;
    }
    transport_offer_free(&offer);
    wrapped_key_free(&wrapped);
    return ok;
}

/* Each padding that the plan wants proved must work on the second token as well. */
static bool check_proof(const struct replication *replication, struct error *err)
{
    const struct json_value *paddings =
        json_get(json_get(replication->first->facts, "key"), "paddings");
    for (size_t i = 0; i < json_count(paddings); i++) {
        enum padding padding;
        const char *name = json_text(json_at(paddings, i), NULL);
        if (name == NULL || !padding_parse(name, &padding, err))
            return error_set(err, FAIL_INPUT, "the first line names a padding that is none");
        const struct padding_finding *found = probe_padding(&replication->result->finding, padding);
        if (found != NULL && found->custody >= replication->plan.custody)
            continue;
        return error_set(err, FAIL_UNSUPPORTED,
                         "with %s the replica reaches custody %s, and the plan wants %s", name,
                         custody_name(found != NULL ? found->custody : CUSTODY_UNUSABLE),
                         custody_name(replication->plan.custody));
    }
    return true;
}

static bool go(struct replication *replication, struct error *err)
{
    if (replication->finishing)
        return true;
    if (!clear_way(replication, err) ||
        !transcript_add(replication->transcript, "replicate", LINE_ANNOUNCED, facts_replicate,
                        replication, NULL, err))
        return false;
    if (!bring(replication, err) || !check_proof(replication, err)) {
        struct error left = ERROR_INIT;
        if (replication->replica != NULL &&
            !key_destroy(replication->to, replication->replica, &left))
            error_hint(err,
                       "the replica may STILL BE ON THE TOKEN: %.200s; replicate it again for this "
                       "transport key, which destroys it first",
                       left.text);
        return add_failure(replication, "replicate", err);
    }
    replication->result->done++;
    return transcript_add(replication->transcript, "replicate", LINE_DONE, facts_replicate,
                          replication, NULL, err);
}

/* The last one: nobody wraps the key any more, shown by trying. */
static bool finish(struct replication *replication, struct error *err)
{
    struct replicate_result *result = replication->result;
    if (result->done < result->wanted)
        return true;
    if (!transcript_add(replication->transcript, "backup", LINE_ANNOUNCED, facts_backup,
                        replication, NULL, err))
        return false;
    if (!key_shut(replication->from, replication->key, err) ||
        !key_try_wrap(replication->from, replication->key, result->attempts, &result->attempt_count,
                      &result->confined, err))
        return add_failure(replication, "backup", err);
    result->shut = true;
    return transcript_add(replication->transcript, "backup", LINE_DONE, facts_backup, replication,
                          NULL, err);
}

bool ceremony_replicate(const struct replicate_options *options, struct replicate_result *out,
                        struct error *err)
{
    struct replication replication = {.options = options, .result = out};
    size_t cut_off = 0;
    memset(out, 0, sizeof *out);
    bool ok = transcript_open(options->transcript, &replication.transcript, &cut_off, err) &&
              read_record(&replication, err) && open_from(&replication, err) &&
              open_to(&replication, err) && confirm(&replication, err) && go(&replication, err) &&
              finish(&replication, err);
    close_all(&replication);
    return ok;
}
