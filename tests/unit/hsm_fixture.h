/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Real tokens for the tests of hsm/: each test program makes its own in a temporary folder. One
 * program uses one module, because a module is finalised for the whole process.
 */
#ifndef RESEAL_TESTS_HSM_FIXTURE_H
#define RESEAL_TESTS_HSM_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include "reseal/ceremony.h"
#include "reseal/file.h"
#include "reseal/token.h"

#define TEST_PIN   "4711-test"
#define TEST_LABEL "reseal-test"

extern char **environ;

struct fixture {
    char folder[64];
    struct token_address address;
    struct secret *pin;
    pid_t keeper;      /* of openCryptoki's room; 0: there is none ... */
    int keeper_orders; /* ... and the pipe whose end is its end */
};

/* Shows the error of a step that must succeed. */
#define MUST(condition, err)                                                                       \
    do {                                                                                           \
        if (!(condition))                                                                          \
            fail_msg("%s: %s", failure_name((err).kind), (err).text);                              \
    } while (0)

static inline int fixture_run(const char *const argv[])
{
    posix_spawn_file_actions_t actions;
    pid_t pid;
    int status;
    char *copy[32] = {NULL};
    for (size_t i = 0; argv[i] != NULL && i + 1 < ARRAY_LEN(copy); i++) {
        copy[i] = strdup(argv[i]);
        assert_non_null(copy[i]);
    }
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    int failed = posix_spawnp(&pid, argv[0], &actions, NULL, copy, environ);
    posix_spawn_file_actions_destroy(&actions);
    for (size_t i = 0; i < ARRAY_LEN(copy); i++)
        free(copy[i]);
    if (failed != 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
        return -1;
    return WEXITSTATUS(status);
}

static inline void fixture_write(const char *path, const char *text)
{
    struct error err = ERROR_INIT;
    struct bytes content = {(const uint8_t *)text, strlen(text)};
    MUST(file_write(path, 0600, FILE_REPLACE, content, &err), err);
}

static inline void fixture_path(const struct fixture *fixture, const char *name,
                                char out[static 96])
{
    snprintf(out, 96, "%s/%s", fixture->folder, name);
}

static inline void fixture_start(struct fixture *fixture)
{
    struct error err = ERROR_INIT;
    memset(fixture, 0, sizeof *fixture);
    MUST(secret_heap_open(1 << 20, &err), err);
    snprintf(fixture->folder, sizeof fixture->folder, "/tmp/reseal-unit-XXXXXX");
    assert_non_null(mkdtemp(fixture->folder));
}

static inline const char *fixture_softhsm_path(void)
{
    static const char *const paths[] = {
        "/usr/lib/softhsm/libsofthsm2.so",
        "/usr/lib64/pkcs11/libsofthsm2.so",
        "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
        "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
        "/usr/local/lib/softhsm/libsofthsm2.so",
    };
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        if (access(paths[i], R_OK) == 0)
            return paths[i];
    }
    fail_msg("SoftHSM is not installed");
    return NULL;
}

static inline void fixture_softhsm(struct fixture *fixture)
{
    struct error err = ERROR_INIT;
    char tokens[96], conf[96], text[256];
    fixture_start(fixture);
    fixture_path(fixture, "tokens", tokens);
    fixture_path(fixture, "softhsm2.conf", conf);
    assert_int_equal(mkdir(tokens, 0700), 0);
    snprintf(text, sizeof text,
             "directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\n", tokens);
    fixture_write(conf, text);
    assert_int_equal(setenv("SOFTHSM2_CONF", conf, 1), 0);
    const char *const init[] = {"softhsm2-util", "--init-token", "--free", "--label", TEST_LABEL,
                                "--so-pin",      "so-pin-1",     "--pin",  TEST_PIN,  NULL};
    assert_int_equal(fixture_run(init), 0);
    snprintf(fixture->address.module, sizeof fixture->address.module, "%s", fixture_softhsm_path());
    snprintf(fixture->address.label, sizeof fixture->address.label, TEST_LABEL);
    MUST(secret_copy(TEST_PIN, strlen(TEST_PIN), &fixture->pin, &err), err);
}

/* The NSS library is found by its bare name, as the system's loader finds it. */
static inline void fixture_nss(struct fixture *fixture, const char *password)
{
    struct error err = ERROR_INIT;
    char database[96], file[96], argument[104];
    fixture_start(fixture);
    /* One round of key stretching: NSS goes through all of them for each use of a private key. */
    assert_int_equal(setenv("NSS_MAX_MP_PBE_ITERATION_COUNT", "1", 1), 0);
    fixture_path(fixture, "nss", database);
    fixture_path(fixture, "password", file);
    assert_int_equal(mkdir(database, 0700), 0);
    fixture_write(file, password);
    snprintf(argument, sizeof argument, "sql:%s", database);
    const char *const with[] = {"certutil", "-N", "-d", argument, "-f", file, NULL};
    const char *const without[] = {"certutil", "-N", "-d", argument, "--empty-password", NULL};
    assert_int_equal(fixture_run(password[0] != '\0' ? with : without), 0);
    snprintf(fixture->address.module, sizeof fixture->address.module, "libsoftokn3.so");
    snprintf(fixture->address.init_args, sizeof fixture->address.init_args,
             "configDir='%s' certPrefix='' keyPrefix='' secmod='' flags=", argument);
    snprintf(fixture->address.label, sizeof fixture->address.label, "NSS Certificate DB");
    MUST(secret_copy(password, strlen(password), &fixture->pin, &err), err);
}

static inline void fixture_end(struct fixture *fixture)
{
    secret_free(&fixture->pin);
    if (fixture->keeper != 0) {
        int status;
        close(fixture->keeper_orders);
        assert_int_equal(waitpid(fixture->keeper, &status, 0), fixture->keeper);
        assert_int_equal(status, 0);
    }
    const char *const argv[] = {"rm", "-rf", fixture->folder, NULL};
    assert_int_equal(fixture_run(argv), 0);
}

/* A device: an RSA or EC key with a certificate of its own. */
struct fixture_device {
    EVP_PKEY *key;
    X509 *certificate;
    char key_path[96], certificate_path[96];
};

static inline void fixture_device_make(const struct fixture *fixture, EVP_PKEY *key,
                                       struct fixture_device *out)
{
    assert_non_null(key);
    out->key = key;
    out->certificate = X509_new();
    X509_NAME *name = X509_get_subject_name(out->certificate);
    assert_int_equal(X509_set_version(out->certificate, X509_VERSION_3), 1);
    assert_int_equal(ASN1_INTEGER_set(X509_get_serialNumber(out->certificate), 4711), 1);
    assert_non_null(X509_gmtime_adj(X509_getm_notBefore(out->certificate), -60));
    assert_non_null(X509_gmtime_adj(X509_getm_notAfter(out->certificate), 86400));
    assert_int_equal(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                                                (const unsigned char *)"device", -1, -1, 0),
                     1);
    assert_int_equal(X509_set_issuer_name(out->certificate, name), 1);
    assert_int_equal(X509_set_pubkey(out->certificate, key), 1);
    assert_true(X509_sign(out->certificate, key, EVP_sha256()) > 0);
    static int count;
    char name_of[32];
    snprintf(name_of, sizeof name_of, "device-%d.key", ++count);
    fixture_path(fixture, name_of, out->key_path);
    snprintf(name_of, sizeof name_of, "device-%d.pem", count);
    fixture_path(fixture, name_of, out->certificate_path);
    FILE *file = fopen(out->key_path, "w");
    assert_non_null(file);
    assert_int_equal(PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL), 1);
    assert_int_equal(fclose(file), 0);
    file = fopen(out->certificate_path, "w");
    assert_non_null(file);
    assert_int_equal(PEM_write_X509(file, out->certificate), 1);
    assert_int_equal(fclose(file), 0);
}

static inline void fixture_device_free(struct fixture_device *device)
{
    EVP_PKEY_free(device->key);
    X509_free(device->certificate);
}

/* Opens the message with the openssl command, not with code of ours, and compares every byte. */
static inline void assert_device_opens(const struct fixture *fixture,
                                       const struct fixture_device *device, struct bytes der,
                                       struct bytes expected)
{
    struct error err = ERROR_INIT;
    char message[96], opened[96];
    struct buf content = BUF_INIT(CMS_DER_MAX);
    fixture_path(fixture, "message.der", message);
    fixture_path(fixture, "opened", opened);
    MUST(file_write(message, 0600, FILE_REPLACE, der, &err), err);
    const char *const argv[] = {
        "openssl", "cms",   "-decrypt", "-binary",        "-inform", "DER",
        "-in",     message, "-inkey",   device->key_path, "-recip",  device->certificate_path,
        "-out",    opened,  NULL};
    assert_int_equal(fixture_run(argv), 0);
    MUST(file_read(opened, &content, &err), err);
    assert_int_equal(content.len, expected.len);
    if (expected.len > 0)
        assert_memory_equal(content.data, expected.data, expected.len);
    buf_free(&content);
}

#endif
