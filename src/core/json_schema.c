/* SPDX-License-Identifier: Apache-2.0 */
/* Reading members by schema, with errors that name the path. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "reseal/json.h"
#include "reseal/text.h"

static const char *dot(const char *where)
{
    return where[0] != '\0' ? "." : "";
}

static bool wrong_type(const char *where, const char *key, const char *wanted,
                       const struct json_value *found, struct error *err)
{
    if (found == NULL)
        return error_set(err, FAIL_INPUT, "%s%s%s is missing (%s)", where, dot(where), key, wanted);
    return error_set(err, FAIL_INPUT, "%s%s%s must be %s, not %s", where, dot(where), key, wanted,
                     json_type_name(json_type(found)));
}

static bool want_type(const struct json_value *object, const char *where, const char *key,
                      enum json_type type, const struct json_value **out, struct error *err)
{
    const struct json_value *value = json_get(object, key);
    *out = NULL;
    if (value == NULL || json_type(value) != type)
        return wrong_type(where, key, json_type_name(type), value, err);
    *out = value;
    return true;
}

bool json_want_object(const struct json_value *object, const char *where, const char *key,
                      const struct json_value **out, struct error *err)
{
    return want_type(object, where, key, JSON_OBJECT, out, err);
}

bool json_want_array(const struct json_value *object, const char *where, const char *key,
                     const struct json_value **out, struct error *err)
{
    return want_type(object, where, key, JSON_ARRAY, out, err);
}

bool json_want_text(const struct json_value *object, const char *where, const char *key, size_t max,
                    const char **out, struct error *err)
{
    const struct json_value *value;
    size_t len = 0;
    *out = NULL;
    if (!want_type(object, where, key, JSON_STRING, &value, err))
        return false;
    const char *text = json_text(value, &len);
    if (len > max)
        return error_set(err, FAIL_TOO_LARGE, "%s%s%s has %zu bytes, the bound is %zu", where,
                         dot(where), key, len, max);
    *out = text;
    return true;
}

bool json_may_text(const struct json_value *object, const char *where, const char *key, size_t max,
                   const char **out, struct error *err)
{
    const struct json_value *value = json_get(object, key);
    *out = NULL;
    if (value == NULL || json_type(value) == JSON_NULL)
        return true;
    return json_want_text(object, where, key, max, out, err);
}

bool json_want_integer(const struct json_value *object, const char *where, const char *key,
                       int64_t min, int64_t max, int64_t *out, struct error *err)
{
    const struct json_value *value;
    if (!want_type(object, where, key, JSON_NUMBER, &value, err))
        return false;
    if (!json_integer(value, min, max, out))
        return error_set(err, FAIL_INPUT,
                         "%s%s%s must be a whole number from %" PRId64 " to %" PRId64, where,
                         dot(where), key, min, max);
    return true;
}

bool json_may_integer(const struct json_value *object, const char *where, const char *key,
                      int64_t min, int64_t max, int64_t fallback, int64_t *out, struct error *err)
{
    const struct json_value *value = json_get(object, key);
    *out = fallback;
    if (value == NULL || json_type(value) == JSON_NULL)
        return true;
    return json_want_integer(object, where, key, min, max, out, err);
}

bool json_want_base64(const struct json_value *object, const char *where, const char *key,
                      size_t max, struct buf *out, struct error *err)
{
    const struct json_value *value;
    char what[256];
    size_t len = 0;
    if (!want_type(object, where, key, JSON_STRING, &value, err))
        return false;
    const char *text = json_text(value, &len);
    if (len / 4 * 3 > max + 2)
        return error_set(err, FAIL_TOO_LARGE, "%s%s%s decodes to more than %zu bytes", where,
                         dot(where), key, max);
    snprintf(what, sizeof what, "%s%s%s", where, dot(where), key);
    size_t before = out->len;
    if (!base64_decode(out, text, len, what, err))
        return false;
    if (out->len - before > max)
        return error_set(err, FAIL_TOO_LARGE, "%s decodes to more than %zu bytes", what, max);
    return true;
}
