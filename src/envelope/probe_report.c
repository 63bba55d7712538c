/* SPDX-License-Identifier: Apache-2.0 */
#include "reseal/probe_report.h"

#include <string.h>
#include "reseal/json.h"

const struct key_finding *probe_key(const struct probe_report *report, const char *key_name)
{
    for (size_t i = 0; i < report->key_count; i++) {
        if (strcmp(report->keys[i].name, key_name) == 0)
            return &report->keys[i];
    }
    return NULL;
}

const struct padding_finding *probe_padding(const struct key_finding *key, enum padding padding)
{
    for (size_t i = 0; i < PADDING_COUNT; i++) {
        if (key->paddings[i].padding == padding)
            return &key->paddings[i];
    }
    return NULL;
}

static void write_attribute(struct json_writer *json, const char *name, signed char value)
{
    if (value < 0)
        json_put_null(json, name); /* the token does not say */
    else
        json_put_bool(json, name, value != 0);
}

void probe_token_write(struct json_writer *json, const struct token_facts *token)
{
    json_object(json, "token");
    json_put_text(json, "label", token->label);
    json_put_text(json, "serial", token->serial);
    json_put_text(json, "manufacturer", token->manufacturer);
    json_put_text(json, "model", token->model);
    json_put_text(json, "firmware", token->firmware);
    json_put_text(json, "library", token->library);
    json_put_integer(json, "slot", (int64_t)token->slot);
    json_object_end(json);
}

static void write_attributes(struct json_writer *json, const struct key_attributes *attributes)
{
    json_object(json, "attributes");
    write_attribute(json, "sensitive", attributes->sensitive);
    write_attribute(json, "alwaysSensitive", attributes->always_sensitive);
    write_attribute(json, "extractable", attributes->extractable);
    write_attribute(json, "neverExtractable", attributes->never_extractable);
    write_attribute(json, "local", attributes->local);
    write_attribute(json, "unwrap", attributes->unwrap);
    write_attribute(json, "decrypt", attributes->decrypt);
    write_attribute(json, "sign", attributes->sign);
    json_object_end(json);
}

static void write_outcome(struct json_writer *json, const struct form_finding *form)
{
    json_put_text(json, "custody", custody_name(form->custody));
    json_put_text(json, "call", form->call[0] != '\0' ? form->call : NULL);
    json_put_text(json, "ckRv", form->ck_rv[0] != '\0' ? form->ck_rv : NULL);
}

static void write_forms(struct json_writer *json, const struct padding_finding *finding)
{
    json_array(json, "forms");
    for (size_t i = 0; i < CMS_FORM_COUNT; i++) {
        json_object(json, NULL);
        json_put_text(json, "form", cms_form_name((enum cms_form)i));
        write_outcome(json, &finding->forms[i]);
        json_object_end(json);
    }
    json_array_end(json);
    json_object(json, "others");
    write_outcome(json, &finding->others);
    json_object_end(json);
}

void probe_key_write(struct json_writer *json, const char *name, const struct key_finding *key)
{
    json_object(json, name);
    json_put_text(json, "name", key->name);
    json_put_text(json, "id", key->id);
    json_put_integer(json, "bits", key->bits);
    json_put_text(json, "fingerprint", key->fingerprint);
    write_attributes(json, &key->attributes);
    json_array(json, "paddings");
    for (size_t i = 0; i < PADDING_COUNT; i++) {
        const struct padding_finding *finding = &key->paddings[i];
        if (!padding_valid((int)finding->padding)) /* not probed */
            continue;
        json_object(json, NULL);
        json_put_text(json, "padding", padding_name(finding->padding));
        json_put_text(json, "custody", custody_name(finding->custody));
        json_put_text(json, "call", finding->call[0] != '\0' ? finding->call : NULL);
        json_put_text(json, "ckRv", finding->ck_rv[0] != '\0' ? finding->ck_rv : NULL);
        json_put_text(json, "quirk", finding->quirk[0] != '\0' ? finding->quirk : NULL);
        json_put_text(json, "advice", finding->advice[0] != '\0' ? finding->advice : NULL);
        json_put_integer(json, "affixes", finding->affixes);
        write_forms(json, finding);
        json_object_end(json);
    }
    json_array_end(json);
    json_object_end(json);
}

void probe_report_write(struct json_writer *json, const struct probe_report *report)
{
    probe_token_write(json, &report->token);
    json_array(json, "keys");
    for (size_t i = 0; i < report->key_count; i++)
        probe_key_write(json, NULL, &report->keys[i]);
    json_array_end(json);
}
