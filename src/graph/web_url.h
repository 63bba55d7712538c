/* SPDX-License-Identifier: Apache-2.0 */
/* One URL taken apart by libcurl's own parser. */
#ifndef RESEAL_WEB_URL_H
#define RESEAL_WEB_URL_H

#include "reseal/error.h"

struct url_parts {
    char scheme[16];
    char host[256]; /* lower case; IPv6 with its brackets */
    char port[8];   /* always there */
    bool user;      /* has user or password */
    bool query;     /* has a query or a fragment */
};
bool url_parse(const char *url, struct url_parts *out) MUST_USE;
/* True for hosts that are this machine: 127.0.0.0/8, [::1], localhost. */
bool url_is_loopback(const struct url_parts *url) MUST_USE;

#endif
