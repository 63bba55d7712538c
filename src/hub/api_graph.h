/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the record and delivery APIs share: the bearer token, and errors in the shape of Microsoft
 * Graph with the codes of reseal/result.h:
 *
 *     {"error":{"code":"ParameterDataInvalid","number":4002,"retryable":false,"message":"..."}}
 */
#ifndef RESEAL_HUB_API_GRAPH_H
#define RESEAL_HUB_API_GRAPH_H

#include "exchange.h"
#include "reseal/record.h"
#include "reseal/result.h"

#define JSON_TYPE       "application/json"
#define GRAPH_ID_HEADER "request-id"

/* route_check: refuses a request without the hub's bearer token. */
void graph_check(struct exchange *exchange);
/* route_check: wants the token of hub.rotation_token, which reads sealed passwords. */
void seals_check(struct exchange *exchange);
/* route_check: one of the two tokens, and a JSON body. */
void seal_change_check(struct exchange *exchange);
/* route_check: as graph_check, and a body must be declared as JSON. */
void graph_check_json(struct exchange *exchange);
/* route_fail: status and code follow from the kind of the error. */
void graph_fail(struct exchange *exchange, const struct error *err);
/* route_fail of /v1/queues: what is not found is the queue. */
void queue_messages_fail(struct exchange *exchange, const struct error *err);
void graph_fail_with(struct exchange *exchange, unsigned status, enum result_code code,
                     const struct error *err);
/* The id of ".../{id}" or "...('{id}')" in the suffix, either percent-encoded or not; otherwise the
 * exchange is answered. `id` has RECORD_ID_MAX + 1 bytes. */
bool record_id_of(struct exchange *exchange, char *id, size_t size) MUST_USE;
/* One record as Graph answers it, with the address of its description. */
bool answer_record(struct exchange *exchange, unsigned status, const struct record *record,
                   struct error *err) MUST_USE;
/* Parses the body as a JSON object; on failure the exchange is answered (4001). */
bool graph_body(struct exchange *exchange, const char *what, struct json **out) MUST_USE;

route_handle records_post_handle, records_list_handle, records_get_handle, records_delete_handle;
route_handle records_patch_handle, seals_list_handle;
route_handle deliveries_post_handle, deliveries_get_handle;
route_handle status_handle, health_handle, queue_messages_handle, queue_purge_handle;

#endif
