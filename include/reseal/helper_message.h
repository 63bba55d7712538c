/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What reseald and reseal-hsm say to each other, inside frames (reseal/frame.h).
 *
 *   helper -> connector   LOGGING_IN  once, without a body, right before the first C_Login
 *   helper -> connector   HELLO       once, as request number 0: the token, its keys and the probe
 *                                     report; or the error for which the helper cannot serve
 *   connector -> helper   RESEAL      one job
 *   helper -> connector   RESEALED    CMS DER and the custody that was really used
 *   helper -> connector   FAILED      an error (kind, text, hint)
 *   client -> helper      ROTATE      a sealed password is to be sealed with another key of the
 *                                     same token, one that the configuration names as well
 *   helper -> client      ROTATED     the new sealed password and the custody that was really used
 *   connector -> helper   STATUS      asks for counters
 *   helper -> connector   STATUS_IS   the counters
 *   connector -> helper   LOGIN       whether it may log in again once its login is lost
 *   helper -> connector   LOGIN_IS    the rule that it keeps from now on: no login is under way
 *
 * A helper that dies or hangs between LOGGING_IN and HELLO may have spent a try of the PIN: that
 * counts as a refused PIN, for no module may lock a token by crashing again and again.
 *
 * One token has at times more than one helper, and a PIN that is wrong by now must be tried by one
 * of them only: by LOGIN the others are told to wait for its outcome, or to leave it alone.
 *
 * Each side decodes with bounds and treats the other as hostile. Decoded views point into the
 * frame.
 */
#ifndef RESEAL_HELPER_MESSAGE_H
#define RESEAL_HELPER_MESSAGE_H

#include "reseal/cms.h"
#include "reseal/probe_report.h"
#include "reseal/request.h"

/* Body of one frame: prefix, suffix, sealed password and certificate, with room for the fields
 * around. */
#define HELPER_BODY_MAX  (160 * 1024)
#define HELPER_AFFIX_MAX (64 * 1024) /* prefix and suffix each, bytes */
#define HELPER_FD        3           /* the helper's end of the socket pair */

enum helper_message_type {
    HELPER_HELLO = 1,
    HELPER_RESEAL = 2,
    HELPER_RESEALED = 3,
    HELPER_FAILED = 4,
    HELPER_STATUS = 5,
    HELPER_STATUS_IS = 6,
    HELPER_LOGGING_IN = 7,
    HELPER_ROTATE = 8,
    HELPER_ROTATED = 9,
    HELPER_LOGIN = 10,
    HELPER_LOGIN_IS = 11,
};

struct hello_message {
    bool ready; /* false: `error` says why, and the helper ends */
    struct error error;
    unsigned sessions; /* jobs that are worked on at once */
    struct probe_report report;
};

struct reseal_message {
    char key_name[RECORD_NAME_MAX + 1];
    enum padding padding;
    struct bytes sealed;             /* at most RECORD_SEALED_MAX */
    struct bytes prefix, suffix;     /* content around the password; usually empty */
    bool in_cdata;                   /* they put it into a CDATA section, which it must not end */
    struct bytes device_certificate; /* DER */
    enum key_transport transport;
};

struct resealed_message {
    enum custody custody;
    struct bytes der; /* at most CMS_DER_MAX */
};

struct rotate_message {
    char key_name[RECORD_NAME_MAX + 1], new_key_name[RECORD_NAME_MAX + 1];
    enum padding padding, new_padding;
    struct bytes sealed; /* at most RECORD_SEALED_MAX */
};

struct rotated_message {
    enum custody custody;
    struct bytes sealed; /* at most RECORD_SEALED_MAX */
};

struct status_message {
    uint64_t done, failed; /* jobs since the start */
    uint64_t busy;         /* jobs in hand */
    uint64_t token_cpu_us; /* reserved for CPU accounting of C_* calls; 0 where not measured */
    uint64_t resident_kib; /* memory of the process, as it sees it itself; 0 where not known */
};

enum login_rule {
    LOGIN_FREE,  /* as it must; so each helper begins */
    LOGIN_HELD,  /* wait: another helper is trying the PIN */
    LOGIN_NEVER, /* what cannot go on without a login fails for `why` */
};

struct login_message {
    enum login_rule rule;
    struct error why; /* LOGIN of LOGIN_NEVER; otherwise FAIL_NONE */
};

bool hello_encode(const struct hello_message *message, struct buf *out, struct error *err) MUST_USE;
bool hello_decode(struct bytes body, struct hello_message *out, struct error *err) MUST_USE;
bool reseal_encode(const struct reseal_message *message, struct buf *out,
                   struct error *err) MUST_USE;
bool reseal_decode(struct bytes body, struct reseal_message *out, struct error *err) MUST_USE;
bool resealed_encode(const struct resealed_message *message, struct buf *out,
                     struct error *err) MUST_USE;
bool resealed_decode(struct bytes body, struct resealed_message *out, struct error *err) MUST_USE;
bool rotate_encode(const struct rotate_message *message, struct buf *out,
                   struct error *err) MUST_USE;
bool rotate_decode(struct bytes body, struct rotate_message *out, struct error *err) MUST_USE;
bool rotated_encode(const struct rotated_message *message, struct buf *out,
                    struct error *err) MUST_USE;
bool rotated_decode(struct bytes body, struct rotated_message *out, struct error *err) MUST_USE;
bool failed_encode(const struct error *failure, struct buf *out, struct error *err) MUST_USE;
bool failed_decode(struct bytes body, struct error *out, struct error *err) MUST_USE;
bool status_encode(const struct status_message *message, struct buf *out,
                   struct error *err) MUST_USE;
bool status_decode(struct bytes body, struct status_message *out, struct error *err) MUST_USE;
bool login_encode(const struct login_message *message, struct buf *out, struct error *err) MUST_USE;
bool login_decode(struct bytes body, struct login_message *out, struct error *err) MUST_USE;

#endif
