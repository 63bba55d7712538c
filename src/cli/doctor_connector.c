/* SPDX-License-Identifier: Apache-2.0 */
/* What the running connector has already proved is taken from its status, so that no PIN is tried
 * for it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "doctor.h"
#include "reseal/probe_report.h"
#include "status_client.h"

#define WHERE "keys"

static signed char three_valued(const struct json_value *attributes, const char *name)
{
    const struct json_value *value = json_get(attributes, name);
    if (value == NULL || json_type(value) != JSON_BOOL)
        return -1;
    return json_true(value) ? 1 : 0;
}

static bool copy_text(const struct json_value *object, const char *name, char *out, size_t size,
                      struct error *err)
{
    const char *text = NULL;
    if (!json_may_text(object, WHERE, name, size - 1, &text, err))
        return false;
    snprintf(out, size, "%s", text != NULL ? text : "");
    return true;
}

static bool read_custody(const struct json_value *object, enum custody *out, struct error *err)
{
    char name[16];
    if (!copy_text(object, "custody", name, sizeof name, err))
        return false;
    return custody_parse(name, out) || error_set(err, FAIL_INPUT, "\"%s\" is no custody", name);
}

static bool read_outcome(const struct json_value *object, struct form_finding *out,
                         struct error *err)
{
    return read_custody(object, &out->custody, err) &&
           copy_text(object, "call", out->call, sizeof out->call, err) &&
           copy_text(object, "ckRv", out->ck_rv, sizeof out->ck_rv, err);
}

static bool read_form(const struct json_value *object, struct padding_finding *out,
                      struct error *err)
{
    char name[32];
    enum cms_form form;
    if (!copy_text(object, "form", name, sizeof name, err))
        return false;
    if (!cms_form_parse(name, &form))
        return error_set(err, FAIL_INPUT, "\"%s\" is no form of message", name);
    return read_outcome(object, &out->forms[form], err);
}

static bool read_padding(const struct json_value *object, struct padding_finding *out,
                         struct error *err)
{
    const struct json_value *forms = NULL, *others = NULL;
    char name[32];
    int64_t affixes;
    if (!copy_text(object, "padding", name, sizeof name, err) ||
        !read_custody(object, &out->custody, err) ||
        !copy_text(object, "call", out->call, sizeof out->call, err) ||
        !copy_text(object, "ckRv", out->ck_rv, sizeof out->ck_rv, err) ||
        !copy_text(object, "quirk", out->quirk, sizeof out->quirk, err) ||
        !copy_text(object, "advice", out->advice, sizeof out->advice, err) ||
        !json_want_integer(object, WHERE, "affixes", 0, CMS_DER_MAX, &affixes, err) ||
        !json_want_array(object, WHERE, "forms", &forms, err) ||
        !json_want_object(object, WHERE, "others", &others, err) ||
        !read_outcome(others, &out->others, err) || !padding_parse(name, &out->padding, err))
        return false;
    out->affixes = (uint32_t)affixes;
    for (size_t i = 0; i < json_count(forms); i++) {
        if (!read_form(json_at(forms, i), out, err))
            return false;
    }
    return true;
}

/* Reads what probe_report_write writes of one key. */
static bool read_key(const struct json_value *object, struct key_finding *out, struct error *err)
{
    const struct json_value *attributes = NULL, *paddings = NULL;
    int64_t bits;
    memset(out, 0, sizeof *out);
    if (!copy_text(object, "name", out->name, sizeof out->name, err) ||
        !copy_text(object, "id", out->id, sizeof out->id, err) ||
        !copy_text(object, "fingerprint", out->fingerprint, sizeof out->fingerprint, err) ||
        !json_want_integer(object, WHERE, "bits", 0, 65536, &bits, err) ||
        !json_want_object(object, WHERE, "attributes", &attributes, err) ||
        !json_want_array(object, WHERE, "paddings", &paddings, err))
        return false;
    out->bits = (int)bits;
    out->attributes = (struct key_attributes){
        .sensitive = three_valued(attributes, "sensitive"),
        .always_sensitive = three_valued(attributes, "alwaysSensitive"),
        .extractable = three_valued(attributes, "extractable"),
        .never_extractable = three_valued(attributes, "neverExtractable"),
        .local = three_valued(attributes, "local"),
        .unwrap = three_valued(attributes, "unwrap"),
        .decrypt = three_valued(attributes, "decrypt"),
        .sign = three_valued(attributes, "sign"),
    };
    for (size_t i = 0; i < json_count(paddings) && i < PADDING_COUNT; i++) {
        if (!read_padding(json_at(paddings, i), &out->paddings[i], err))
            return false;
    }
    return true;
}

static void report_keys(struct doctor *doctor, const struct json_value *keys)
{
    size_t count = config_list_count(doctor->config, doctor->section, "key");
    for (size_t wanted = 0; wanted < count; wanted++) {
        const char *name = config_list_at(doctor->config, doctor->section, "key", wanted);
        struct key_finding finding;
        struct error err = ERROR_INIT;
        bool found = false;
        for (size_t i = 0; i < json_count(keys) && !found; i++) {
            const char *text = json_text(json_get(json_at(keys, i), "name"), NULL);
            if (text == NULL || strcmp(text, name) != 0)
                continue;
            found = true;
            if (read_key(json_at(keys, i), &finding, &err))
                doctor_key(doctor, &finding);
            else
                doctor_error(doctor, DOCTOR_CONNECTOR, MARK_FAILURE, &err,
                             "are `reseal` and reseald of one release?");
        }
        if (!found)
            doctor_say(doctor, DOCTOR_KEY, MARK_FAILURE,
                       "restart reseald; it reads its configuration when it starts",
                       "%s: the running connector does not serve this key", name);
    }
}

static const char *text_of(const struct json_value *object, const char *name)
{
    const char *text = json_text(json_get(object, name), NULL);
    return text != NULL ? text : "";
}

static const char *trouble_hint(const struct json_value *helper, const char *otherwise)
{
    const char *hint = text_of(json_get(helper, "error"), "hint");
    return hint[0] != '\0' ? hint : otherwise;
}

/* "error" is null, a text, or an object with one. */
static const char *trouble(const struct json_value *helper)
{
    const struct json_value *error = json_get(helper, "error");
    const char *text = json_text(error, NULL);
    return text != NULL ? text : text_of(error, "text");
}

static const struct json_value *token_named(const struct json_value *root, const char *name)
{
    const struct json_value *tokens = json_get(root, "tokens");
    for (size_t i = 0; i < json_count(tokens); i++) {
        const struct json_value *token = json_at(tokens, i);
        if (strcmp(text_of(token, "name"), name) == 0)
            return token;
    }
    return NULL;
}

static void report_exposed_pins(struct doctor *doctor, const struct json_value *tokens)
{
    for (size_t i = 0; i < json_count(tokens); i++) {
        const struct json_value *token = json_at(tokens, i);
        if (json_true(json_get(token, "pinExposed")))
            doctor_say(doctor, DOCTOR_CONNECTOR, MARK_WARNING, EXPOSED_PIN_HINT,
                       "%s: the PIN lies where reseald can read it, though it is shut in",
                       text_of(token, "name"));
    }
}

static void report_sandbox(struct doctor *doctor, const struct json_value *root)
{
    const char *sandbox = text_of(root, "sandbox");
    bool whole = strcmp(sandbox, "landlock and seccomp") == 0;
    if (whole)
        doctor_say(doctor, DOCTOR_CONNECTOR, MARK_OK, NULL, "reseald is shut in by %s", sandbox);
    else
        doctor_say(doctor, DOCTOR_CONNECTOR, MARK_WARNING,
                   "whoever takes it over from the network can read the PIN's source; its log says "
                   "what is missing, and sandbox of [connector] whether it is switched off",
                   "what shuts reseald in: %s", sandbox);
    if (whole)
        report_exposed_pins(doctor, json_get(root, "tokens"));
}

void doctor_connector(struct doctor *doctor)
{
    const char *path = config_text(doctor->config, "connector", "status_socket");
    struct error err = ERROR_INIT;
    if (path == NULL)
        return;
    if (!status_ask(path, &doctor->status, &err)) {
        doctor_error(doctor, DOCTOR_CONNECTOR, MARK_WARNING, &err,
                     "`systemctl status reseald` and its log say more");
        return;
    }
    const struct json_value *root = json_root(doctor->status);
    const char *state = text_of(root, "state");
    bool serving = strcmp(state, "serving") == 0;
    int64_t pid = 0;
    if (!json_integer(json_get(root, "pid"), 1, INT32_MAX, &pid))
        pid = 0;
    doctor_say(doctor, DOCTOR_CONNECTOR, serving ? MARK_OK : MARK_WARNING,
               serving ? NULL : "`reseal status` says more",
               "reseald runs as process %lld and is %s", (long long)pid, state);
    report_sandbox(doctor, root);
}

bool doctor_connector_token(struct doctor *doctor)
{
    const char *name = settings_token_name(doctor->section);
    if (doctor->status == NULL)
        return false;
    const struct json_value *token = token_named(json_root(doctor->status), name);
    const struct json_value *helper = json_get(token, "helper");
    if (token == NULL) {
        doctor_say(doctor, DOCTOR_CONNECTOR, MARK_FAILURE,
                   "restart reseald; it reads its configuration when it starts",
                   "the running connector does not know this token");
        return false;
    }
    if (!json_true(json_get(helper, "ready"))) {
        doctor_say(doctor, DOCTOR_CONNECTOR, MARK_FAILURE,
                   trouble_hint(helper, "the log of reseald says what the token helper met"),
                   "reseald runs, but its token helper is not ready%s%s",
                   trouble(helper)[0] != '\0' ? ": " : "", trouble(helper));
        return false;
    }
    if (trouble(helper)[0] != '\0')
        doctor_say(doctor, DOCTOR_CONNECTOR, MARK_WARNING,
                   trouble_hint(helper, "the log of reseald says what the token answered"),
                   "the token fails at present: %s", trouble(helper));
    doctor_say(doctor, DOCTOR_PIN, MARK_OK, NULL, "proved by the running connector");
    const struct json_value *recycling = json_get(token, "recycling");
    if (trouble(recycling)[0] != '\0')
        doctor_say(doctor, DOCTOR_CONNECTOR, MARK_WARNING,
                   "the helper that serves goes on; restart reseald when this is mended",
                   "no fresh token helper can take over from the one that serves: %s",
                   trouble(recycling));
    report_keys(doctor, json_get(token, "keys"));
    return true;
}
