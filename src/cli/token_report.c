/* SPDX-License-Identifier: Apache-2.0 */
#include "token_report.h"

#include <string.h>
#include "command.h"

const char *custody_advice(const struct key_finding *key, const struct padding_finding *finding)
{
    if (finding->custody == CUSTODY_TOKEN)
        return NULL;
    if (key->attributes.unwrap == 0)
        return "the key was made for custody host (CKA_UNWRAP is false): custody token needs a "
               "key that a ceremony makes with custody = token";
    if (strncmp(finding->call, "C_GetAttributeValue", 19) == 0)
        return "the token shows unwrapped secrets in clear: a token, or a release of it, that "
               "keeps CKA_SENSITIVE of an unwrapped secret is needed";
    if (finding->custody == CUSTODY_UNUSABLE && key->attributes.decrypt == 0)
        return "the token cannot do the whole job inside, and the key may not decrypt: use a "
               "token or a release of it that can, or make a key with custody = host";
    if (finding->custody == CUSTODY_UNUSABLE)
        return "use another padding, or a token or a release of it that can do this call";
    return "a token, or a release of it, that can do this call would raise it to custody token";
}

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

static bool print_paddings(const struct key_finding *key, FILE *out, struct error *err)
{
    static const char *const headers[] = {"  PADDING", "CUSTODY", "DECIDED BY", "ANSWER", "QUIRK"};
    struct table *table = NULL;
    bool ok = false;
    if (!table_new(headers, ARRAY_LEN(headers), &table, err))
        return false;
    for (size_t i = 0; i < PADDING_COUNT; i++) {
        const struct padding_finding *finding = &key->paddings[i];
        char name[32];
        if (!padding_valid((int)finding->padding)) /* not probed */
            continue;
        snprintf(name, sizeof name, "  %s", padding_name(finding->padding));
        const char *cells[] = {name, custody_name(finding->custody),
                               finding->call[0] != '\0' ? finding->call : NULL,
                               finding->ck_rv[0] != '\0' ? finding->ck_rv : NULL,
                               finding->quirk[0] != '\0' ? finding->quirk : NULL};
        if (!table_row(table, cells, err))
            goto done;
    }
    table_print(table, out);
    ok = true;
done:
    table_free(&table);
    return ok;
}

/* One line for each piece of advice, however many paddings share it. */
static void print_advice(const struct key_finding *key, FILE *out)
{
    for (size_t i = 0; i < PADDING_COUNT; i++) {
        const char *advice = custody_advice(key, &key->paddings[i]);
        bool said = advice == NULL;
        for (size_t j = 0; j < i && !said; j++)
            said = custody_advice(key, &key->paddings[j]) == advice;
        if (!said)
            fprintf(out, "  %s: %s\n", padding_name(key->paddings[i].padding), advice);
    }
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
        print_advice(&report->keys[i], out);
    }
    return true;
}
