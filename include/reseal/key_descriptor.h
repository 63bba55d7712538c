/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The descriptor of a sealing key: a small INI file that `reseal ceremony commit` writes when all
 * that the plan asks for was done, and without which the connector does not use the key.
 *
 * The mark is a file and nothing on the token, because tokens do not agree on any: softokn keeps no
 * data objects, others let no attribute be changed, and a sealing key is made unmodifiable. It
 * binds the public half of the key, by its SHA-256, to the transcript of its ceremony; where the
 * key is and how it is called there does not matter, so that a replica needs no other one. It keeps
 * a key from being used too early by mistake. Whoever may write the connector's configuration can
 * write a descriptor as well; what was really done, the transcript and its signatures prove.
 */
#ifndef RESEAL_KEY_DESCRIPTOR_H
#define RESEAL_KEY_DESCRIPTOR_H

#include "reseal/config.h"
#include "reseal/custody.h"
#include "reseal/public_key.h"

#define DESCRIPTOR_MAX   8192 /* bytes of the file */
#define DESCRIPTORS_MAX  16   /* of one token */
#define DESCRIPTOR_ID    65   /* CKA_ID in hex, and the end mark */
#define DESCRIPTOR_LABEL 129

struct key_descriptor {
    char label[DESCRIPTOR_LABEL]; /* CKA_LABEL at its birth */
    char id[DESCRIPTOR_ID];       /* CKA_ID, in hex */
    int bits;
    enum custody custody;                     /* what it was made for */
    char fingerprint[FINGERPRINT_TEXT];       /* SHA-256 of the SPKI, hex */
    char token[33], serial[17];               /* on which it was born */
    char transcript[1024];                    /* path of the record */
    char transcript_sha256[FINGERPRINT_TEXT]; /* of the record's last line before the commit */
    int signatures;                           /* of witnesses that were counted */
    char committed[32];                       /* RFC 3339 */
    bool retired; /* `reseal key retire` has put its mark beside the file: the key is not served */
};

/* Appends the text of the file. */
void key_descriptor_format(const struct key_descriptor *descriptor, struct buf *out);
bool key_descriptor_load(const char *path, struct key_descriptor *out, struct error *err) MUST_USE;
/* The same from its text; no file is opened. */
bool key_descriptor_parse(const char *path, struct bytes text, struct key_descriptor *out,
                          struct error *err) MUST_USE;
/* The path of the mark by which a descriptor is retired, a file beside it: the descriptor itself
 * stays what its transcript says. */
bool key_descriptor_mark(const char *path, char *out, size_t size, struct error *err) MUST_USE;

/* Where the descriptor is that a token's section names so: relative to the configuration's folder.
 */
bool key_descriptor_path(const struct config *config, const char *named, char *out, size_t size,
                         struct error *err) MUST_USE;
/* Those that a token's section names in `descriptor`. `out` has room for DESCRIPTORS_MAX. */
bool key_descriptors_load(const struct config *config, const char *section,
                          struct key_descriptor *out, size_t *count, struct error *err) MUST_USE;
/* The one of that public key, or NULL. */
const struct key_descriptor *key_descriptor_of(const struct key_descriptor *descriptors,
                                               size_t count, const char *fingerprint) MUST_USE;
/* True where a descriptor of the section tells of a key with that label, and is retired. */
bool key_descriptor_retires(const struct config *config, const char *section,
                            const char *label) MUST_USE;
/* True where the section lets keys be served that no descriptor names. */
bool key_uncommitted_allowed(const struct config *config, const char *section) MUST_USE;
/* FAIL_POLICY about a key that no descriptor names. */
bool key_fail_uncommitted(const char *label, const char *fingerprint, struct error *err);

#endif
