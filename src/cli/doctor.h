/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `reseal doctor`: each area examines what the configuration of this machine has of it and adds
 * findings. What is not configured here is not this machine's business and is left out.
 */
#ifndef RESEAL_CLI_DOCTOR_H
#define RESEAL_CLI_DOCTOR_H

#include "command.h"
#include "reseal/probe_report.h"

enum doctor_area {
    DOCTOR_CONFIG,
    DOCTOR_TOKEN,
    DOCTOR_PIN,
    DOCTOR_CONNECTOR,
    DOCTOR_KEY,
    DOCTOR_DEVICES,
    DOCTOR_QUEUE,
    DOCTOR_CLIENT,
    DOCTOR_AREAS,
};

struct doctor {
    const struct invocation *invocation;
    const struct config *config;
    struct json *status;           /* what the running connector says; NULL: it does not answer */
    const char *section;           /* of the token that is examined */
    const char *about;             /* its name, put before each finding; NULL: there is only one */
    bool login;                    /* --login: the PIN may be tried once */
    struct json_writer *json;      /* an open array; NULL: findings are printed as they come */
    size_t warnings;               /* counted */
    size_t failures[DOCTOR_AREAS]; /* counted for each area */
};

/* One finding. `hint` says what to do and is NULL where all is well. */
void doctor_say(struct doctor *doctor, enum doctor_area area, enum mark mark, const char *hint,
                const char *format, ...) PRINTF_LIKE(5, 6);
/* A failure, or a warning, with the text and the hint of an error; `hint` serves where it has none.
 */
void doctor_error(struct doctor *doctor, enum doctor_area area, enum mark mark,
                  const struct error *err, const char *hint);
/* 0 where nothing failed; 4 where only the token's side did, 5 where only what is remote did,
 * otherwise 1. */
int doctor_status(const struct doctor *doctor) MUST_USE;

/* As root, on a machine with the service's user: whether he can read the files of the connector. */
void doctor_access(struct doctor *doctor);
/* Whether the configuration says where that token is. */
bool doctor_has_token(const struct config *config, const char *section) MUST_USE;
/* Each token of the configuration, or that of --token: module, token, PIN, connector and keys. */
void doctor_token(struct doctor *doctor);
/* Asks the running connector once; doctor->status is to be freed. */
void doctor_connector(struct doctor *doctor);
/* What the running connector says of doctor->section: true where its helper is ready, that is,
 * where it has proved PIN and keys; then their findings have been added. */
bool doctor_connector_token(struct doctor *doctor) MUST_USE;
/* Attributes and custody of one key. */
void doctor_key(struct doctor *doctor, const struct key_finding *key);
/* Whether the key was committed. */
void doctor_commit(struct doctor *doctor, const struct key_finding *key);
/* [connector] device_ca and device_crl. */
void doctor_devices(struct doctor *doctor);
/* [queue]: both queues, credentials, clock. */
void doctor_queue(struct doctor *doctor);
/* [client]: public key, hub and its bearer token. */
void doctor_client(struct doctor *doctor);

#endif
