/* SPDX-License-Identifier: Apache-2.0 */
/* `reseal pfx new|import|list|get|remove`: the importer. */
#include <string.h>
#include "client.h"
#include "pfx_import.h"
#include "pfx_make.h"
#include "reseal/clock.h"
#include "reseal/file.h"
#include "reseal/text.h"

#define RECORD_TEXT_MAX (256 * 1024)

static bool record_json(const struct record *record, enum record_secrets secrets,
                        struct json_writer **out, struct error *err)
{
    if (!json_writer_new(true, out, err))
        return false;
    json_object(*out, NULL);
    record_write(*out, record, secrets);
    json_object_end(*out);
    return true;
}

static bool write_record(const struct record *record, const char *path, struct error *err)
{
    struct json_writer *json = NULL;
    struct buf text = BUF_INIT(RECORD_TEXT_MAX);
    if (!record_json(record, RECORD_WITH_SECRETS, &json, err))
        return false;
    bool ok = path == NULL ? print_json(json, err)
                           : json_finish(json, &text, err) &&
                                 file_write(path, 0600, FILE_NEW, buf_bytes(&text), err);
    if (ok && path != NULL)
        fprintf(stderr, "wrote the record of %s for %s to %s\n", record->thumbprint,
                record->user_principal_name, path);
    buf_free(&text);
    json_writer_free(&json);
    return ok;
}

static bool run_new(const struct invocation *invocation, struct error *err)
{
    struct record record;
    record_init(&record);
    bool ok = pfx_make(invocation, &record, err) &&
              write_record(&record, invocation_option(invocation, "out"), err);
    record_free(&record);
    return ok;
}

static void day_of(int64_t ms, char out[static CLOCK_TEXT])
{
    clock_format(ms, out);
    out[10] = '\0'; /* the date of "2026-11-23T..." */
}

/* Where the listed records go. */
struct listing {
    struct table *table;
    struct json_writer *json;
    size_t count;
};

static bool list_one(void *context, const struct record *record, struct error *err)
{
    struct listing *listing = context;
    char expires[CLOCK_TEXT];
    listing->count++;
    if (listing->json != NULL) {
        json_object(listing->json, NULL);
        record_write(listing->json, record, RECORD_WITHOUT_SECRETS);
        json_object_end(listing->json);
        return true;
    }
    day_of(record->not_after_ms, expires);
    const char *cells[] = {record->user_principal_name,
                           purpose_name(record->purpose),
                           expires,
                           record->key_name,
                           padding_name(record->padding),
                           record->id};
    return table_row(listing->table, cells, err);
}

static bool open_listing(bool as_json, struct listing *listing, struct error *err)
{
    static const char *const headers[] = {"USER", "PURPOSE", "EXPIRES", "KEY", "PADDING", "ID"};
    if (!as_json)
        return table_new(headers, ARRAY_LEN(headers), &listing->table, err);
    if (!json_writer_new(true, &listing->json, err))
        return false;
    json_object(listing->json, NULL);
    json_array(listing->json, "records");
    return true;
}

static bool close_listing(struct listing *listing, struct error *err)
{
    if (listing->json == NULL) {
        if (listing->count > 0)
            table_print(listing->table, stdout);
        else
            fprintf(stderr, "no records\n");
        return true;
    }
    json_array_end(listing->json);
    json_object_end(listing->json);
    return print_json(listing->json, err);
}

static bool filter_options(const struct invocation *invocation, const char **upn,
                           char thumbprint[static RECORD_THUMBPRINT], struct error *err)
{
    const char *text = invocation_option(invocation, "thumbprint");
    *upn = invocation_option(invocation, "user");
    thumbprint[0] = '\0';
    if (*upn != NULL && ((*upn)[0] == '\0' || strlen(*upn) > RECORD_UPN_MAX))
        return error_set(err, FAIL_USAGE, "--user must have 1 to %d bytes", RECORD_UPN_MAX);
    if (*upn != NULL && !utf8_is_strict(*upn, strlen(*upn)))
        return error_set(err, FAIL_USAGE, "--user is not text in UTF-8");
    return text == NULL || thumbprint_parse(text, thumbprint, err);
}

static bool run_list(const struct invocation *invocation, struct error *err)
{
    struct client client = {0};
    struct listing listing = {0};
    const char *upn;
    char thumbprint[RECORD_THUMBPRINT];
    bool ok = filter_options(invocation, &upn, thumbprint, err) &&
              client_open(invocation, &client, err) &&
              open_listing(invocation_json(invocation), &listing, err) &&
              records_list(client.records, upn, thumbprint[0] != '\0' ? thumbprint : NULL, list_one,
                           &listing, err) &&
              close_listing(&listing, err);
    table_free(&listing.table);
    json_writer_free(&listing.json);
    client_close(&client);
    return ok;
}

static void print_time(const char *name, int64_t ms)
{
    char text[CLOCK_TEXT];
    clock_format(ms, text);
    printf("%-12s%s\n", name, ms != 0 ? text : "-");
}

static bool print_record(const struct record *record, bool as_json, struct error *err)
{
    struct json_writer *json = NULL;
    if (as_json) {
        bool ok = record_json(record, RECORD_WITHOUT_SECRETS, &json, err) && print_json(json, err);
        json_writer_free(&json);
        return ok;
    }
    printf("%-12s%s\n", "id", record->id);
    printf("%-12s%s\n", "user", record->user_principal_name);
    printf("%-12s%s\n", "thumbprint", record->thumbprint);
    printf("%-12s%s\n", "purpose", purpose_name(record->purpose));
    print_time("valid from", record->not_before_ms);
    print_time("valid until", record->not_after_ms);
    printf("%-12s%s\n", "key", record->key_name);
    printf("%-12s%s\n", "provider", record->provider_name);
    printf("%-12s%s\n", "padding", padding_name(record->padding));
    print_time("created", record->created_ms);
    print_time("modified", record->modified_ms);
    return true;
}

static bool run_get(const struct invocation *invocation, struct error *err)
{
    struct client client = {0};
    struct record record;
    record_init(&record);
    bool ok = client_open(invocation, &client, err) &&
              records_get(client.records, invocation_argument(invocation, 0), &record, err) &&
              print_record(&record, invocation_json(invocation), err);
    record_free(&record);
    client_close(&client);
    return ok;
}

/* The one record that --user and --thumbprint name. */
struct search {
    const char *upn;
    const char *thumbprint;
    char id[RECORD_ID_MAX + 1];
    size_t count;
};

/* What is to be removed is compared here too: a service that ignores the filter would otherwise
 * name every record. */
static bool find_one(void *context, const struct record *record, struct error *err)
{
    struct search *search = context;
    (void)err;
    if (!text_equal_nocase(record->user_principal_name, search->upn) ||
        strcmp(record->thumbprint, search->thumbprint) != 0)
        return true;
    memcpy(search->id, record->id, sizeof search->id);
    search->count++;
    return true;
}

static bool find_id(const struct invocation *invocation, struct client *client,
                    struct search *search, struct error *err)
{
    char thumbprint[RECORD_THUMBPRINT];
    if (!filter_options(invocation, &search->upn, thumbprint, err))
        return false;
    if (search->upn == NULL || thumbprint[0] == '\0') {
        error_set(err, FAIL_USAGE, "which record is to be removed?");
        return error_hint(err, "give its ID, or both --user and --thumbprint");
    }
    search->thumbprint = thumbprint;
    bool ok = client_open(invocation, client, err) &&
              records_list(client->records, search->upn, thumbprint, find_one, search, err);
    search->thumbprint = NULL; /* ends with this function */
    if (!ok)
        return false;
    if (search->count == 1)
        return true;
    error_set(err, search->count == 0 ? FAIL_NOT_FOUND : FAIL_INPUT,
              "%zu records of %s have this thumbprint; nothing was removed", search->count,
              search->upn);
    return error_hint(err, "see: reseal pfx list --user %s", search->upn);
}

static bool run_remove(const struct invocation *invocation, struct error *err)
{
    struct client client = {0};
    struct search search = {0};
    bool ok = false;
    const char *id = invocation_argument(invocation, 0);
    bool narrowed = invocation_option(invocation, "user") != NULL ||
                    invocation_option(invocation, "thumbprint") != NULL;
    if (id != NULL && narrowed) {
        error_set(err, FAIL_USAGE, "give either an ID, or --user and --thumbprint, not both");
        goto done;
    }
    if (id != NULL ? !client_open(invocation, &client, err)
                   : !find_id(invocation, &client, &search, err))
        goto done;
    id = id != NULL ? id : search.id;
    if (!records_delete(client.records, id, err))
        goto done;
    fprintf(stderr, "removed\n");
    printf("%s\n", id);
    ok = true;
done:
    client_close(&client);
    return ok;
}

static const struct command_option new_options[] = {
    PFX_MAKE_OPTIONS,
    {"out", "FILE", "write the record to a new file instead of standard output"},
    {NULL, NULL, NULL},
};

static const struct command_option import_options[] = {
    PFX_MAKE_OPTIONS,
    {"list", "FILE", "many: CSV with the columns pfx, user, password or password_file, purpose"},
    {NULL, NULL, NULL},
};

static const struct command_option filter_rows[] = {
    {"user", "UPN", "only records of this user"},
    {"thumbprint", "HEX", "only the record of this certificate (SHA-1)"},
    {NULL, NULL, NULL},
};

const struct command pfx_commands[] = {
    {"pfx", "new", "--pfx FILE --user UPN",
     "seal the password of a PFX file into a record; no token is needed", new_options, 0, 0,
     run_new},
    {"pfx", "import", "[FILE...]",
     "post records made by pfx new, or make and post one, or many of a list", import_options, 0,
     100000, pfx_import_run},
    {"pfx", "list", "", "list the records of the store", filter_rows, 0, 0, run_list},
    {"pfx", "get", "ID", "show one record", NULL, 1, 1, run_get},
    {"pfx", "remove", "[ID]", "remove a record by its id, or by --user and --thumbprint",
     filter_rows, 0, 1, run_remove},
    {NULL, NULL, NULL, NULL, NULL, 0, 0, NULL},
};
