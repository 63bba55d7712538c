/* SPDX-License-Identifier: Apache-2.0 */
/* A job with a secret of our own: sealed in software, to be resealed by a token, opened here. */
#ifndef RESEAL_HSM_TRIAL_H
#define RESEAL_HSM_TRIAL_H

#include "custody.h"
#include "reseal/helper_message.h"

/* A device of our own: key and certificate live in this process only. */
struct trial_device {
    EVP_PKEY *key;
    X509 *certificate;
};

struct trial_wish {
    enum padding padding;
    enum cms_form form;
    size_t password;       /* bytes, random */
    size_t before, behind; /* bytes of text around it, together at most HELPER_AFFIX_MAX */
};

struct trial {
    const struct trial_device *device;
    struct secret *expected; /* prefix || password || suffix */
    struct buf sealed, text;
    struct reseal_job job; /* its custody is the caller's to set */
};

bool trial_make(const struct sealing_key *key, const struct trial_wish *wish, struct trial *out,
                struct error *err) MUST_USE;
void trial_free(struct trial *trial);
/* True where the message opens to what was sealed. */
bool trial_opens(const struct trial *trial, struct bytes der) MUST_USE;

#endif
