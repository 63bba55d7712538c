/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whom the hub lets in by certificate: the CAs of hub.client_ca, less what the CRLs of
 * hub.client_crl revoke (RFC 5280, section 6). Both files are read again when they change.
 */
#ifndef RESEAL_HUB_TLS_CLIENTS_H
#define RESEAL_HUB_TLS_CLIENTS_H

#include <gnutls/gnutls.h>
#include "reseal/buf.h"

/* As GnuTLS takes what it reads; it writes nothing there. */
static inline gnutls_datum_t tls_datum(struct bytes bytes)
{
    union {
        const uint8_t *from;
        unsigned char *to;
    } place = {.from = bytes.data};
    return (gnutls_datum_t){place.to, (unsigned)bytes.len};
}

struct tls_clients;

/* Paths of PEM files with one certificate, or CRL, or more; `crl_path` may be NULL. */
bool tls_clients_open(const char *ca_path, const char *crl_path, struct tls_clients **out,
                      struct error *err) MUST_USE;
void tls_clients_close(struct tls_clients **clients);
/* Reads the files again where they have changed, or where it is asked for. What cannot be read is
 * logged, and what was read before stays in use. */
void tls_clients_renew(struct tls_clients *clients, bool asked);
/* Whether the session's peer has shown a certificate for client authentication of one of the CAs,
 * valid now and not revoked. *status is GnuTLS's (gnutls_certificate_status_t), 0 where it is;
 * false where there is none at all. */
bool tls_clients_judge(const struct tls_clients *clients, gnutls_session_t session,
                       unsigned *status) MUST_USE;

#endif
