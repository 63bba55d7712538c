/* SPDX-License-Identifier: Apache-2.0 */
#include "reseal/access.h"

#include <string.h>

#define QUEUE_NAME_MAX 80

/* One RIGHT:QUEUE of the text. */
struct rule {
    unsigned rights; /* 0: no such right */
    const char *queue;
    size_t queue_len;
    const char *text; /* all of it */
    size_t len;
};

static unsigned right_of(const char *name, size_t len)
{
    static const struct {
        const char *name;
        unsigned rights;
    } rows[] = {{"send", RIGHT_SEND},
                {"receive", RIGHT_RECEIVE},
                {"manage", RIGHT_MANAGE},
                {"all", RIGHT_ANY}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (strlen(rows[i].name) == len && strncmp(rows[i].name, name, len) == 0)
            return rows[i].rights;
    }
    return 0;
}

static bool next_rule(const char **at, struct rule *out)
{
    const char *text = *at + strspn(*at, " \t,");
    size_t len = strcspn(text, " \t,");
    if (len == 0)
        return false;
    const char *colon = memchr(text, ':', len);
    size_t name = colon != NULL ? (size_t)(colon - text) : len;
    *out = (struct rule){.rights = right_of(text, name), .text = text, .len = len};
    if (colon != NULL) {
        out->queue = colon + 1;
        out->queue_len = len - name - 1;
    }
    *at = text + len;
    return true;
}

static bool matches(const struct rule *rule, const char *queue)
{
    size_t len = rule->queue_len;
    if (len > 0 && rule->queue[len - 1] == '*')
        return strncmp(rule->queue, queue, len - 1) == 0;
    return strlen(queue) == len && strncmp(rule->queue, queue, len) == 0;
}

unsigned rights_on(const char *rights, const char *queue)
{
    struct rule rule;
    unsigned sum = 0;
    if (rights[0] == '\0')
        return RIGHT_ANY;
    while (next_rule(&rights, &rule)) {
        if (rule.queue != NULL && matches(&rule, queue))
            sum |= rule.rights;
    }
    return sum;
}

/* A name of a queue, or its beginning and a '*'. */
static bool queue_valid(const struct rule *rule)
{
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    size_t len = rule->queue != NULL ? rule->queue_len : 0;
    bool open = len > 0 && rule->queue[len - 1] == '*';
    if (len == 0 || len - open > QUEUE_NAME_MAX)
        return false;
    for (size_t i = 0; i < len - open; i++) {
        if (strchr(letters, rule->queue[i]) == NULL)
            return false;
    }
    return true;
}

bool rights_valid(const char *rights, struct error *err)
{
    struct rule rule;
    while (next_rule(&rights, &rule)) {
        if (rule.rights != 0 && queue_valid(&rule))
            continue;
        error_set(err, FAIL_USAGE, "\"%.*s\" is no right", (int)(rule.len < 120 ? rule.len : 120),
                  rule.text);
        return error_hint(err, "write send:QUEUE, receive:QUEUE, manage:QUEUE or all:QUEUE, with a "
                               "blank between them; QUEUE may end in '*'");
    }
    return true;
}
