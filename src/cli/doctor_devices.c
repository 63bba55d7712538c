/* SPDX-License-Identifier: Apache-2.0 */
/* The device CAs: that they load is one thing, that they are still valid another. */
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <string.h>
#include <time.h>
#include "doctor.h"
#include "reseal/device_trust.h"
#include "reseal/file.h"

#define PEM_FILE_MAX (4 * 1024 * 1024)
#define SOON_DAYS    30

/* Days from now until `when`, negative once it has passed. */
static bool days_left(const ASN1_TIME *when, int *days)
{
    int seconds = 0;
    return when != NULL && ASN1_TIME_diff(days, &seconds, NULL, when) == 1 &&
           (*days != 0 || seconds >= 0 || (*days = -1) != 0);
}

static void judge_ca(struct doctor *doctor, X509 *ca, size_t *valid)
{
    char name[256] = "";
    int days = 0;
    X509_NAME_oneline(X509_get_subject_name(ca), name, sizeof name);
    if (!days_left(X509_get0_notAfter(ca), &days)) {
        doctor_say(doctor, DOCTOR_DEVICES, MARK_WARNING, "put a sound certificate into device_ca",
                   "the CA %s has no readable end of validity", name);
    } else if (days < 0) {
        doctor_say(doctor, DOCTOR_DEVICES, MARK_WARNING,
                   "devices with its certificates are refused; put its successor into device_ca",
                   "the CA %s has expired", name);
    } else {
        (*valid)++;
        if (days < SOON_DAYS)
            doctor_say(doctor, DOCTOR_DEVICES, MARK_WARNING, "put its successor into device_ca",
                       "the CA %s expires in %d days", name, days);
    }
}

static BIO *open_pem(struct doctor *doctor, const char *path, struct buf *content)
{
    struct error err = ERROR_INIT;
    if (!file_read(path, content, &err)) {
        doctor_error(doctor, DOCTOR_DEVICES, MARK_FAILURE, &err,
                     "correct [connector] device_ca and device_crl");
        return NULL;
    }
    return BIO_new_mem_buf(content->data, (int)content->len);
}

static size_t judge_cas(struct doctor *doctor, const char *path)
{
    struct buf content = BUF_INIT(PEM_FILE_MAX);
    BIO *pem = open_pem(doctor, path, &content);
    size_t valid = 0;
    X509 *ca;
    while (pem != NULL && (ca = PEM_read_bio_X509(pem, NULL, NULL, NULL)) != NULL) {
        judge_ca(doctor, ca, &valid);
        X509_free(ca);
    }
    ERR_clear_error(); /* the end of the file is an error to the PEM reader */
    BIO_free(pem);
    buf_free(&content);
    return valid;
}

static void judge_crls(struct doctor *doctor, const char *path)
{
    struct buf content = BUF_INIT(PEM_FILE_MAX);
    BIO *pem = open_pem(doctor, path, &content);
    size_t count = 0, stale = 0;
    X509_CRL *crl;
    while (pem != NULL && (crl = PEM_read_bio_X509_CRL(pem, NULL, NULL, NULL)) != NULL) {
        int days = 0;
        count++;
        if (days_left(X509_CRL_get0_nextUpdate(crl), &days) && days < 0)
            stale++;
        X509_CRL_free(crl);
    }
    ERR_clear_error();
    BIO_free(pem);
    buf_free(&content);
    if (stale > 0)
        doctor_say(doctor, DOCTOR_DEVICES, MARK_FAILURE,
                   "fetch the CRLs anew: devices of that CA are refused until then",
                   "%zu of %zu CRLs in %s are past their next update", stale, count, path);
    else if (count > 0)
        doctor_say(doctor, DOCTOR_DEVICES, MARK_OK, NULL, "%zu CRLs in %s are current", count,
                   path);
}

void doctor_devices(struct doctor *doctor)
{
    const char *ca_path = config_text(doctor->config, "connector", "device_ca");
    const char *crl_path = config_text(doctor->config, "connector", "device_crl");
    struct device_trust *trust = NULL;
    struct error err = ERROR_INIT;
    if (ca_path == NULL) {
        /* A hub with an external engine reads [queue], too, and needs no device CA. */
        if (config_given(doctor->config, "queue", "credentials") &&
            strcmp(config_text(doctor->config, "hub", "queue"), "external") != 0)
            doctor_say(doctor, DOCTOR_DEVICES, MARK_FAILURE,
                       "set it to a PEM file with the CAs of your devices",
                       "[connector] device_ca is not set: reseald does not start without it");
        return;
    }
    if (!device_trust_load(ca_path, crl_path, &trust, &err)) {
        doctor_error(doctor, DOCTOR_DEVICES, MARK_FAILURE, &err,
                     "reseald does not start without them; correct [connector] device_ca and "
                     "device_crl");
        return;
    }
    size_t count = device_trust_count(trust);
    size_t valid = judge_cas(doctor, ca_path);
    if (valid == 0)
        doctor_say(doctor, DOCTOR_DEVICES, MARK_FAILURE, "put valid CA certificates into the file",
                   "none of the %zu device CAs in %s is valid", count, ca_path);
    else
        doctor_say(doctor, DOCTOR_DEVICES, MARK_OK, NULL, "device CAs in %s: %zu of %zu valid",
                   ca_path, valid, count);
    if (crl_path != NULL)
        judge_crls(doctor, crl_path);
    device_trust_free(&trust);
}
