/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client certificate with which [queue] and [client] show who they are (mTLS): the keys
 * client_certificate and client_key. Both are files that libcurl reads for each new connection, so
 * a renewed certificate needs no restart.
 */
#ifndef RESEAL_TLS_IDENTITY_H
#define RESEAL_TLS_IDENTITY_H

#include <limits.h>
#include "reseal/config.h"

struct tls_identity {
    char certificate[PATH_MAX]; /* PEM file, the CAs below the root behind it; "": none */
    char key[PATH_MAX];         /* PEM file of its private key, not encrypted */
};

/* FAIL_USAGE where one of both is missing; FAIL_POLICY where everybody may read the key. */
bool tls_identity_read(const struct config *config, const char *section, struct tls_identity *out,
                       struct error *err) MUST_USE;

#endif
