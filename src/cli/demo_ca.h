/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A demo device CA and device certificates (X.509 v3, RFC 5280), for tests, demos and diagnosis. In
 * earnest a device management service issues these.
 */
#ifndef RESEAL_DEMO_CA_H
#define RESEAL_DEMO_CA_H

#include <openssl/types.h>
#include "reseal/error.h"

struct demo_ca {
    EVP_PKEY *key;
    X509 *certificate;
};
/* Reads ca.pem and ca.key of the folder, or makes them (and the folder) where neither is there.
 * *made says which. `ca` is to be freed in any case. */
bool demo_ca_open(const char *folder, struct demo_ca *ca, bool *made, struct error *err) MUST_USE;
void demo_ca_free(struct demo_ca *ca);

/* "rsa:2048", "rsa:3072", "rsa:4096", "ec:P-256", "ec:P-384"; "rsa:1024" for tests. */
bool device_key_make(const char *kind, EVP_PKEY **out, struct error *err) MUST_USE;

/* Valid from now for `days`; a negative number: expired that many days ago. */
bool demo_ca_issue(const struct demo_ca *ca, EVP_PKEY *device, const char *name, long days,
                   X509 **out, struct error *err) MUST_USE;

/* Writes PEM files that must not be there yet; the key with mode 0600. */
bool write_private_key(const char *path, EVP_PKEY *key, struct error *err) MUST_USE;
bool write_certificate(const char *path, X509 *certificate, struct error *err) MUST_USE;
/* What helps where a device's files are not there or not good. */
#define DEVICE_HINT                                                                                \
    "--device names the folder with device.key and device.pem; one is made by: reseal device new " \
    "--out DIR"
/* Reads a PEM private key without password, and a PEM or DER certificate. */
bool read_private_key(const char *path, EVP_PKEY **out, struct error *err) MUST_USE;
bool read_certificate(const char *path, X509 **out, struct error *err) MUST_USE;

#endif
