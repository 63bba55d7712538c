/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS of the hub, by GnuTLS as libmicrohttpd has it: 1.2 and 1.3, a certificate that is read again
 * when its file changes, and, where hub.client_ca is given, nobody in without a certificate of one
 * of these CAs.
 *
 * There is one hub in a process, and so one of these: GnuTLS asks for the certificate by a function
 * that is given nothing of ours.
 */
#ifndef RESEAL_HUB_TLS_H
#define RESEAL_HUB_TLS_H

#include <microhttpd.h>
#include "reseal/config.h"

struct tls;

/* *out is NULL where no certificate is configured. */
bool tls_open(const struct config *config, struct tls **out, struct error *err) MUST_USE;
void tls_close(struct tls **tls);
/* At the next handshake all files are read again, whether or not they seem to have changed. From
 * any thread; `tls` may be NULL. */
void tls_ask_again(struct tls *tls);
/* True if clients must have a certificate. */
bool tls_wants_clients(const struct tls *tls) MUST_USE;
/* The options for MHD_start_daemon, ended by MHD_OPTION_END; valid as long as `tls`. */
const struct MHD_OptionItem *tls_options(const struct tls *tls) MUST_USE;
/* Whether this connection may send requests: its client has shown a certificate where one is
 * wanted. The handshake has seen to that already; this does not rely on it. */
bool tls_client_known(const struct tls *tls, struct MHD_Connection *connection) MUST_USE;

#endif
