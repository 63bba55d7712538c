/* SPDX-License-Identifier: Apache-2.0 */
#include "token_report.h"

#include <string.h>
#include "command.h"

static const char *three_valued(signed char value)
{
    return value > 0 ? "yes" : value == 0 ? "no" : "not told";
}

static void print_key(const struct key_finding *key, FILE *out)
{
    const struct key_attributes *has = &key->attributes;
    fprintf(out, "\nkey %s: RSA-%d, id %s\n", key->name, key->bits, key->id);
    fprintf(out, "  SHA-256 of the public key: %s\n", key->fingerprint);
    fprintf(out, "  sensitive %s, always sensitive %s, extractable %s, never extractable %s\n",
            three_valued(has->sensitive), three_valued(has->always_sensitive),
            three_valued(has->extractable), three_valued(has->never_extractable));
    fprintf(out, "  made on the token %s; may unwrap %s, decrypt %s, sign %s\n",
            three_valued(has->local), three_valued(has->unwrap), three_valued(has->decrypt),
            three_valued(has->sign));
}

static bool same_outcome(const struct form_finding *one, const struct form_finding *other)
{
    return one->custody == other->custody && strcmp(one->call, other->call) == 0 &&
           strcmp(one->ck_rv, other->ck_rv) == 0;
}

/* "rsaPkcs1, ecP256": the forms from `first` on that share its outcome; false where an earlier form
 * has named them already. */
static bool name_forms(const struct padding_finding *finding, size_t first, char *out, size_t size)
{
    const struct form_finding *forms = finding->forms;
    size_t count = 0, used = 0;
    for (size_t i = 0; i < first; i++) {
        if (same_outcome(&forms[i], &forms[first]))
            return false;
    }
    for (size_t i = first; i < CMS_FORM_COUNT; i++) {
        if (!same_outcome(&forms[i], &forms[first]))
            continue;
        used += (size_t)snprintf(out + used, size - used, "%s%s", count++ > 0 ? ", " : "",
                                 cms_form_name((enum cms_form)i));
    }
    if (count == CMS_FORM_COUNT)
        snprintf(out, size, "all");
    return true;
}

static bool add_row(struct table *table, const char *name, const char *forms,
                    const struct form_finding *outcome, struct error *err)
{
    const char *cells[] = {name, forms, custody_name(outcome->custody),
                           outcome->call[0] != '\0' ? outcome->call : NULL,
                           outcome->ck_rv[0] != '\0' ? outcome->ck_rv : NULL};
    return table_row(table, cells, err);
}

/* One row for each outcome; the forms that share it share the row. Of other device keys it is told
 * where theirs is not the best one. */
static bool add_padding(struct table *table, const struct padding_finding *finding,
                        struct error *err)
{
    char name[32];
    snprintf(name, sizeof name, "  %s", padding_name(finding->padding));
    for (size_t i = 0; i < CMS_FORM_COUNT; i++) {
        char forms[128];
        if (name_forms(finding, i, forms, sizeof forms) &&
            !add_row(table, name, forms, &finding->forms[i], err))
            return false;
    }
    return finding->others.custody == finding->custody ||
           add_row(table, name, "others", &finding->others, err);
}

static bool print_paddings(const struct key_finding *key, FILE *out, struct error *err)
{
    static const char *const headers[] = {"  PADDING", "DEVICE KEYS", "CUSTODY", "DECIDED BY",
                                          "ANSWER"};
    struct table *table = NULL;
    bool ok = false;
    if (!table_new(headers, ARRAY_LEN(headers), &table, err))
        return false;
    for (size_t i = 0; i < PADDING_COUNT; i++) {
        const struct padding_finding *finding = &key->paddings[i];
        if (padding_valid((int)finding->padding) && !add_padding(table, finding, err)) /* probed */
            goto done;
    }
    table_print(table, out);
    ok = true;
done:
    table_free(&table);
    return ok;
}

/* One line for each text, with the paddings that share it. */
static void print_shared(const struct key_finding *key, const char *what,
                         const char *(*text_of)(const struct padding_finding *finding), FILE *out)
{
    for (size_t i = 0; i < PADDING_COUNT; i++) {
        const char *text = text_of(&key->paddings[i]);
        bool said = text[0] == '\0';
        for (size_t j = 0; j < i && !said; j++)
            said = strcmp(text_of(&key->paddings[j]), text) == 0;
        if (said)
            continue;
        fprintf(out, "  %s (", what);
        for (size_t j = i, count = 0; j < PADDING_COUNT; j++) {
            if (strcmp(text_of(&key->paddings[j]), text) == 0)
                fprintf(out, "%s%s", count++ > 0 ? ", " : "",
                        padding_name(key->paddings[j].padding));
        }
        fprintf(out, "): %s\n", text);
    }
}

static const char *quirk_of(const struct padding_finding *finding)
{
    return finding->quirk;
}

static const char *advice_of(const struct padding_finding *finding)
{
    return finding->advice;
}

bool token_report_print(const struct probe_report *report, FILE *out, struct error *err)
{
    const struct token_facts *token = &report->token;
    fprintf(out, "token %s, serial %s: %s %s, firmware %s, slot %lu (%s)\n", token->label,
            token->serial, token->manufacturer, token->model, token->firmware, token->slot,
            token->library);
    for (size_t i = 0; i < report->key_count; i++) {
        print_key(&report->keys[i], out);
        if (!print_paddings(&report->keys[i], out, err))
            return false;
        print_shared(&report->keys[i], "done otherwise", quirk_of, out);
        print_shared(&report->keys[i], "to raise it", advice_of, out);
    }
    return true;
}
