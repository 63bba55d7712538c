/* SPDX-License-Identifier: Apache-2.0 */
/* Every address of the hub. */
#include <string.h>
#include "api_graph.h"
#include "api_queue.h"

#define RECORDS     "/beta/deviceManagement/userPfxCertificates"
#define RECORD_BODY (128 * 1024) /* a PFX of 64 KiB in base64, a sealed password, names */
#define ORDER_BODY  (32 * 1024)  /* a certificate of 8 KiB in base64, names */
#define SEAL_BODY   (8 * 1024)   /* a sealed password in base64, names */
#define SQS_ID      "x-amzn-RequestId"
#define GRAPH_ID    GRAPH_ID_HEADER

static const struct route routes[] = {
    {"POST", "/", QUEUE_BODY_MAX, queue_check, queue_handle, queue_fail, SQS_ID},
    {"POST", "/" ACCOUNT "/*", QUEUE_BODY_MAX, queue_check, queue_handle, queue_fail, SQS_ID},
    {"POST", RECORDS, RECORD_BODY, graph_check_json, records_post_handle, graph_fail, GRAPH_ID},
    {"GET", RECORDS, 0, graph_check, records_list_handle, graph_fail, GRAPH_ID},
    {"GET", RECORDS "*", 0, graph_check, records_get_handle, graph_fail, GRAPH_ID},
    {"PATCH", RECORDS "*", SEAL_BODY, seal_change_check, records_patch_handle, graph_fail,
     GRAPH_ID},
    {"DELETE", RECORDS "*", 0, graph_check, records_delete_handle, graph_fail, GRAPH_ID},
    {"GET", "/v1/seals", 0, seals_check, seals_list_handle, graph_fail, GRAPH_ID},
    {"POST", "/v1/deliveries", ORDER_BODY, graph_check_json, deliveries_post_handle, graph_fail,
     GRAPH_ID},
    {"GET", "/v1/deliveries/*", 0, graph_check, deliveries_get_handle, graph_fail, GRAPH_ID},
    {"GET", "/v1/status", 0, graph_check, status_handle, graph_fail, GRAPH_ID},
    {"GET", "/v1/queues/*", 0, graph_check, queue_messages_handle, queue_messages_fail, GRAPH_ID},
    {"DELETE", "/v1/queues/*", 0, graph_check, queue_purge_handle, queue_messages_fail, GRAPH_ID},
    {"GET", "/healthz", 0, NULL, health_handle, graph_fail, GRAPH_ID},
};

/* `suffix` gets what the '*' stands for. */
static bool path_matches(const char *pattern, const char *path, const char **suffix)
{
    size_t len = strlen(pattern);
    *suffix = "";
    if (len == 0 || pattern[len - 1] != '*')
        return strcmp(pattern, path) == 0;
    if (strncmp(pattern, path, len - 1) != 0 || path[len - 1] == '\0')
        return false;
    *suffix = path + len - 1;
    return true;
}

/* The methods of a path as an Allow header has them (RFC 9110, section 10.2.1). */
static const char *methods_of(const char *path)
{
    static const char *const names[] = {"GET", "POST", "DELETE", "PATCH"};
    /* By the bits of the methods. */
    static const char *const lists[] = {NULL,
                                        "GET, HEAD",
                                        "POST",
                                        "GET, HEAD, POST",
                                        "DELETE",
                                        "GET, HEAD, DELETE",
                                        "POST, DELETE",
                                        "GET, HEAD, POST, DELETE",
                                        "PATCH",
                                        "GET, HEAD, PATCH",
                                        "POST, PATCH",
                                        "GET, HEAD, POST, PATCH",
                                        "DELETE, PATCH",
                                        "GET, HEAD, DELETE, PATCH",
                                        "POST, DELETE, PATCH",
                                        "GET, HEAD, POST, DELETE, PATCH"};
    unsigned mask = 0;
    const char *suffix;
    for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
        for (unsigned k = 0; k < ARRAY_LEN(names); k++) {
            if (path_matches(routes[i].path, path, &suffix) &&
                strcmp(routes[i].method, names[k]) == 0)
                mask |= 1U << k;
        }
    }
    return lists[mask];
}

const struct route *route_find(const char *method, const char *path, const char **suffix,
                               const char **allow)
{
    *allow = NULL;
    for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
        if (strcmp(routes[i].method, method) == 0 && path_matches(routes[i].path, path, suffix))
            return &routes[i];
    }
    *allow = methods_of(path);
    return NULL;
}
