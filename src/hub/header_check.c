/* SPDX-License-Identifier: Apache-2.0 */
#include "header_check.h"

#include <strings.h>
#include "api_graph.h"

/* Counts the headers that say where the body ends. */
static enum MHD_Result count_framing(void *context, enum MHD_ValueKind kind, const char *name,
                                     const char *value)
{
    unsigned *count = context;
    (void)kind;
    (void)value;
    if (strcasecmp(name, "Content-Length") == 0 || strcasecmp(name, "Transfer-Encoding") == 0)
        ++*count;
    return MHD_YES;
}

bool refuse_framing(struct exchange *exchange)
{
    struct error err = ERROR_INIT;
    unsigned count = 0;
    (void)MHD_get_connection_values(exchange->connection, MHD_HEADER_KIND, count_framing, &count);
    const char *coding = exchange_header(exchange, "Transfer-Encoding");
    bool known = coding == NULL || strcasecmp(coding, "chunked") == 0;
    if (count <= 1 && known)
        return false;
    if (count > 1)
        error_set(&err, FAIL_INPUT, "the end of the body is given more than once");
    else
        error_set(&err, FAIL_INPUT, "no transfer coding but chunked is taken");
    error_hint(&err, "send one Content-Length, or one Transfer-Encoding: chunked");
    graph_fail_with(exchange, MHD_HTTP_BAD_REQUEST, RESULT_DATA_SERIALIZATION, &err);
    exchange->close = true;
    return true;
}

/* Headers that say who asks for what. */
static const char *const steering[] = {"Authorization", "Content-Type", "Host", "X-Amz-Date",
                                       "X-Amz-Target"};

struct steering_seen {
    unsigned seen;     /* a bit for each of them */
    const char *twice; /* NULL where there is none */
};

static enum MHD_Result see_steering(void *context, enum MHD_ValueKind kind, const char *name,
                                    const char *value)
{
    struct steering_seen *found = context;
    (void)kind;
    (void)value;
    for (size_t i = 0; i < ARRAY_LEN(steering); i++) {
        if (strcasecmp(name, steering[i]) != 0)
            continue;
        if (found->seen & 1U << i)
            found->twice = steering[i];
        found->seen |= 1U << i;
    }
    return MHD_YES;
}

void refuse_repeated(struct exchange *exchange)
{
    struct error err = ERROR_INIT;
    struct steering_seen found = {.twice = NULL};
    (void)MHD_get_connection_values(exchange->connection, MHD_HEADER_KIND, see_steering, &found);
    if (found.twice == NULL)
        return;
    error_set(&err, FAIL_INPUT, "the header %s is given more than once", found.twice);
    graph_fail_with(exchange, MHD_HTTP_BAD_REQUEST, RESULT_DATA_SERIALIZATION, &err);
}
