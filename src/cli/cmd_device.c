/* SPDX-License-Identifier: Apache-2.0 */
/* `reseal device new|open`: a device of our own, for tests, demos and diagnosis. */
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include "command.h"
#include "demo_ca.h"
#include "device_open.h"

#define DAYS_DEFAULT 365
#define DAYS_MAX     36500

static bool read_days(const char *text, long *out, struct error *err)
{
    char *end = NULL;
    *out = DAYS_DEFAULT;
    if (text == NULL)
        return true;
    errno = 0;
    *out = strtol(text, &end, 10);
    if (errno == 0 && end != text && *end == '\0' && *out >= -DAYS_MAX && *out <= DAYS_MAX)
        return true;
    return error_set(err, FAIL_USAGE, "--days must be a whole number from -%d to %d", DAYS_MAX,
                     DAYS_MAX);
}

/* The paths of a new device; neither file may be there. */
struct device_paths {
    char key[PATH_MAX];
    char certificate[PATH_MAX];
};

static bool plan_paths(const char *folder, struct device_paths *out, struct error *err)
{
    if (snprintf(out->key, sizeof out->key, "%s/device.key", folder) >= (int)sizeof out->key ||
        snprintf(out->certificate, sizeof out->certificate, "%s/device.pem", folder) >=
            (int)sizeof out->certificate)
        return error_set(err, FAIL_USAGE, "the path %.64s... is too long", folder);
    if (mkdir(folder, 0700) != 0 && errno != EEXIST)
        return error_errno(err, FAIL_IO, "cannot make the folder %s", folder);
    if (access(out->key, F_OK) != 0 && access(out->certificate, F_OK) != 0)
        return true;
    error_set(err, FAIL_EXISTS, "%s has a device already; it is never overwritten", folder);
    return error_hint(err, "name another folder with --out");
}

static bool print_made(const struct device_paths *paths, const char *ca_folder, const char *name,
                       bool as_json, struct error *err)
{
    struct json_writer *json = NULL;
    char ca[PATH_MAX + 8];
    snprintf(ca, sizeof ca, "%s/ca.pem", ca_folder);
    if (!as_json) {
        printf("%s\n", paths->certificate);
        return true;
    }
    if (!json_writer_new(true, &json, err))
        return false;
    json_object(json, NULL);
    json_put_text(json, "name", name);
    json_put_text(json, "key", paths->key);
    json_put_text(json, "certificate", paths->certificate);
    json_put_text(json, "ca", ca);
    json_object_end(json);
    bool ok = print_json(json, err);
    json_writer_free(&json);
    return ok;
}

static bool make_device(const struct demo_ca *ca, const struct device_paths *paths,
                        const char *kind, const char *name, long days, struct error *err)
{
    EVP_PKEY *key = NULL;
    X509 *certificate = NULL;
    bool ok = device_key_make(kind, &key, err) &&
              demo_ca_issue(ca, key, name, days, &certificate, err) &&
              write_private_key(paths->key, key, err);
    if (ok && !write_certificate(paths->certificate, certificate, err)) {
        unlink(paths->key); /* made a moment ago, and of no use alone */
        ok = false;
    }
    EVP_PKEY_free(key);
    X509_free(certificate);
    return ok;
}

static bool run_new(const struct invocation *invocation, struct error *err)
{
    const char *folder = invocation_option(invocation, "out");
    const char *ca_folder = invocation_option(invocation, "ca");
    const char *name = invocation_option(invocation, "name");
    const char *kind = invocation_option(invocation, "key");
    struct device_paths paths = {"", ""};
    struct demo_ca ca = {NULL, NULL};
    char folder_copy[PATH_MAX];
    bool ca_made = false;
    long days;
    if (folder == NULL || folder[0] == '\0') {
        error_set(err, FAIL_USAGE, "--out is missing");
        return error_hint(err, "see: reseal device new --help");
    }
    if (!read_days(invocation_option(invocation, "days"), &days, err) ||
        !plan_paths(folder, &paths, err))
        return false;
    snprintf(folder_copy, sizeof folder_copy, "%s", folder);
    name = name != NULL ? name : basename(folder_copy);
    kind = kind != NULL ? kind : "rsa:2048";
    ca_folder = ca_folder != NULL ? ca_folder : folder;
    bool ok = demo_ca_open(ca_folder, &ca, &ca_made, err) &&
              make_device(&ca, &paths, kind, name, days, err);
    demo_ca_free(&ca);
    if (!ok)
        return false;
    if (ca_made)
        fprintf(stderr, "made a demo device CA in %s\n", ca_folder);
    if (strcmp(kind, "rsa:1024") == 0)
        print_warning("an RSA key of 1024 bits is for tests; connectors refuse it");
    if (days <= 0)
        print_warning("the certificate is expired; connectors refuse it");
    fprintf(stderr, "made the device \"%s\" (%s)\n", name, kind);
    return print_made(&paths, ca_folder, name, invocation_json(invocation), err);
}

static const struct command_option new_options[] = {
    {"out", "DIR", "folder for device.key and device.pem; made if it is not there"},
    {"name", "NAME", "common name of the device (default: the folder's name)"},
    {"ca", "DIR", "folder of the demo CA, made if it is not there (default: that of --out)"},
    {"key", "KIND",
     "rsa:2048 (default), rsa:3072, rsa:4096, ec:P-256, ec:P-384; rsa:1024 for tests"},
    {"days", "N", "days of validity (default: 365); negative: expired, for tests"},
    {NULL, NULL, NULL},
};

static const struct command_option open_options[] = {
    {"device", "DIR", "folder with device.key and device.pem"},
    {"delivery", "FILE", "delivery as JSON, or its payload alone (\"-\": standard input)"},
    {"pfx", "FILE", "PFX to open (default: the one in the delivery)"},
    {"out-password", "FILE", "write the password to a new file with mode 0600, for diagnosis"},
    {NULL, NULL, NULL},
};

const struct command device_commands[] = {
    {"device", "new", "--out DIR", "make a device key and certificate under a demo device CA",
     new_options, 0, 0, run_new},
    {"device", "open", "--device DIR --delivery FILE",
     "open a delivery with a device's key and prove that it fits", open_options, 0, 0,
     device_open_run},
    {NULL, NULL, NULL, NULL, NULL, 0, 0, NULL},
};
