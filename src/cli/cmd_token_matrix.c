/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `reseal token matrix`: what a token can do for Reseal, for every key size, padding and kind of
 * device key, found out with keys that end with the session. The table is made to be sent to
 * others.
 */
#include <stdlib.h>
#include <string.h>
#include "cmd_token.h"
#include "reseal/ceremony.h"
#include "reseal/clock.h"

/* The outcome for one size of sealing key. */
struct size_finding {
    int bits;
    struct key_finding token, host; /* with a key made for custody token, and for custody host */
    struct error token_error, host_error; /* why there is none: FAIL_NONE where there is */
};

static const int sizes[] = {2048, 3072, 4096};

struct matrix {
    struct token_facts token;
    struct size_finding sizes[ARRAY_LEN(sizes)];
};

/* False only where the token as such fails; that it does not make such a key is a finding. */
static bool probe_size(struct session *session, int bits, enum custody custody,
                       struct key_finding *out, struct error *why, struct error *err)
{
    struct sealing_key *key = NULL;
    *why = (struct error)ERROR_INIT;
    if (!sealing_key_make_trial(session, bits, custody, &key, why))
        return !session_lost(session) ? true : (*err = *why, false);
    bool ok = token_probe(session, key, out, err);
    struct error left = ERROR_INIT;
    if (!key_destroy(session, key, &left))
        print_warning("a trial key is left until the session ends: %s", left.text);
    sealing_key_free(&key);
    return ok;
}

static bool probe_sizes(struct session *session, struct matrix *matrix, struct error *err)
{
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        struct size_finding *size = &matrix->sizes[i];
        size->bits = sizes[i];
        fprintf(stderr, "RSA-%d: makes two keys and tries them\n", sizes[i]);
        if (!probe_size(session, sizes[i], CUSTODY_TOKEN, &size->token, &size->token_error, err) ||
            !probe_size(session, sizes[i], CUSTODY_HOST, &size->host, &size->host_error, err))
            return error_context(err, "RSA-%d", sizes[i]);
    }
    return true;
}

/* -- what is shown -- */

static bool was_probed(const struct error *why)
{
    return why->kind == FAIL_NONE;
}

static enum custody best_custody(const struct size_finding *size, size_t padding,
                                 enum cms_form form)
{
    if (was_probed(&size->token_error) &&
        size->token.paddings[padding].forms[form].custody == CUSTODY_TOKEN)
        return CUSTODY_TOKEN;
    return was_probed(&size->host_error) ? size->host.paddings[padding].forms[form].custody
                                         : CUSTODY_UNUSABLE;
}

static void print_decision(const struct size_finding *size, size_t padding)
{
    const struct padding_finding *finding = &size->token.paddings[padding];
    const struct form_finding *said = NULL;
    if (!was_probed(&size->token_error)) {
        printf(" %s |", size->token_error.text);
        return;
    }
    printf(" ");
    for (size_t i = 0; i < CMS_FORM_COUNT; i++) {
        const struct form_finding *form = &finding->forms[i];
        if (form->custody == CUSTODY_TOKEN ||
            (said != NULL && strcmp(said->call, form->call) == 0 &&
             strcmp(said->ck_rv, form->ck_rv) == 0))
            continue;
        printf("%s%s: %s", said != NULL ? "; " : "", form->call, form->ck_rv);
        said = form;
    }
    printf(" |");
}

static void print_quirks(const struct size_finding *size, size_t padding)
{
    const char *token =
        was_probed(&size->token_error) && size->token.paddings[padding].custody == CUSTODY_TOKEN
            ? size->token.paddings[padding].quirk
            : "";
    const char *host =
        was_probed(&size->host_error) && size->host.paddings[padding].custody != CUSTODY_UNUSABLE
            ? size->host.paddings[padding].quirk
            : "";
    printf(" %s%s%s%s |\n", token, token[0] != '\0' && host[0] != '\0' ? "; " : "",
           host[0] != '\0' ? "host: " : "", host);
}

static void print_size(const struct size_finding *size)
{
    for (size_t i = 0; i < PADDING_COUNT; i++) {
        printf("| RSA-%d | %s |", size->bits, padding_name((enum padding)(PADDING_FIRST + i)));
        for (size_t form = 0; form < CMS_FORM_COUNT; form++)
            printf(" %s |", custody_name(best_custody(size, i, (enum cms_form)form)));
        printf(" %u |", was_probed(&size->token_error) ? size->token.paddings[i].affixes : 0);
        print_decision(size, i);
        print_quirks(size, i);
    }
}

static void print_markdown(const struct matrix *matrix)
{
    const struct token_facts *token = &matrix->token;
    char when[CLOCK_TEXT];
    clock_format(clock_real_ms(), when);
    printf("%s %s, firmware %s; module %s. Reseal %s, %.10s.\n\n", token->manufacturer,
           token->model, token->firmware, token->library, RESEAL_VERSION, when);
    printf("| sealing key | padding |");
    for (size_t i = 0; i < CMS_FORM_COUNT; i++)
        printf(" %s |", cms_form_name((enum cms_form)i));
    printf(" text around, bytes | what kept it from custody token | done otherwise |\n");
    printf("|---|---|");
    for (size_t i = 0; i < CMS_FORM_COUNT + 3; i++)
        printf("---|");
    printf("\n");
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
        print_size(&matrix->sizes[i]);
}

static void put_key(struct json_writer *json, const char *name, const struct key_finding *key,
                    const struct error *why)
{
    if (was_probed(why)) {
        probe_key_write(json, name, key);
        return;
    }
    json_object(json, name);
    json_put_text(json, "error", why->text);
    json_object_end(json);
}

static void put_size(struct json_writer *json, const struct size_finding *size)
{
    json_object(json, NULL);
    json_put_integer(json, "bits", size->bits);
    json_array(json, "paddings");
    for (size_t i = 0; i < PADDING_COUNT; i++) {
        json_object(json, NULL);
        json_put_text(json, "padding", padding_name((enum padding)(PADDING_FIRST + i)));
        json_object(json, "custody");
        for (size_t form = 0; form < CMS_FORM_COUNT; form++)
            json_put_text(json, cms_form_name((enum cms_form)form),
                          custody_name(best_custody(size, i, (enum cms_form)form)));
        json_object_end(json);
        json_object_end(json);
    }
    json_array_end(json);
    put_key(json, "keyForToken", &size->token, &size->token_error);
    put_key(json, "keyForHost", &size->host, &size->host_error);
    json_object_end(json);
}

static bool print_as_json(const struct matrix *matrix, struct error *err)
{
    struct json_writer *json = NULL;
    char when[CLOCK_TEXT];
    if (!json_writer_new(true, &json, err))
        return false;
    clock_format(clock_real_ms(), when);
    json_object(json, NULL);
    json_put_text(json, "reseal", RESEAL_VERSION);
    json_put_text(json, "time", when);
    probe_token_write(json, &matrix->token);
    json_array(json, "sizes");
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
        put_size(json, &matrix->sizes[i]);
    json_array_end(json);
    json_object_end(json);
    bool ok = print_json(json, err);
    json_writer_free(&json);
    return ok;
}

static bool probe_token(const struct invocation *invocation, struct matrix *matrix,
                        struct error *err)
{
    struct token_address address;
    struct token *token = NULL;
    struct session *session = NULL;
    bool ok = false;
    if (!token_options_address(invocation, &address, err))
        return false;
    if (!token_open(&address, &token, err))
        return token_options_fault(err);
    token_facts_get(token, &matrix->token);
    ok = token_options_login(invocation, token, err) &&
         session_open(token, SESSION_READ_ONLY, &session, err) && probe_sizes(session, matrix, err);
    session_close(&session);
    token_close(&token);
    return ok;
}

bool run_token_matrix(const struct invocation *invocation, struct error *err)
{
    struct matrix *matrix = calloc(1, sizeof *matrix);
    if (matrix == NULL)
        return error_memory(err);
    bool ok = probe_token(invocation, matrix, err);
    if (ok && invocation_json(invocation))
        ok = print_as_json(matrix, err);
    else if (ok)
        print_markdown(matrix);
    free(matrix);
    return ok;
}
