/* SPDX-License-Identifier: Apache-2.0 */
/* Logging in to the record store as [client] says: reseal/oauth.h with the settings. */
#ifndef RESEAL_LOGIN_H
#define RESEAL_LOGIN_H

#include "reseal/config.h"
#include "reseal/oauth.h"

enum login_kind {
    LOGIN_BY_TOKEN, /* with api_token: there is nothing to do */
    LOGIN_BY_SECRET,
    LOGIN_BY_CERTIFICATE,
};
enum login_kind login_kind(const struct config *config) MUST_USE;

#define LOGIN_SCOPE_MAX 1024
/* Who logs in, and where; the scope that follows from the record store is written into `scope`. */
bool login_client(const struct config *config, char scope[static LOGIN_SCOPE_MAX],
                  struct oauth_client *out, struct error *err) MUST_USE;
/* An access token by the secret or the certificate of the application; owned by the caller. */
bool login_token(const struct config *config, struct web *web, struct secret **out,
                 struct error *err) MUST_USE;

#endif
