/* SPDX-License-Identifier: Apache-2.0 */
/* The acts of a ceremony that make the key and put it to the test. */
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include "run.h"

bool before_generate(struct ceremony *ceremony, struct error *err)
{
    return key_id_choose(ceremony->session, ceremony->id, err);
}

/* A pair that does not read back as wanted is destroyed by key_generate_as; the next step shows
 * why. */
bool act_generate(struct ceremony *ceremony, struct error *err)
{
    talk("CKA_ID %s; this may take a while", ceremony->id);
    if (key_generate_as(ceremony->session, &ceremony->plan->key, ceremony->id, &ceremony->birth,
                        &ceremony->key, err))
        return true;
    if (ceremony->birth.check_count == 0)
        return false;
    ceremony->birth_error = *err;
    *err = (struct error)ERROR_INIT;
    return true;
}

static void print_checks(const struct key_birth *birth)
{
    int name = 0, wanted = 0, found = 0;
    for (size_t i = 0; i < birth->check_count; i++) {
        const struct attribute_check *check = &birth->checks[i];
        name = (int)strlen(check->name) > name ? (int)strlen(check->name) : name;
        wanted = (int)strlen(check->wanted) > wanted ? (int)strlen(check->wanted) : wanted;
        found = (int)strlen(check->found) > found ? (int)strlen(check->found) : found;
    }
    talk("%-*s  %-*s  %s", name, "ATTRIBUTE", wanted, "WANTED", "FOUND");
    for (size_t i = 0; i < birth->check_count; i++) {
        const struct attribute_check *check = &birth->checks[i];
        talk("%-*s  %-*s  %-*s  %s", name, check->name, wanted, check->wanted, found, check->found,
             check->ok ? "ok" : "WRONG");
    }
}

bool act_read_back(struct ceremony *ceremony, struct error *err)
{
    print_checks(&ceremony->birth);
    if (ceremony->key == NULL) {
        *err = ceremony->birth_error;
        return false;
    }
    return sealing_key_public(ceremony->session, ceremony->key, &ceremony->public_key, err) &&
           sealing_key_describe(ceremony->session, ceremony->key, &ceremony->finding, err);
}

/* A plan without backup says that the key cannot leave its token in any form. Some tokens wrap it
 * all the same; that is said, and in the record, for it is the token's own doing. */
static bool try_wrap(struct ceremony *ceremony, struct error *err)
{
    if (!key_try_wrap(ceremony->session, ceremony->key, ceremony->attempts,
                      &ceremony->attempt_count, &ceremony->confined, err))
        return false;
    for (size_t i = 0; i < ceremony->attempt_count; i++)
        talk("tried to wrap it by %s: %s", ceremony->attempts[i].mechanism,
             ceremony->attempts[i].ck_rv);
    if (!ceremony->confined)
        talk(
            "THE TOKEN WRAPS THE KEY although it is not extractable: whoever is logged in can take "
            "it away under a key of his own");
    return true;
}

bool act_unreadable(struct ceremony *ceremony, struct error *err)
{
    if (!key_is_unreadable(ceremony->session, ceremony->key, ceremony->refusal, err)) {
        if (err->kind == FAIL_NONE)
            error_set(err, FAIL_POLICY, "the token gives the private key away");
        return false;
    }
    talk("asked for the private exponent and the primes, the token answered %s", ceremony->refusal);
    return ceremony->plan->backup != BACKUP_NONE || try_wrap(ceremony, err);
}

static bool judge_padding(const struct ceremony *ceremony, const struct padding_proof *proof,
                          struct error *err)
{
    enum custody wanted = ceremony->plan->key.custody;
    if (proof->custody == wanted)
        return true;
    error_set(err, FAIL_UNSUPPORTED,
              "with %s this token reaches custody %s, not %s: %s answered %s",
              padding_name(proof->padding), custody_name(proof->custody), custody_name(wanted),
              proof->call, proof->ck_rv);
    return error_hint(err, wanted == CUSTODY_TOKEN
                               ? "use a token, or a release of it, that keeps the secret to itself "
                                 "all the way, or plan the key with custody = host"
                               : "leave this padding out of the plan, or use another token");
}

/* The other direction, and the secret itself: attempts that must be refused. */
static bool try_refusals(struct ceremony *ceremony, struct padding_proof *proof, struct error *err)
{
    enum custody made_for = ceremony->plan->key.custody;
    if (made_for == CUSTODY_TOKEN &&
        !key_secret_is_unreadable(ceremony->session, ceremony->key, proof->padding,
                                  proof->secret_ck_rv, err))
        return false;
    if (!key_try_other_custody(ceremony->session, ceremony->key, made_for, proof->padding,
                               &proof->other_refused, proof->other_call, proof->other_ck_rv, err))
        return false;
    if (proof->other_refused)
        return true;
    error_set(err, FAIL_POLICY, "the key is made for custody %s, and the token does the other, too",
              custody_name(made_for));
    return error_hint(err, "this token does not keep what the key's attributes say");
}

static bool prove_padding(struct ceremony *ceremony, enum padding padding, struct error *err)
{
    struct padding_proof *proof = &ceremony->proofs[ceremony->proof_count++];
    const struct padding_finding *found = probe_padding(&ceremony->finding, padding);
    *proof = (struct padding_proof){.padding = padding};
    if (found == NULL)
        return error_set(err, FAIL_TOKEN, "%s was not probed", padding_name(padding));
    proof->custody = found->custody;
    snprintf(proof->call, sizeof proof->call, "%s", found->call);
    snprintf(proof->ck_rv, sizeof proof->ck_rv, "%s", found->ck_rv);
    snprintf(proof->quirk, sizeof proof->quirk, "%s", found->quirk);
    talk("%s: sealed, resealed, opened, compared: custody %s", padding_name(padding),
         custody_name(proof->custody));
    if (!judge_padding(ceremony, proof, err) || !try_refusals(ceremony, proof, err))
        return false;
    if (proof->secret_ck_rv[0] != '\0')
        talk("%*s  the unwrapped secret's value: the token answered %s",
             (int)strlen(padding_name(padding)), "", proof->secret_ck_rv);
    talk("%*s  the other direction is refused: %s: %s", (int)strlen(padding_name(padding)), "",
         proof->other_call, proof->other_ck_rv);
    return true;
}

bool act_proof(struct ceremony *ceremony, struct error *err)
{
    const struct ceremony_plan *plan = ceremony->plan;
    ceremony->proof_count = 0;
    if (!sealing_key_describe(ceremony->session, ceremony->key, &ceremony->finding, err) ||
        !token_probe(ceremony->session, ceremony->key, &ceremony->finding, err))
        return false;
    if (ceremony->finding.bits != plan->key.bits)
        return error_set(err, FAIL_POLICY, "the token made a key of %d bits, not %d",
                         ceremony->finding.bits, plan->key.bits);
    for (size_t i = 0; i < plan->padding_count; i++) {
        if (!prove_padding(ceremony, plan->paddings[i], err))
            return false;
    }
    return true;
}
