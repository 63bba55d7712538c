/* SPDX-License-Identifier: Apache-2.0 */
/* What pfx.c needs besides the opening itself: the file's form, old algorithms, the facts. */
#ifndef RESEAL_PFX_FILE_H
#define RESEAL_PFX_FILE_H

#include <openssl/pkcs12.h>
#include "reseal/pfx.h"

/* Reads the outer structure; what is no PFX is told by what it looks like. The caller frees *out by
 * PKCS12_free. */
bool pfx_parse(struct bytes bytes, PKCS12 **out, struct error *err) MUST_USE;

/* OpenSSL's legacy provider, in a library context of its own and only when asked for. */
struct pfx_providers;
bool pfx_providers_new(struct pfx_providers **out, struct error *err) MUST_USE;
void pfx_providers_free(struct pfx_providers **providers);
bool pfx_legacy_library(struct pfx_providers *providers, OSSL_LIB_CTX **out,
                        struct error *err) MUST_USE;
/* True for RC2, RC4, single DES and MD5 or MD2 key derivations. */
bool pfx_needs_legacy(const X509_ALGOR *algorithm) MUST_USE;

/* Refuses iteration counts that would keep the machine busy for minutes. */
bool pfx_check_work(const X509_ALGOR *algorithm, struct error *err) MUST_USE;
bool pfx_check_mac_work(const PKCS12 *pfx, struct error *err) MUST_USE;

bool pfx_read_facts(X509 *certificate, const EVP_PKEY *key, struct pfx_facts *out,
                    struct error *err) MUST_USE;

#endif
