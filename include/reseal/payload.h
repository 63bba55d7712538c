/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a device takes: the payload of a result in each format.
 *
 * - cms: the CMS EnvelopedData itself; in it the password, byte for byte.
 * - apple-profile: a configuration profile (XML property list) whose EncryptedPayloadContent is a
 *   CMS EnvelopedData; in it a property list with one com.apple.security.pkcs12 payload, which has
 *   the PFX and the password. The password is put into a CDATA section by the token, unseen: so it
 *   must be text that can stand there (cdata_trouble in reseal/xml_text.h), and whoever seals it is
 *   trusted with what the profile says: one that ends the section goes on as part of the list.
 * - windows-csp: SyncML that fills a node of Windows' ClientCertificateInstall CSP: the PFX, and as
 *   its password the base64 of a CMS EnvelopedData.
 */
#ifndef RESEAL_PAYLOAD_H
#define RESEAL_PAYLOAD_H

#include "reseal/config.h"
#include "reseal/request.h"

#define PAYLOAD_PFX_MAX                                                                            \
    (45 * 1024) /* bytes of a PFX that fits into a profile, whatever its names */

/* Formats of [connector], and the sections [apple] and [windows] of the configuration, which owns
 * the texts. */
struct payload_options {
    bool made[FORMAT_COUNT]; /* the connector makes that format */
    struct {
        const char *identifier;   /* what PayloadIdentifiers begin with */
        const char *organization; /* PayloadOrganization; NULL: none */
        bool extractable;         /* KeyIsExtractable, on macOS */
        bool all_apps;            /* AllowAllAppsAccess, on macOS */
    } apple;
    struct {
        const char *root;         /* "./User/Vendor/MSFT" or "./Device/Vendor/MSFT" */
        unsigned key_location;    /* of the CSP: 1 TPM, 2 TPM if there is one, 3 software */
        bool exportable;          /* PFXKeyExportable */
        const char *device_store; /* certificate store with the device's certificate; NULL: it is
                                     that of the device's enrolment in MDM */
    } windows;
};
/* FAIL_USAGE where the settings contradict each other. */
bool payload_options_read(const struct config *config, struct payload_options *out,
                          struct error *err) MUST_USE;

/* The format is one that is made (FAIL_UNSUPPORTED), and what it needs of the request is there
 * (FAIL_INPUT) and fits (FAIL_TOO_LARGE). */
bool payload_check(const struct payload_options *options, const struct request *request,
                   struct error *err) MUST_USE;
/* The format has the password inside a text, in a CDATA section. */
bool payload_has_cdata(const struct request *request) MUST_USE;
/* Appends what comes before and behind the password inside the CMS: nothing, unless the format has
 * it inside a text. Their length together is a multiple of 16, so that the length of the CMS tells
 * no more of that of the password than without them. */
bool payload_around_password(const struct payload_options *options, const struct request *request,
                             struct buf *prefix, struct buf *suffix, struct error *err) MUST_USE;
/* Appends what the device gets, made of the CMS in DER. FAIL_TOO_LARGE beyond the ceiling of
 * `out`. */
bool payload_write(const struct payload_options *options, const struct request *request,
                   struct bytes der, struct buf *out, struct error *err) MUST_USE;

#endif
