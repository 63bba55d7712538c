/* SPDX-License-Identifier: Apache-2.0 */
#include "reseal/message_facts.h"

#include <stdio.h>
#include <string.h>
#include "reseal/json.h"

/* A text that anybody may have sent, cut to what fits and made fit to be shown. */
static void take_text(const struct json_value *object, const char *key, char *out, size_t size)
{
    size_t len = 0;
    const struct json_value *value = json_get(object, key);
    const char *text = json_text(value, &len);
    out[0] = '\0';
    if (text == NULL || json_type(value) != JSON_STRING)
        return;
    if (len >= size)
        len = size - 1;
    while (len > 0 && !utf8_is_strict(text, len)) /* never cut inside a character */
        len--;
    memcpy(out, text, len);
    out[len] = '\0';
    text_make_printable(out);
}

static bool has_text(const struct json_value *object, const char *key)
{
    size_t len = 0;
    return json_text(json_get(object, key), &len) != NULL && len > 0;
}

static void take_envelope(const struct json_value *root, struct message_facts *out)
{
    take_text(root, "type", out->type, sizeof out->type);
    take_text(root, "id", out->id, sizeof out->id);
    take_text(root, "source", out->source, sizeof out->source);
    take_text(root, "subject", out->subject, sizeof out->subject);
    take_text(root, "time", out->time, sizeof out->time);
}

void message_facts_read(struct bytes body, struct message_facts *out)
{
    static const struct json_limits limits = {
        .bytes = MESSAGE_MAX, .string = MESSAGE_MAX, .values = 128};
    struct error err = ERROR_INIT;
    struct json *json = NULL;
    *out = (struct message_facts){0};
    if (!json_parse(body.data, body.len, &limits, "the message", &json, &err)) {
        snprintf(out->trouble, sizeof out->trouble, "%.255s", err.text);
        return;
    }
    const struct json_value *root = json_root(json);
    const struct json_value *data = json_get(root, "data");
    take_envelope(root, out);
    take_text(data, "expires", out->expires, sizeof out->expires);
    take_text(data, "outcome", out->outcome, sizeof out->outcome);
    out->sealed_password = has_text(data, "encryptedPfxPassword");
    out->pfx = has_text(data, "encryptedPfxBlob");
    out->certificate = has_text(json_get(data, "device"), "certificate");
    out->payload = has_text(data, "payload");
    out->readable = out->type[0] != '\0' && out->id[0] != '\0';
    if (!out->readable)
        snprintf(out->trouble, sizeof out->trouble, "JSON without the type and id of a message");
    json_free(&json);
}

static void put_text(struct json_writer *json, const char *key, const char *text)
{
    json_put_text(json, key, text[0] != '\0' ? text : NULL);
}

void message_facts_write(struct json_writer *json, const struct message_facts *facts)
{
    json_put_bool(json, "readable", facts->readable);
    put_text(json, "trouble", facts->trouble);
    put_text(json, "type", facts->type);
    put_text(json, "id", facts->id);
    put_text(json, "source", facts->source);
    put_text(json, "subject", facts->subject);
    put_text(json, "time", facts->time);
    put_text(json, "expires", facts->expires);
    put_text(json, "outcome", facts->outcome);
    json_object(json, "holds");
    json_put_bool(json, "sealedPassword", facts->sealed_password);
    json_put_bool(json, "pfx", facts->pfx);
    json_put_bool(json, "deviceCertificate", facts->certificate);
    json_put_bool(json, "payload", facts->payload);
    json_object_end(json);
}

void message_facts_take(const struct json_value *object, struct message_facts *out)
{
    const struct json_value *holds = json_get(object, "holds");
    *out = (struct message_facts){.readable = json_true(json_get(object, "readable"))};
    take_text(object, "trouble", out->trouble, sizeof out->trouble);
    take_envelope(object, out);
    take_text(object, "expires", out->expires, sizeof out->expires);
    take_text(object, "outcome", out->outcome, sizeof out->outcome);
    out->sealed_password = json_true(json_get(holds, "sealedPassword"));
    out->pfx = json_true(json_get(holds, "pfx"));
    out->certificate = json_true(json_get(holds, "deviceCertificate"));
    out->payload = json_true(json_get(holds, "payload"));
}

void message_facts_contents(const struct message_facts *facts, char *out, size_t size)
{
    const struct {
        bool there;
        const char *words;
    } kinds[] = {
        {facts->sealed_password, "a sealed password"},
        {facts->pfx, "a PFX behind its password"},
        {facts->certificate, "a device certificate"},
        {facts->payload, "a CMS message for one device"},
    };
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < ARRAY_LEN(kinds) && used < size; i++) {
        if (kinds[i].there)
            used += (size_t)snprintf(out + used, size - used, "%s%s", used > 0 ? ", " : "",
                                     kinds[i].words);
    }
}
