/* SPDX-License-Identifier: Apache-2.0 */
/* `reseal pfx import`: one file is one record and one POST, so no file is ever half imported, and
 * what was cut off is begun again as it was. */
#include "pfx_import.h"

#include <string.h>
#include "client.h"
#include "login.h"
#include "pfx_list.h"
#include "pfx_make.h"
#include "reseal/clock.h"
#include "reseal/file.h"

#define FILE_MAX (256 * 1024)
#define AWAY_MAX 5U /* rows of a list without an answer of the store, before it is given up */

static const struct json_limits file_limits = {
    .bytes = FILE_MAX, .string = 128 * 1024, .values = 256};

/* What happened to one file, for people or for --json. */
struct report {
    struct json_writer *json; /* NULL: lines */
    int status;               /* of the first file that failed */
};

static void report_done(const struct report *report, const char *file, const struct record *record)
{
    if (report->json == NULL) {
        printf("%s\n", record->id);
        return;
    }
    json_object(report->json, NULL);
    json_put_text(report->json, "file", file);
    json_put_text(report->json, "id", record->id);
    json_put_text(report->json, "userPrincipalName", record->user_principal_name);
    json_put_text(report->json, "thumbprint", record->thumbprint);
    json_object_end(report->json);
}

static void report_failure(struct report *report, const char *file, const struct error *reason)
{
    if (report->status == 0)
        report->status = error_exit_status(reason->kind);
    fflush(stdout);
    fprintf(stderr, "reseal: %s\n", reason->text);
    if (reason->hint[0] != '\0')
        fprintf(stderr, "hint: %s\n", reason->hint);
    if (report->json == NULL)
        return;
    json_object(report->json, NULL);
    json_put_text(report->json, "file", file);
    json_object(report->json, "error");
    json_put_text(report->json, "kind", failure_name(reason->kind));
    json_put_text(report->json, "message", reason->text);
    json_object_end(report->json);
    json_object_end(report->json);
}

static bool read_file(const char *path, struct record *record, struct error *err)
{
    struct buf text = BUF_INIT(FILE_MAX);
    struct json *json = NULL;
    bool ok = false;
    if (!file_read(path, &text, err)) /* names the file */
        goto done;
    ok = json_parse(text.data, text.len, &file_limits, "the record", &json, err) &&
         record_read(json_root(json), RECORD_WITH_SECRETS, record, err);
    if (!ok)
        error_context(err, "%s", path);
done:
    json_free(&json);
    buf_free(&text);
    if (!ok && (err->kind == FAIL_INPUT || err->kind == FAIL_NOT_FOUND))
        error_hint(err, "a record is made by: reseal pfx new --pfx FILE --user UPN --out RECORD");
    return ok;
}

static bool post(struct client *client, struct record *record, struct error *err)
{
    if (records_post(client->records, record, err))
        return true;
    if (err->kind == FAIL_EXISTS)
        error_hint(err, "remove it first: reseal pfx remove --user %s --thumbprint %s",
                   record->user_principal_name, record->thumbprint);
    return false;
}

static void import_file(struct client *client, const char *path, struct report *report)
{
    struct error reason = ERROR_INIT;
    struct record record;
    record_init(&record);
    bool ok = read_file(path, &record, &reason);
    if (ok && !post(client, &record, &reason))
        ok = error_context(&reason, "%s", path);
    if (ok)
        report_done(report, path, &record);
    else
        report_failure(report, path, &reason);
    record_free(&record);
}

static bool import_made(const struct invocation *invocation, struct client *client,
                        const struct report *report, struct error *err)
{
    struct record record;
    record_init(&record);
    bool ok = pfx_make(invocation, &record, err) && post(client, &record, err);
    if (ok)
        report_done(report, invocation_option(invocation, "pfx"), &record);
    record_free(&record);
    return ok;
}

/* -- a list -- */

/* What became of its rows. */
struct tally {
    size_t imported, there, failed;
    unsigned away; /* rows in a row for which the store did not answer */
};

static void report_there(const struct report *report, const struct pfx_list_row *row,
                         const struct record *record)
{
    if (report->json == NULL)
        return;
    json_object(report->json, NULL);
    json_put_text(report->json, "file", row->path);
    json_put_bool(report->json, "already", true);
    json_put_text(report->json, "userPrincipalName", record->user_principal_name);
    json_put_text(report->json, "thumbprint", record->thumbprint);
    json_object_end(report->json);
}

/* Once more with a fresh login, where the first has run out meanwhile. */
static bool post_again(const struct invocation *invocation, struct client *client,
                       struct record *record, struct error *err)
{
    const struct config *config;
    struct error ignored = ERROR_INIT;
    if (!invocation_config(invocation, &config, &ignored) || login_kind(config) == LOGIN_BY_TOKEN)
        return false;
    *err = (struct error)ERROR_INIT;
    client_close(client);
    return client_open(invocation, client, err) && records_post(client->records, record, err);
}

static bool make_row(const struct pfx_maker *maker, const struct pfx_list_row *row,
                     struct record *record, struct error *err)
{
    struct secret *password = NULL;
    if (!pfx_list_password(row, &password, err))
        return false;
    const struct pfx_wish wish = {
        .path = row->path, .user = row->user, .purpose = row->purpose, .password = password};
    bool ok = pfx_maker_make(maker, &wish, record, err);
    secret_free(&password);
    return ok;
}

static void import_row(const struct invocation *invocation, struct client *client,
                       const struct pfx_maker *maker, const struct pfx_list_row *row,
                       struct report *report, struct tally *tally)
{
    struct error reason = ERROR_INIT;
    struct record record;
    record_init(&record);
    bool ok = make_row(maker, row, &record, &reason) &&
              (records_post(client->records, &record, &reason) ||
               (reason.kind == FAIL_AUTH && post_again(invocation, client, &record, &reason)));
    tally->away = !ok && reason.kind == FAIL_REMOTE ? tally->away + 1 : 0;
    if (ok) {
        tally->imported++;
        report_done(report, row->path, &record);
    } else if (reason.kind == FAIL_EXISTS) {
        tally->there++;
        report_there(report, row, &record);
    } else {
        tally->failed++;
        error_context(&reason, "line %u", row->line);
        if (reason.kind == FAIL_NOT_FOUND && reason.hint[0] == '\0')
            error_hint(&reason, "paths of a list are relative to the list");
        report_failure(report, row->path, &reason);
    }
    record_free(&record);
}

static bool fail_away(const char *path, unsigned line, struct error *err)
{
    error_set(err, FAIL_REMOTE, "%s: the store has not answered %u times in a row, up to line %u",
              path, AWAY_MAX, line);
    return error_hint(err, "run the command again when it does: what is there is passed over");
}

static bool import_list(const struct invocation *invocation, struct client *client,
                        struct report *report, struct error *err)
{
    const char *path = invocation_option(invocation, "list");
    struct tally tally = {0};
    struct pfx_maker maker = {.key = NULL};
    struct pfx_list list;
    struct pfx_list_row row;
    bool found = true, ok = false;
    bool begun = pfx_list_open(path, &list, err) && pfx_maker_open(invocation, &maker, err);
    if (!begun)
        goto done;
    while (found) {
        if (!pfx_list_next(&list, &row, &found, err)) {
            error_context(err, "%s", path);
            error_hint(err, "mend it and run the command again: what is there is passed over");
            goto done;
        }
        if (found)
            import_row(invocation, client, &maker, &row, report, &tally);
        if (tally.away == AWAY_MAX) {
            fail_away(path, row.line, err);
            goto done;
        }
    }
    ok = true;
done:
    if (begun)
        fprintf(stderr, "%zu imported, %zu there already, %zu failed\n", tally.imported,
                tally.there, tally.failed);
    pfx_maker_close(&maker);
    pfx_list_close(&list);
    return ok;
}

static bool check_arguments(const struct invocation *invocation, struct error *err)
{
    static const char *const of_one[] = {"user", "password", "purpose"};
    static const char *const made[] = {"public-key", "key-name", "provider", "padding"};
    bool pfx = invocation_option(invocation, "pfx") != NULL;
    bool list = invocation_option(invocation, "list") != NULL;
    bool files = invocation_count(invocation) > 0;
    if (pfx + list + files != 1) {
        error_set(err, FAIL_USAGE, "%s",
                  pfx || list || files
                      ? "give either record files, or --pfx to make one, or --list to make many"
                      : "nothing to import");
        return error_hint(err, "reseal pfx import RECORD..., or reseal pfx import --pfx FILE "
                               "--user UPN, or reseal pfx import --list FILE");
    }
    for (size_t i = 0; !pfx && i < ARRAY_LEN(of_one); i++) {
        if (invocation_option(invocation, of_one[i]) != NULL)
            return error_set(err, FAIL_USAGE, "--%s goes with --pfx alone", of_one[i]);
    }
    for (size_t i = 0; files && i < ARRAY_LEN(made); i++) {
        if (invocation_option(invocation, made[i]) != NULL)
            return error_set(err, FAIL_USAGE,
                             "--%s goes with --pfx or --list, not with record files", made[i]);
    }
    return true;
}

static bool finish_report(struct report *report, struct error *err)
{
    if (report->json == NULL)
        return true;
    json_array_end(report->json);
    json_object_end(report->json);
    return print_json(report->json, err);
}

bool pfx_import_run(const struct invocation *invocation, struct error *err)
{
    struct client client = {0};
    struct report report = {0};
    bool ok = false;
    if (!check_arguments(invocation, err) || !client_open(invocation, &client, err))
        goto done;
    if (invocation_json(invocation)) {
        if (!json_writer_new(true, &report.json, err))
            goto done;
        json_object(report.json, NULL);
        json_array(report.json, "imported");
    }
    for (size_t i = 0; i < invocation_count(invocation); i++)
        import_file(&client, invocation_argument(invocation, i), &report);
    if (invocation_option(invocation, "pfx") != NULL &&
        !import_made(invocation, &client, &report, err))
        goto done;
    /* What was done is reported in any case. */
    bool whole = invocation_option(invocation, "list") == NULL ||
                 import_list(invocation, &client, &report, err);
    struct error told = ERROR_INIT;
    if (!finish_report(&report, whole ? err : &told) || !whole)
        goto done;
    if (report.status != 0)
        invocation_set_status(invocation, report.status);
    ok = true;
done:
    json_writer_free(&report.json);
    client_close(&client);
    return ok;
}
