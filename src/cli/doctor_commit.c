/* SPDX-License-Identifier: Apache-2.0 */
/* Whether a sealing key was committed, and whether the record of its ceremony still holds. */
#include <string.h>
#include <unistd.h>
#include "doctor.h"
#include "reseal/ceremony_verify.h"
#include "reseal/key_descriptor.h"

/* The record may be kept elsewhere; where it is here, it must be whole. */
static void judge_transcript(struct doctor *doctor, const struct key_finding *key,
                             const struct key_descriptor *descriptor)
{
    struct error err = ERROR_INIT;
    struct verification *verification = NULL;
    const struct verify_options options = {.transcript = descriptor->transcript,
                                           .head = descriptor->transcript_sha256};
    if (access(descriptor->transcript, R_OK) != 0)
        return;
    if (!ceremony_verify(&options, &verification, &err)) {
        doctor_error(doctor, DOCTOR_KEY, MARK_WARNING, &err, "look at the record of the ceremony");
        return;
    }
    if (!verification_holds(verification))
        doctor_say(doctor, DOCTOR_KEY, MARK_FAILURE,
                   "`reseal ceremony verify TRANSCRIPT` tells what is wrong",
                   "%s: the transcript %s does not verify", key->name, descriptor->transcript);
    else
        doctor_say(doctor, DOCTOR_KEY, MARK_OK, NULL, "%s: the transcript %s verifies", key->name,
                   descriptor->transcript);
    verification_free(&verification);
}

void doctor_commit(struct doctor *doctor, const struct key_finding *key)
{
    struct key_descriptor descriptors[DESCRIPTORS_MAX];
    struct error err = ERROR_INIT;
    size_t count = 0;
    if (key->fingerprint[0] == '\0')
        return;
    if (!key_descriptors_load(doctor->config, doctor->section, descriptors, &count, &err)) {
        doctor_error(doctor, DOCTOR_KEY, MARK_FAILURE, &err, "correct [token] descriptor");
        return;
    }
    const struct key_descriptor *found = key_descriptor_of(descriptors, count, key->fingerprint);
    if (found != NULL && found->retired) {
        doctor_say(doctor, DOCTOR_KEY, MARK_WARNING,
                   "take it out of `key` and `descriptor` of the token's section",
                   "%s: it is retired, and the connector does not serve it", key->name);
    } else if (found != NULL) {
        doctor_say(doctor, DOCTOR_KEY, MARK_OK, NULL,
                   "%s: committed at %s, with %d signatures of witnesses", key->name,
                   found->committed, found->signatures);
        judge_transcript(doctor, key, found);
    } else if (key_uncommitted_allowed(doctor->config, doctor->section)) {
        doctor_say(doctor, DOCTOR_KEY, MARK_WARNING,
                   "make a key by `reseal ceremony run`, or take uncommitted = serve as it is",
                   "%s: no ceremony of this key was committed", key->name);
    } else {
        (void)key_fail_uncommitted(key->name, key->fingerprint, &err);
        doctor_error(doctor, DOCTOR_KEY, MARK_FAILURE, &err, NULL);
    }
}
