/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who may be resealed to: a device certificate that chains to a configured device CA (RFC 5280 path
 * validation by OpenSSL), is in its validity time, has a key of at least RSA-2048 or P-256, and is
 * not revoked where a CRL is configured.
 *
 * Checked by the token helper, not by the process that faces the queue. That narrows what a fault
 * in the parsing of messages can do; it does not stop whoever has taken reseald over, which runs as
 * the same user and is not yet sandboxed (see README).
 */
#ifndef RESEAL_DEVICE_TRUST_H
#define RESEAL_DEVICE_TRUST_H

#include <openssl/types.h>
#include "reseal/buf.h"

struct device_trust;

/* `ca_path`: PEM certificates. `crl_path`: PEM CRLs, or NULL; then revocation is not checked. */
bool device_trust_load(const char *ca_path, const char *crl_path, struct device_trust **out,
                       struct error *err) MUST_USE;
void device_trust_free(struct device_trust **trust);
/* Number of CA certificates, for doctor. */
size_t device_trust_count(const struct device_trust *trust) MUST_USE;

/*
 * Reads one DER certificate and nothing behind it, and checks it at the time `now_ms` (real time).
 * FAIL_INPUT: no certificate. FAIL_POLICY: expired, other CA, weak key, revoked; the text says
 * which. The caller frees *out by X509_free. Safe from several threads at once.
 */
bool device_certificate_check(struct device_trust *trust, struct bytes der, int64_t now_ms,
                              X509 **out, struct error *err) MUST_USE;

#endif
