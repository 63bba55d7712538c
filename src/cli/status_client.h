/* SPDX-License-Identifier: Apache-2.0 */
/* Asks a running reseald on its UNIX socket: it writes one JSON document and closes. */
#ifndef RESEAL_CLI_STATUS_CLIENT_H
#define RESEAL_CLI_STATUS_CLIENT_H

#include "reseal/json.h"

/* FAIL_REMOTE where no connector answers, FAIL_INPUT where what answers is no status document. */
bool status_ask(const char *socket_path, struct json **out, struct error *err) MUST_USE;

#endif
