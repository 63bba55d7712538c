/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Access tokens by OAuth 2.0, as Microsoft Entra ID speaks it before Microsoft Graph.
 *
 * - An application, by client credentials (RFC 6749, section 4.4): with a secret, or with a signed
 *   assertion (RFC 7523), whose key may be on a token.
 * - A person, by the device flow (RFC 8628): he types a code into a browser somewhere else.
 */
#ifndef RESEAL_OAUTH_H
#define RESEAL_OAUTH_H

#include "reseal/signing.h"
#include "reseal/web.h"

#define OAUTH_SECRET_MAX 1024 /* bytes of a client secret */

/* Who asks, and whom. The texts are borrowed. */
struct oauth_client {
    const char *authority; /* "https://login.microsoftonline.com", without a slash behind it */
    const char *tenant;    /* its id, or a domain of it */
    const char *client_id; /* of the application that is registered there */
    const char *scope;     /* "https://graph.microsoft.com/.default" */
};

struct oauth_grant {
    struct secret *token; /* the access token; owned */
    int64_t lifetime_s;   /* from now; 0: not said */
};
void oauth_grant_free(struct oauth_grant *grant);

/* FAIL_AUTH with the server's words where it does not accept them. `out` is to be freed in any
 * case.
 */
bool oauth_by_secret(struct web *web, const struct oauth_client *client,
                     const struct secret *secret, struct oauth_grant *out,
                     struct error *err) MUST_USE;
/* The certificate (DER) is the one that is registered with the application; the key is RSA and
 * fits it (FAIL_INPUT otherwise). */
bool oauth_by_certificate(struct web *web, const struct oauth_client *client,
                          const struct signing_key *key, struct bytes certificate,
                          struct oauth_grant *out, struct error *err) MUST_USE;

/* A login that a person is to complete. */
struct oauth_device {
    char user_code[64];
    char url[512];              /* where he types it */
    struct secret *device_code; /* owned */
    unsigned interval_s;        /* between two polls; grows where the server asks for it */
    int64_t lifetime_s;         /* of both codes, from the beginning */
};
void oauth_device_free(struct oauth_device *device);
/* `out` is to be freed in any case. */
bool oauth_device_begin(struct web *web, const struct oauth_client *client,
                        struct oauth_device *out, struct error *err) MUST_USE;
/* One poll. *done false: he has not finished, or the service is away; ask again after interval_s.
 * FAIL_AUTH: he declined, or the code is too old. FAIL_REMOTE: what came in the end is no grant. */
bool oauth_device_poll(struct web *web, const struct oauth_client *client,
                       struct oauth_device *device, bool *done, struct oauth_grant *out,
                       struct error *err) MUST_USE;

#endif
