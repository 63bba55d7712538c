/* SPDX-License-Identifier: Apache-2.0 */
/* From a PFX file and its password to a record: what `pfx new` and `pfx import` share. */
#ifndef RESEAL_PFX_MAKE_H
#define RESEAL_PFX_MAKE_H

#include "command.h"
#include <openssl/types.h>
#include "reseal/record.h"
#include "reseal/secret.h"

/* The options that say which record to make; a command's table begins with them. */
#define PFX_MAKE_OPTIONS                                                                           \
    {"pfx", "FILE", "PKCS#12 file with key and certificate (\"-\": standard input)"},              \
        {"user", "UPN", "user principal name of its owner"},                                       \
        {"password", "SOURCE",                                                                     \
         "password of the PFX: prompt (default), file:PATH, fd:N, credential:NAME"},               \
        {"public-key", "FILE", "public sealing key (default: [client] public_key)"},               \
        {"key-name", "NAME", "its name on the token (default: [client] key_name)"},                \
        {"provider", "NAME", "provider name in the record (default: [client] provider_name)"},     \
        {"padding", "P", "oaepSha256, oaepSha384 or oaepSha512 (default: [client] padding)"},      \
        {"purpose", "P", "smimeEncryption (default), smimeSigning, wifi, vpn, unassigned"},        \
    {                                                                                              \
        "force", NULL, "take an expired certificate"                                               \
    }

/* Opens the PFX with its password, seals the password, fills the record, all as the options say.
 * `record` was initialised by record_init and is to be freed in any case. */
bool pfx_make(const struct invocation *invocation, struct record *record,
              struct error *err) MUST_USE;

/* What all records of one command have in common: the sealing key, and names. */
struct pfx_maker {
    EVP_PKEY *key;
    struct record names; /* its PFX and what is of it are empty */
    bool force;          /* an expired certificate is taken */
};
/* `maker` is to be closed in any case. */
bool pfx_maker_open(const struct invocation *invocation, struct pfx_maker *maker,
                    struct error *err) MUST_USE;
void pfx_maker_close(struct pfx_maker *maker);
/* One PFX file of a list, of whom it is and what for (NULL: smimeEncryption), and its password. */
struct pfx_wish {
    const char *path, *user, *purpose;
    const struct secret *password;
};
/* The same for one of several. Warnings are told on standard error. */
bool pfx_maker_make(const struct pfx_maker *maker, const struct pfx_wish *wish,
                    struct record *record, struct error *err) MUST_USE;

/* A thumbprint as people copy it (upper case, colons, spaces) as 40 lower-case digits. */
bool thumbprint_parse(const char *text, char out[static RECORD_THUMBPRINT],
                      struct error *err) MUST_USE;

#endif
