/* SPDX-License-Identifier: Apache-2.0 */
/* What token and plan can do, found by doing with a key that ends with its session. */
#include <openssl/evp.h>
#include <string.h>
#include "reseal/ceremony_checklist.h"
#include "run.h"

static bool label_free(struct ceremony *ceremony, struct error *err)
{
    return session_open(ceremony->token, SESSION_READ_WRITE, &ceremony->session, err) &&
           key_label_free(ceremony->session, ceremony->plan->key.label, err);
}

/* An unfinished ceremony of the plan is no new one. */
static bool is_new(const struct ceremony *ceremony, struct error *err)
{
    if (ceremony->record == NULL)
        return true;
    error_set(err, FAIL_EXISTS, "%s is the record of an unfinished ceremony",
              ceremony->plan->transcript);
    return error_hint(err, "`reseal ceremony run` goes on with it");
}

bool ceremony_look(struct ceremony *ceremony, struct error *err)
{
    fprintf(stderr, "    -  %s\n", ceremony_steps[0].title);
    if (!act_plan(ceremony, err) || !is_new(ceremony, err))
        return false;
    if (ceremony->options->offline) {
        talk("the token is not looked at");
        return true;
    }
    fprintf(stderr, "    -  %s\n", ceremony_steps[1].title);
    if (!act_token(ceremony, err) || !label_free(ceremony, err))
        return false;
    talk("no public object of the token has the label \"%s\"", ceremony->plan->key.label);
    return true;
}

void ceremony_facts_for(const struct ceremony *ceremony, struct checklist_facts *out)
{
    out->plan = ceremony->plan;
    out->token = ceremony->token != NULL ? &ceremony->facts : NULL;
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
    if (!act_plan(ceremony, err) || !is_new(ceremony, err))
        return false;
    fprintf(stderr, "    -  %s\n", ceremony_steps[1].title);
    if (!act_token(ceremony, err) || !label_free(ceremony, err))
        return false;
    fprintf(stderr, "    -  Log in to the token\n");
    if (!act_login(ceremony, err))
        return false;
    fprintf(stderr, "    -  Try what is planned with a key that ends with this session\n");
    return try_key(ceremony, err);
}
