/* SPDX-License-Identifier: Apache-2.0 */
#include "names.h"

#include <string.h>
#include "reseal/text.h"

bool name_lookup(const struct name_row *rows, size_t count, const char *name, const char *what,
                 int *out, struct error *err)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(rows[i].name, name) == 0) {
            *out = rows[i].value;
            return true;
        }
    }
    return error_set(err, FAIL_INPUT, "\"%.48s\" is no %s", name, what);
}

const char *name_of(const struct name_row *rows, size_t count, int value)
{
    for (size_t i = 0; i < count; i++) {
        if (rows[i].value == value)
            return rows[i].name;
    }
    return "unknown";
}

bool text_field(char *out, size_t size, size_t least, const char *text, const char *what,
                struct error *err)
{
    size_t len = strlen(text);
    if (len < least)
        return error_set(err, FAIL_INPUT, "%s is empty", what);
    if (len >= size)
        return error_set(err, FAIL_TOO_LARGE, "%s has %zu bytes, the bound is %zu", what, len,
                         size - 1);
    for (size_t i = 0; i < len; i++) {
        if (text_control_len(text + i) > 0)
            return error_set(err, FAIL_INPUT, "%s contains a control character", what);
    }
    memcpy(out, text, len + 1);
    return true;
}
