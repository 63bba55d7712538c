/* SPDX-License-Identifier: Apache-2.0 */
/* Device certificates in any number for a benchmark: copies of one, with serial numbers of their
 * own. */
#ifndef RESEAL_BENCH_DEVICES_H
#define RESEAL_BENCH_DEVICES_H

#include <stdio.h>
#include <stdlib.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

static inline _Noreturn void bench_give_up(const char *what)
{
    fprintf(stderr, "benchmark: %s\n", what);
    exit(1);
}

static inline X509 *bench_read_certificate(const char *path)
{
    FILE *file = fopen(path, "r");
    X509 *certificate = file != NULL ? PEM_read_X509(file, NULL, NULL, NULL) : NULL;
    if (certificate == NULL)
        bench_give_up(path);
    fclose(file);
    return certificate;
}

static inline EVP_PKEY *bench_read_key(const char *path)
{
    FILE *file = fopen(path, "r");
    EVP_PKEY *key = file != NULL ? PEM_read_PrivateKey(file, NULL, NULL, NULL) : NULL;
    if (key == NULL)
        bench_give_up(path);
    fclose(file);
    return key;
}

/* Calls `each` for the device's own certificate first, then for copies that the CA of the folder
 * has signed. */
static inline void bench_devices(const char *device_path, const char *ca_folder, size_t devices,
                                 void (*each)(void *context, size_t index, X509 *certificate),
                                 void *context)
{
    char path[512];
    X509 *device = bench_read_certificate(device_path);
    snprintf(path, sizeof path, "%s/ca.key", ca_folder);
    EVP_PKEY *ca_key = devices > 1 ? bench_read_key(path) : NULL;
    for (size_t i = 0; i < devices; i++) {
        if (i > 0 && (ASN1_INTEGER_set(X509_get_serialNumber(device), (long)(100000 + i)) != 1 ||
                      X509_sign(device, ca_key, EVP_sha256()) <= 0))
            bench_give_up("a certificate cannot be issued");
        each(context, i, device);
    }
    EVP_PKEY_free(ca_key);
    X509_free(device);
}

#endif
