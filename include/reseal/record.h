/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One imported PFX: Graph's userPFXCertificate resource (beta), its JSON and its bounds.
 */
#ifndef RESEAL_RECORD_H
#define RESEAL_RECORD_H

#include "reseal/buf.h"
#include "reseal/padding.h"

#define RECORD_ID_MAX     128   /* "{user id}-{thumbprint}" */
#define RECORD_UPN_MAX    320   /* bytes; the longest mail address */
#define RECORD_NAME_MAX   128   /* bytes; keyName, providerName */
#define RECORD_BLOB_MAX   65536 /* bytes of the PFX */
#define RECORD_SEALED_MAX 512   /* bytes of the sealed password: RSA-4096 */
#define RECORD_THUMBPRINT 41    /* 40 hex digits and the end mark */

/* Graph's userPfxIntendedPurpose. */
enum purpose {
    PURPOSE_UNASSIGNED = 0,
    PURPOSE_SMIME_ENCRYPTION = 1,
    PURPOSE_SMIME_SIGNING = 2,
    PURPOSE_VPN = 4,
    PURPOSE_WIFI = 8,
};
bool purpose_parse(const char *name, enum purpose *out, struct error *err) MUST_USE;
const char *purpose_name(enum purpose purpose) MUST_USE;

struct record {
    char id[RECORD_ID_MAX + 1];         /* given by the store; empty before */
    char thumbprint[RECORD_THUMBPRINT]; /* SHA-1 of the certificate, lower-case hex */
    enum purpose purpose;
    char user_principal_name[RECORD_UPN_MAX + 1];
    int64_t not_before_ms, not_after_ms; /* startDateTime, expirationDateTime */
    char provider_name[RECORD_NAME_MAX + 1];
    char key_name[RECORD_NAME_MAX + 1];
    enum padding padding;
    struct buf pfx;                  /* encryptedPfxBlob, decoded; owned */
    struct buf sealed;               /* encryptedPfxPassword, decoded; owned */
    int64_t created_ms, modified_ms; /* given by the store; 0 before */
};

void record_init(struct record *record);
void record_free(struct record *record);

/* Whether secrets are part of the JSON: a store answers "AA==" and "" in their place (write-only).
 */
enum record_secrets {
    RECORD_WITHOUT_SECRETS,
    RECORD_WITH_SECRETS,
};

struct json_value;
struct json_writer;
/* Reads the JSON object; both blob and password must be there with RECORD_WITH_SECRETS, and are not
 * looked at otherwise. `record` was initialised by record_init and is to be freed in any case. */
bool record_read(const struct json_value *object, enum record_secrets secrets,
                 struct record *record, struct error *err) MUST_USE;
/* Writes the members into an object; the caller opens and ends the object. */
void record_write(struct json_writer *json, const struct record *record,
                  enum record_secrets secrets);

#endif
