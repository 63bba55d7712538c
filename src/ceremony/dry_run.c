/* SPDX-License-Identifier: Apache-2.0 */
/* What token and plan can do, found by doing with a key that ends with its session. */
#include <openssl/evp.h>
#include <string.h>
#include "run.h"

static bool label_free(struct ceremony *ceremony, struct error *err)
{
    return session_open(ceremony->token, SESSION_READ_WRITE, &ceremony->session, err) &&
           key_label_free(ceremony->session, ceremony->plan->key.label, err);
}

static bool try_key(struct ceremony *ceremony, struct error *err)
{
    const struct key_plan *plan = &ceremony->plan->key;
    if (!sealing_key_make_trial(ceremony->session, plan->bits, plan->custody, &ceremony->key, err))
        return false;
    bool ok = act_proof(ceremony, err);
    struct error left = ERROR_INIT;
    if (!key_destroy(ceremony->session, ceremony->key, &left) && ok) {
        *err = left;
        ok = false;
    }
    sealing_key_free(&ceremony->key);
    return ok;
}

bool ceremony_dry_run(struct ceremony *ceremony, struct error *err)
{
    fprintf(stderr, "dry run: nothing is made, and no transcript is written\n");
    fprintf(stderr, "    -  %s\n", ceremony_steps[0].title);
    if (!act_plan(ceremony, err))
        return false;
    if (ceremony->record != NULL) {
        error_set(err, FAIL_EXISTS, "%s is the record of an unfinished ceremony",
                  ceremony->plan->transcript);
        return error_hint(err, "`reseal ceremony run` goes on with it");
    }
    fprintf(stderr, "    -  %s\n", ceremony_steps[1].title);
    if (!act_token(ceremony, err) || !label_free(ceremony, err))
        return false;
    fprintf(stderr, "    -  Log in to the token\n");
    if (!act_login(ceremony, err))
        return false;
    fprintf(stderr, "    -  Try what is planned with a key that ends with this session\n");
    return try_key(ceremony, err);
}
