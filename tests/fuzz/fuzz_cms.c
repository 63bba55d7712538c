/* SPDX-License-Identifier: Apache-2.0 */
/* The device's side of a delivery: whatever bytes come, they open, or fail as FAIL_CRYPTO. */
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/x509.h>
#include "fuzz.h"
#include "reseal/cms.h"

static EVP_PKEY *key;
static X509 *certificate;

/* The key whose private number is 1: the same in each run, so that a corpus means something. */
static void make_key(void)
{
    static const char group[] = "prime256v1";
    EC_GROUP *curve = EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1);
    BIGNUM *one = BN_new();
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    unsigned char point[65];
    FUZZ_CHECK(curve != NULL && one != NULL && build != NULL && context != NULL &&
               BN_one(one) == 1);
    FUZZ_CHECK(EC_POINT_point2oct(curve, EC_GROUP_get0_generator(curve),
                                  POINT_CONVERSION_UNCOMPRESSED, point, sizeof point,
                                  NULL) == sizeof point);
    FUZZ_CHECK(OSSL_PARAM_BLD_push_utf8_string(build, OSSL_PKEY_PARAM_GROUP_NAME, group, 0) == 1 &&
               OSSL_PARAM_BLD_push_octet_string(build, OSSL_PKEY_PARAM_PUB_KEY, point,
                                                sizeof point) == 1 &&
               OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_PRIV_KEY, one) == 1);
    OSSL_PARAM *parameters = OSSL_PARAM_BLD_to_param(build);
    FUZZ_CHECK(EVP_PKEY_fromdata_init(context) == 1 &&
               EVP_PKEY_fromdata(context, &key, EVP_PKEY_KEYPAIR, parameters) == 1);
    OSSL_PARAM_free(parameters);
    OSSL_PARAM_BLD_free(build);
    EVP_PKEY_CTX_free(context);
    EC_GROUP_free(curve);
    BN_free(one);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    struct error err = ERROR_INIT;
    (void)argc;
    (void)argv;
    FUZZ_OK(secret_heap_open(1 << 20, &err), &err);
    make_key();
    certificate = X509_new();
    FUZZ_CHECK(certificate != NULL && X509_set_version(certificate, X509_VERSION_3) == 1 &&
               ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1) == 1 &&
               X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_ASC,
                                          (const unsigned char *)"fuzz", -1, -1, 0) == 1 &&
               X509_set_issuer_name(certificate, X509_get_subject_name(certificate)) == 1 &&
               X509_gmtime_adj(X509_getm_notBefore(certificate), 0) != NULL &&
               X509_gmtime_adj(X509_getm_notAfter(certificate), 86400) != NULL &&
               X509_set_pubkey(certificate, key) == 1 &&
               X509_sign(certificate, key, EVP_sha256()) > 0);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error err = ERROR_INIT;
    struct secret *content = NULL;
    bool ok = cms_decrypt((struct bytes){data, size}, key, certificate, &content, &err);
    FUZZ_CHECK(ok == (content != NULL));
    if (ok)
        FUZZ_CHECK(secret_len(content) < size);
    else
        FUZZ_CHECK(err.kind == FAIL_CRYPTO && err.text[0] != '\0');
    secret_free(&content);
    return 0;
}
