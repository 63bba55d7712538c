/* SPDX-License-Identifier: Apache-2.0 */
/* What a probe has found out about a token and its sealing keys: plain facts that travel to whoever
 * shows them. */
#ifndef RESEAL_PROBE_REPORT_H
#define RESEAL_PROBE_REPORT_H

#include "reseal/cms.h"
#include "reseal/custody.h"
#include "reseal/padding.h"
#include "reseal/public_key.h"

#define PROBE_KEYS_MAX 16
#define CK_CALL_TEXT   64 /* a call by name: "C_DeriveKey(CKM_CONCATENATE_DATA_AND_BASE)" */
#define CK_RV_TEXT     48 /* longest name of a return value, e.g. "CKR_MECHANISM_PARAM_INVALID" */

/* Texts of CK_INFO and CK_TOKEN_INFO without their padding (PKCS#11 v3.1, section 3). */
struct token_facts {
    char label[33];
    char serial[17];
    char manufacturer[33];
    char model[17];
    char firmware[16]; /* "major.minor" */
    char library[48];  /* libraryDescription and libraryVersion of the module */
    unsigned long slot;
};

/* The outcome for one form of message, that is for one kind of device key. */
struct form_finding {
    enum custody custody;
    char call[CK_CALL_TEXT]; /* what kept it from custody token: "C_UnwrapKey(CKM_RSA_PKCS_OAEP)";
                             empty if nothing did */
    char ck_rv[CK_RV_TEXT];  /* by name; empty if nothing failed */
};

/* The outcome for one OAEP hash. */
struct padding_finding {
    enum padding padding;
    enum custody custody;    /* the best that any form reaches */
    char call[CK_CALL_TEXT]; /* what kept it from custody token, as above */
    char ck_rv[CK_RV_TEXT];  /* by name; empty if nothing failed */
    char quirk[160];         /* what was done differently for this token, in words; may be empty */
    struct form_finding forms[CMS_FORM_COUNT];
    struct form_finding others; /* what custody token makes no form for: device keys on other
                                   curves, longer text around the password. Custody host or none,
                                   with what kept it from that */
    char advice[400]; /* what would raise the lowest of these, in words; empty: nothing could */
    uint32_t affixes; /* bytes of text around the password that custody token takes; 0: none */
};

/* Attributes of the private key as read back: 1 true, 0 false, -1 the token does not say. */
struct key_attributes {
    signed char sensitive, always_sensitive, extractable, never_extractable, local;
    signed char unwrap, decrypt, sign;
};

struct key_finding {
    char name[129]; /* CKA_LABEL */
    char id[65];    /* CKA_ID in hex, cut to 32 bytes */
    int bits;
    char fingerprint[FINGERPRINT_TEXT]; /* SHA-256 of the SPKI, hex */
    struct key_attributes attributes;
    struct padding_finding paddings[PADDING_COUNT];
};

struct probe_report {
    struct token_facts token;
    size_t key_count;
    struct key_finding keys[PROBE_KEYS_MAX];
};

/* The finding for a key and padding, or NULL. */
const struct key_finding *probe_key(const struct probe_report *report,
                                    const char *key_name) MUST_USE;
const struct padding_finding *probe_padding(const struct key_finding *key,
                                            enum padding padding) MUST_USE;

struct json_writer;
/* Writes an object named `name`; NULL: as an element of an array. */
void probe_key_write(struct json_writer *json, const char *name, const struct key_finding *key);
/* Writes the member "token" into an open object. */
void probe_token_write(struct json_writer *json, const struct token_facts *token);
/* Writes the members "token" and "keys" into an open object. */
void probe_report_write(struct json_writer *json, const struct probe_report *report);

#endif
