/* SPDX-License-Identifier: Apache-2.0 */
/* Sealed passwords that pass from one sealing key to another. */
#ifndef RESEAL_TESTS_HSM_FIXTURE_ROTATE_H
#define RESEAL_TESTS_HSM_FIXTURE_ROTATE_H

#include "hsm/custody.h"
#include "hsm_fixture_messages.h"

static inline void assert_rotates_with(struct session *session, struct sealing_key *key,
                                       struct sealing_key *new_key, enum padding padding,
                                       enum padding new_padding, enum custody custody)
{
    struct error err = ERROR_INIT;
    struct rotate_finding finding;
    if (!token_rotate_probe(session, key, new_key, padding, new_padding, &finding, &err))
        fail_msg("%s: %s", failure_name(err.kind), err.text);
    if (finding.custody != custody)
        fail_msg("custody %s: %s: %s", custody_name(finding.custody), finding.call, finding.ck_rv);
}

/* Seals with the old key, rotates, reseals with the new key for a device, opens, compares. */
static inline void assert_rotates(const struct fixture *fixture,
                                  const struct fixture_device *device, struct session *session,
                                  struct sealing_key *key, struct sealing_key *new_key,
                                  const struct rotate_job *wish, size_t len)
{
    struct error err = ERROR_INIT;
    uint8_t password[512];
    struct buf sealed = BUF_INIT(1024), rotated = BUF_INIT(1024), der = BUF_INIT(CMS_DER_MAX);
    struct rotate_job job = *wish;
    EVP_PKEY *pkey = NULL;
    fixture_password(len, password);
    MUST(sealing_key_public(session, key, &pkey, &err), err);
    fixture_seal(pkey, job.padding, password, len, &sealed);
    job.sealed = buf_bytes(&sealed);
    if (!token_rotate(session, key, new_key, &job, &rotated, &err))
        fail_msg("%s to %s, %zu bytes: %s: %s", padding_name(job.padding),
                 padding_name(job.new_padding), len, failure_name(err.kind), err.text);
    assert_int_equal(rotated.len, new_key->modulus_len);
    const struct reseal_job after = {.padding = job.new_padding,
                                     .custody = job.custody,
                                     .sealed = buf_bytes(&rotated),
                                     .recipient = device->certificate};
    MUST(token_reseal(session, new_key, &after, &der, &err), err);
    assert_device_opens(fixture, device, buf_bytes(&der), (struct bytes){password, len});
    buf_free(&sealed);
    buf_free(&rotated);
    buf_free(&der);
    EVP_PKEY_free(pkey);
}

/* Every pair of paddings, at the lengths where something could go wrong. */
static inline void assert_rotates_everything(const struct fixture *fixture,
                                             const struct fixture_device *device,
                                             struct session *session, struct sealing_key *key,
                                             struct sealing_key *new_key, enum custody custody,
                                             size_t bound)
{
    struct rotate_job job = {.custody = custody};
    for (job.padding = PADDING_FIRST; job.padding <= PADDING_LAST; job.padding++) {
        for (job.new_padding = PADDING_FIRST; job.new_padding <= PADDING_LAST; job.new_padding++) {
            size_t longest = padding_room(job.padding, EVP_PKEY_get_bits(key->pkey));
            size_t room = padding_room(job.new_padding, EVP_PKEY_get_bits(new_key->pkey));
            if (room < longest)
                longest = room;
            if (bound < longest)
                longest = bound;
            const size_t lengths[] = {0, 1, 17, longest};
            assert_rotates_with(session, key, new_key, job.padding, job.new_padding, custody);
            for (size_t i = 0; i < ARRAY_LEN(lengths); i++)
                assert_rotates(fixture, device, session, key, new_key, &job, lengths[i]);
        }
    }
}

/* Every bad message, and a good one that is too long for the new seal, gives the error that
 * token_reseal gives, to the letter, and leaves the session fit for work. */
static inline void assert_bad_seals_look_alike(struct session *session, struct sealing_key *key,
                                               struct sealing_key *new_key, enum custody custody)
{
    struct error uniform = ERROR_INIT;
    struct buf sealed = BUF_INIT(1024), rotated = BUF_INIT(1024);
    (void)!fail_message(&uniform);
    for (int i = 0; i <= BAD_MESSAGES; i++) {
        struct error err = ERROR_INIT;
        const char *name = "too long for the new seal";
        struct rotate_job job = {
            .padding = OAEP_SHA256, .new_padding = OAEP_SHA256, .custody = custody};
        if (i < BAD_MESSAGES) {
            name = fixture_bad_message(key->pkey, i, &sealed);
        } else {
            uint8_t password[160];
            fixture_password(sizeof password, password);
            assert_true(sizeof password > padding_room(OAEP_SHA512, 2048));
            fixture_seal(key->pkey, OAEP_SHA256, password, sizeof password, &sealed);
            job.new_padding = OAEP_SHA512;
        }
        job.sealed = buf_bytes(&sealed);
        if (token_rotate(session, key, new_key, &job, &rotated, &err))
            fail_msg("a seal was accepted: %s", name);
        if (err.kind != FAIL_CRYPTO || strcmp(err.text, uniform.text) != 0 ||
            strcmp(err.hint, uniform.hint) != 0)
            fail_msg("%s: %s: %s", name, failure_name(err.kind), err.text);
        assert_int_equal(rotated.len, 0);
        assert_false(session_lost(session));
    }
    buf_free(&sealed);
    buf_free(&rotated);
}

/* What was made on the token for a rotation is gone after it, whether it went well or not. */
static inline size_t fixture_session_objects(struct session *session)
{
    struct error err = ERROR_INIT;
    CK_OBJECT_HANDLE found[256];
    size_t count = 0;
    struct template template = {.count = 0};
    template_flag(&template, CKA_TOKEN, false);
    MUST(objects_find(session, &template, found, ARRAY_LEN(found), &count, &err), err);
    return count;
}

#endif
