/* SPDX-License-Identifier: Apache-2.0 */
/* The door that keeps a hostile queue from asking for every password. */
#include <unistd.h>
#include "tests/unit/pki.h"
#include "reseal/clock.h"
#include "reseal/device_trust.h"
#include "reseal/file.h"

#define DAY 86400L

static char folder[] = "/tmp/reseal-trust-XXXXXX";
static char ca_path[64], crl_path[64];
static EVP_PKEY *ca_key, *other_key, *device_key;
static X509 *ca, *other_ca;

static X509 *issue(X509 *issuer, EVP_PKEY *issuer_key, EVP_PKEY *key, long from, long until)
{
    return pki_certificate(&(struct pki_wish){.name = "device",
                                              .key = key,
                                              .issuer = issuer,
                                              .issuer_key = issuer_key,
                                              .from_s = from,
                                              .until_s = until,
                                              .serial = 77});
}

static int set_up(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct buf pem = BUF_INIT(65536);
    if (mkdtemp(folder) == NULL)
        return -1;
    snprintf(ca_path, sizeof ca_path, "%s/ca.pem", folder);
    snprintf(crl_path, sizeof crl_path, "%s/crl.pem", folder);
    ca_key = EVP_RSA_gen(2048);
    other_key = EVP_RSA_gen(2048);
    device_key = EVP_RSA_gen(2048);
    ca = pki_certificate(&(struct pki_wish){
        .name = "device CA", .key = ca_key, .until_s = 10 * DAY, .serial = 1, .ca = true});
    other_ca = pki_certificate(&(struct pki_wish){
        .name = "other CA", .key = other_key, .until_s = 10 * DAY, .serial = 1, .ca = true});
    pki_pem(&ca, 1, &pem);
    bool ok = file_write(ca_path, 0644, FILE_REPLACE, buf_bytes(&pem), &err);
    buf_free(&pem);
    return ok ? 0 : -1;
}

static int clean_up(void **state)
{
    (void)state;
    EVP_PKEY_free(ca_key);
    EVP_PKEY_free(other_key);
    EVP_PKEY_free(device_key);
    X509_free(ca);
    X509_free(other_ca);
    unlink(ca_path);
    unlink(crl_path);
    return rmdir(folder);
}

static enum failure check(X509 *certificate, const char *crl, struct error *err)
{
    struct device_trust *trust = NULL;
    struct buf der = BUF_INIT(8192);
    X509 *accepted = NULL;
    *err = (struct error)ERROR_INIT;
    assert_ok(device_trust_load(ca_path, crl, &trust, err), err);
    assert_int_equal(device_trust_count(trust), 1);
    pki_der(certificate, &der);
    bool ok = device_certificate_check(trust, buf_bytes(&der), clock_real_ms(), &accepted, err);
    assert_int_equal(ok, accepted != NULL);
    X509_free(accepted);
    buf_free(&der);
    device_trust_free(&trust);
    return ok ? FAIL_NONE : err->kind;
}

static void a_certificate_of_the_device_ca_is_accepted(void **state)
{
    (void)state;
    struct error err;
    X509 *device = issue(ca, ca_key, device_key, -DAY, DAY);
    assert_int_equal(check(device, NULL, &err), FAIL_NONE);
    X509_free(device);
}

static void a_certificate_of_another_ca_is_refused(void **state)
{
    (void)state;
    struct error err;
    X509 *device = issue(other_ca, other_key, device_key, -DAY, DAY);
    assert_int_equal(check(device, NULL, &err), FAIL_POLICY);
    assert_non_null(strstr(err.text, "no configured device_ca has issued it"));
    assert_non_null(strstr(err.hint, "device_ca"));
    X509_free(device);
    /* The right name on the wrong signature helps no more. */
    device = issue(ca, other_key, device_key, -DAY, DAY);
    assert_int_equal(check(device, NULL, &err), FAIL_POLICY);
    X509_free(device);
    device = issue(NULL, NULL, device_key, -DAY, DAY);
    assert_int_equal(check(device, NULL, &err), FAIL_POLICY);
    X509_free(device);
}

static void a_ca_is_no_device(void **state)
{
    (void)state;
    struct error err;
    assert_int_equal(check(ca, NULL, &err), FAIL_POLICY);
    assert_non_null(strstr(err.text, "is that of a CA"));
}

static void a_certificate_out_of_its_time_is_refused(void **state)
{
    (void)state;
    struct error err;
    X509 *expired = issue(ca, ca_key, device_key, -2 * DAY, -DAY);
    X509 *early = issue(ca, ca_key, device_key, DAY, 2 * DAY);
    assert_int_equal(check(expired, NULL, &err), FAIL_POLICY);
    assert_non_null(strstr(err.text, "expired"));
    assert_int_equal(check(early, NULL, &err), FAIL_POLICY);
    assert_non_null(strstr(err.text, "not yet valid"));
    X509_free(expired);
    X509_free(early);
}

static void an_accepted_certificate_is_refused_once_its_time_is_over(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct device_trust *trust = NULL;
    struct buf der = BUF_INIT(8192);
    X509 *device = issue(ca, ca_key, device_key, -DAY, 60);
    X509 *first = NULL, *again = NULL, *late = NULL;
    int64_t now_ms = clock_real_ms();
    assert_ok(device_trust_load(ca_path, NULL, &trust, &err), &err);
    pki_der(device, &der);
    assert_ok(device_certificate_check(trust, buf_bytes(&der), now_ms, &first, &err), &err);
    assert_ok(device_certificate_check(trust, buf_bytes(&der), now_ms + 1, &again, &err), &err);
    assert_ptr_equal(first, again); /* kept, not read anew */
    assert_refused(device_certificate_check(trust, buf_bytes(&der), now_ms + 61000, &late, &err),
                   &err, FAIL_POLICY);
    assert_refused(
        device_certificate_check(trust, buf_bytes(&der), now_ms - 2 * DAY * 1000, &late, &err),
        &err, FAIL_POLICY);
    der.data[der.len - 1] ^= 1; /* another signature is another certificate */
    assert_refused(device_certificate_check(trust, buf_bytes(&der), now_ms, &late, &err), &err,
                   FAIL_POLICY);
    X509_free(first);
    X509_free(again);
    X509_free(device);
    buf_free(&der);
    device_trust_free(&trust);
}

static void a_weak_key_or_signature_is_refused(void **state)
{
    (void)state;
    struct error err;
    EVP_PKEY *weak = EVP_RSA_gen(1024);
    EVP_PKEY *curve = EVP_EC_gen("P-256");
    EVP_PKEY *small = EVP_EC_gen("P-224");
    EVP_PKEY *edwards = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    EVP_PKEY *const refused[] = {weak, small, edwards};
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        X509 *device = issue(ca, ca_key, refused[i], -DAY, DAY);
        assert_int_equal(check(device, NULL, &err), FAIL_POLICY);
        assert_non_null(strstr(err.text, "too weak"));
        X509_free(device);
        EVP_PKEY_free(refused[i]);
    }
    X509 *device = issue(ca, ca_key, curve, -DAY, DAY);
    assert_int_equal(check(device, NULL, &err), FAIL_NONE);
    X509_free(device);
    device = pki_certificate(&(struct pki_wish){.name = "sha1",
                                                .key = device_key,
                                                .issuer = ca,
                                                .issuer_key = ca_key,
                                                .until_s = DAY,
                                                .serial = 5,
                                                .hash = EVP_sha1()});
    assert_int_equal(check(device, NULL, &err), FAIL_POLICY);
    X509_free(device);
    EVP_PKEY_free(curve);
}

static void write_crl(bool revoke, long until_s)
{
    struct error err = ERROR_INIT;
    struct buf pem = BUF_INIT(65536);
    char *text = NULL;
    X509_CRL *crl = X509_CRL_new();
    ASN1_TIME *now = X509_gmtime_adj(NULL, -60), *later = X509_gmtime_adj(NULL, until_s);
    X509_CRL_set_version(crl, X509_CRL_VERSION_2);
    X509_CRL_set_issuer_name(crl, X509_get_subject_name(ca));
    X509_CRL_set1_lastUpdate(crl, now);
    X509_CRL_set1_nextUpdate(crl, later);
    if (revoke) {
        X509_REVOKED *entry = X509_REVOKED_new();
        ASN1_INTEGER *serial = ASN1_INTEGER_new();
        ASN1_INTEGER_set(serial, 77);
        X509_REVOKED_set_serialNumber(entry, serial);
        X509_REVOKED_set_revocationDate(entry, now);
        ASN1_INTEGER_free(serial);
        X509_CRL_add0_revoked(crl, entry);
    }
    assert_true(X509_CRL_sign(crl, ca_key, EVP_sha256()) > 0);
    BIO *bio = BIO_new(BIO_s_mem());
    PEM_write_bio_X509_CRL(bio, crl);
    long len = BIO_get_mem_data(bio, &text);
    buf_put(&pem, text, (size_t)len);
    assert_ok(file_write(crl_path, 0644, FILE_REPLACE, buf_bytes(&pem), &err), &err);
    BIO_free(bio);
    buf_free(&pem);
    ASN1_TIME_free(now);
    ASN1_TIME_free(later);
    X509_CRL_free(crl);
}

static void a_revoked_certificate_is_refused(void **state)
{
    (void)state;
    struct error err;
    X509 *device = issue(ca, ca_key, device_key, -DAY, DAY);
    write_crl(false, DAY);
    assert_int_equal(check(device, crl_path, &err), FAIL_NONE);
    write_crl(true, DAY);
    assert_int_equal(check(device, crl_path, &err), FAIL_POLICY);
    assert_non_null(strstr(err.text, "revoked"));
    X509_free(device);
}

static void an_expired_crl_refuses_nobody_and_lets_nobody_in(void **state)
{
    (void)state;
    struct error err;
    X509 *device = issue(ca, ca_key, device_key, -DAY, DAY);
    write_crl(false, -30);
    assert_int_equal(check(device, crl_path, &err), FAIL_TOKEN); /* not final: the request waits */
    assert_non_null(strstr(err.text, "CRL has expired"));
    X509_free(device);
}

static void a_new_crl_counts_without_a_restart(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct device_trust *trust = NULL;
    struct buf der = BUF_INIT(8192);
    X509 *device = issue(ca, ca_key, device_key, -DAY, DAY), *accepted = NULL;
    int64_t now_ms = clock_real_ms();
    pki_der(device, &der);
    write_crl(false, DAY);
    assert_ok(device_trust_load(ca_path, crl_path, &trust, &err), &err);
    assert_ok(device_certificate_check(trust, buf_bytes(&der), now_ms, &accepted, &err), &err);
    X509_free(accepted);
    write_crl(true, DAY);
    assert_refused(
        device_certificate_check(trust, buf_bytes(&der), now_ms + 10000, &accepted, &err), &err,
        FAIL_POLICY);
    /* A broken file leaves the last good one in force. */
    assert_ok(file_write(crl_path, 0644, FILE_REPLACE,
                         (struct bytes){(const uint8_t *)"rubbish", 7}, &err),
              &err);
    assert_refused(
        device_certificate_check(trust, buf_bytes(&der), now_ms + 20000, &accepted, &err), &err,
        FAIL_POLICY);
    write_crl(false, DAY);
    assert_ok(device_certificate_check(trust, buf_bytes(&der), now_ms + 30000, &accepted, &err),
              &err);
    X509_free(accepted);
    X509_free(device);
    buf_free(&der);
    device_trust_free(&trust);
}

static void a_damaged_block_is_not_taken_for_the_end_of_the_file(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct device_trust *trust = NULL;
    struct buf pem = BUF_INIT(65536);
    char path[80];
    X509 *const both[] = {ca, other_ca};
    snprintf(path, sizeof path, "%s/both.pem", folder);
    pki_pem(both, 2, &pem);
    assert_ok(file_write(path, 0644, FILE_REPLACE, buf_bytes(&pem), &err), &err);
    assert_ok(device_trust_load(path, NULL, &trust, &err), &err);
    assert_int_equal(device_trust_count(trust), 2);
    device_trust_free(&trust);
    pem.data[pem.len - 60] = '!'; /* in the second certificate */
    assert_ok(file_write(path, 0644, FILE_REPLACE, buf_bytes(&pem), &err), &err);
    assert_refused(device_trust_load(path, NULL, &trust, &err), &err, FAIL_USAGE);
    unlink(path);
    buf_free(&pem);
}

static void what_is_no_certificate_is_bad_input(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct device_trust *trust = NULL;
    struct buf der = BUF_INIT(8192);
    X509 *accepted = NULL;
    X509 *device = issue(ca, ca_key, device_key, -DAY, DAY);
    assert_ok(device_trust_load(ca_path, NULL, &trust, &err), &err);
    pki_der(device, &der);
    for (size_t len = 0; len < der.len; len += 7) {
        struct bytes cut = {der.data, len};
        assert_refused(device_certificate_check(trust, cut, clock_real_ms(), &accepted, &err), &err,
                       FAIL_INPUT);
    }
    buf_put_u8(&der, 0); /* something behind the certificate */
    assert_refused(
        device_certificate_check(trust, buf_bytes(&der), clock_real_ms(), &accepted, &err), &err,
        FAIL_INPUT);
    buf_free(&der);
    X509_free(device);
    device_trust_free(&trust);
}

static void a_device_ca_file_without_certificates_is_refused(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct device_trust *trust = NULL;
    char empty[80];
    snprintf(empty, sizeof empty, "%s/empty.pem", folder);
    assert_ok(file_write(empty, 0644, FILE_REPLACE, (struct bytes){NULL, 0}, &err), &err);
    assert_refused(device_trust_load(empty, NULL, &trust, &err), &err, FAIL_USAGE);
    unlink(empty);
    assert_refused(device_trust_load(empty, NULL, &trust, &err), &err, FAIL_NOT_FOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_certificate_of_the_device_ca_is_accepted),
        cmocka_unit_test(a_certificate_of_another_ca_is_refused),
        cmocka_unit_test(a_ca_is_no_device),
        cmocka_unit_test(a_certificate_out_of_its_time_is_refused),
        cmocka_unit_test(an_accepted_certificate_is_refused_once_its_time_is_over),
        cmocka_unit_test(a_weak_key_or_signature_is_refused),
        cmocka_unit_test(a_revoked_certificate_is_refused),
        cmocka_unit_test(an_expired_crl_refuses_nobody_and_lets_nobody_in),
        cmocka_unit_test(a_new_crl_counts_without_a_restart),
        cmocka_unit_test(a_damaged_block_is_not_taken_for_the_end_of_the_file),
        cmocka_unit_test(what_is_no_certificate_is_bad_input),
        cmocka_unit_test(a_device_ca_file_without_certificates_is_refused),
    };
    return cmocka_run_group_tests(tests, set_up, clean_up);
}
