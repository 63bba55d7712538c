/* SPDX-License-Identifier: Apache-2.0 */
/* The connector's end of the helper's socket, for tests: a device CA, jobs, answers. */
#ifndef RESEAL_TESTS_HSM_FIXTURE_PEER_H
#define RESEAL_TESTS_HSM_FIXTURE_PEER_H

#include <sys/socket.h>
#include "hsm_fixture_messages.h"
#include "tests/unit/pki.h"
#include "reseal/frame.h"
#include "reseal/helper_message.h"

/* A device CA with one device, and the configuration that names it. */
struct peer_setting {
    struct fixture *fixture;
    struct fixture_device device;
    struct buf device_der;
    EVP_PKEY *ca_key;
    X509 *ca;
    char config_path[96];
    const char *log_level;
};

static inline void setting_device(struct peer_setting *setting)
{
    const struct pki_wish wish = {.name = "device",
                                  .key = EVP_RSA_gen(2048),
                                  .issuer = setting->ca,
                                  .issuer_key = setting->ca_key,
                                  .from_s = -60,
                                  .until_s = 86400,
                                  .serial = 7};
    struct fixture_device *device = &setting->device;
    device->key = wish.key;
    device->certificate = pki_certificate(&wish);
    pki_der(device->certificate, &setting->device_der);
    fixture_path(setting->fixture, "peer.key", device->key_path);
    fixture_path(setting->fixture, "peer.pem", device->certificate_path);
    FILE *file = fopen(device->key_path, "w");
    assert_non_null(file);
    assert_int_equal(PEM_write_PrivateKey(file, device->key, NULL, NULL, 0, NULL, NULL), 1);
    assert_int_equal(fclose(file), 0);
    file = fopen(device->certificate_path, "w");
    assert_non_null(file);
    assert_int_equal(PEM_write_X509(file, device->certificate), 1);
    assert_int_equal(fclose(file), 0);
}

static inline void setting_make(struct fixture *fixture, struct peer_setting *out)
{
    struct error err = ERROR_INIT;
    char path[96];
    struct buf pem = BUF_INIT(65536);
    memset(out, 0, sizeof *out);
    out->fixture = fixture;
    out->device_der = (struct buf)BUF_INIT(8192);
    out->ca_key = EVP_EC_gen("P-256");
    const struct pki_wish wish = {.name = "device CA",
                                  .key = out->ca_key,
                                  .from_s = -60,
                                  .until_s = 86400,
                                  .serial = 1,
                                  .ca = true};
    out->ca = pki_certificate(&wish);
    pki_pem(&out->ca, 1, &pem);
    fixture_path(fixture, "device-ca.pem", path);
    MUST(file_write(path, 0600, FILE_REPLACE, buf_bytes(&pem), &err), err);
    buf_free(&pem);
    setting_device(out);
    fixture_path(fixture, "pin", path);
    fixture_write(path, TEST_PIN "\n");
    fixture_path(fixture, "reseal.conf", out->config_path);
}

static inline void setting_free(struct peer_setting *setting)
{
    fixture_device_free(&setting->device);
    buf_free(&setting->device_der);
    EVP_PKEY_free(setting->ca_key);
    X509_free(setting->ca);
}

/* `token` and `connector` are lines that are added to these sections. */
static inline void setting_config(const struct peer_setting *setting, const char *token,
                                  const char *connector)
{
    const struct token_address *address = &setting->fixture->address;
    char text[4096];
    /* A module without a slash would be taken for a file beside the configuration. */
    int len =
        snprintf(text, sizeof text,
                 "[token]\nmodule = %s\nlabel = %s\nuncommitted = serve\n%s%s%s%s\n"
                 "[connector]\ndevice_ca = device-ca.pem\n%s\n"
                 "[log]\nlevel = %s\nformat = json\n",
                 address->module, address->label,
                 address->init_args[0] != '\0' ? "init_args = " : "", address->init_args,
                 address->init_args[0] != '\0' ? "\n" : "", token, connector, setting->log_level);
    assert_true(len > 0 && (size_t)len < sizeof text);
    fixture_write(setting->config_path, text);
}

static inline void peer_send(struct frame_channel *channel, uint32_t number, uint16_t type,
                             struct bytes body)
{
    struct error err = ERROR_INIT;
    MUST(frame_queue(channel, number, type, body, &err), err);
    MUST(frame_flush(channel, &err), err);
}

/* The next frame, or false at the end of the channel. */
static inline bool peer_next(struct frame_channel *channel, struct frame *out)
{
    struct error err = ERROR_INIT;
    bool found = false, ended = false;
    for (;;) {
        MUST(frame_next(channel, out, &found, &err), err);
        if (found)
            return true;
        if (ended)
            return false;
        MUST(frame_receive(channel, &ended, &err), err);
    }
}

/* *logged_in: the helper said before that it tries the PIN. */
static inline void peer_hello(struct frame_channel *channel, bool *logged_in,
                              struct hello_message *out)
{
    struct error err = ERROR_INIT;
    struct frame frame;
    assert_true(peer_next(channel, &frame));
    *logged_in = frame.type == HELPER_LOGGING_IN;
    if (*logged_in) {
        assert_int_equal(frame.number, 0);
        assert_int_equal(frame.body.len, 0);
        assert_true(peer_next(channel, &frame));
    }
    assert_int_equal(frame.number, 0);
    assert_int_equal(frame.type, HELPER_HELLO);
    MUST(hello_decode(frame.body, out, &err), err);
}

static inline void peer_ask(struct frame_channel *channel, uint32_t number,
                            const struct reseal_message *message)
{
    struct error err = ERROR_INIT;
    struct buf body = BUF_INIT(HELPER_BODY_MAX);
    MUST(reseal_encode(message, &body, &err), err);
    peer_send(channel, number, HELPER_RESEAL, buf_bytes(&body));
    buf_free(&body);
}

/* A good job with a password of `len` bytes. `sealed` keeps its bytes. */
static inline struct reseal_message peer_job(const struct peer_setting *setting, EVP_PKEY *sealing,
                                             const char *key_name, size_t len, struct buf *sealed)
{
    uint8_t password[64];
    assert_true(len <= sizeof password);
    fixture_password(len, password);
    fixture_seal(sealing, OAEP_SHA256, password, len, sealed);
    struct reseal_message message = {.padding = OAEP_SHA256,
                                     .sealed = buf_bytes(sealed),
                                     .device_certificate = buf_bytes(&setting->device_der),
                                     .transport = KEY_TRANSPORT_PKCS1};
    snprintf(message.key_name, sizeof message.key_name, "%s", key_name);
    return message;
}

/* The answer to the only job in hand, which must be a failure. */
static inline void peer_failure(struct frame_channel *channel, uint32_t number, struct error *out)
{
    struct error err = ERROR_INIT;
    struct frame frame;
    assert_true(peer_next(channel, &frame));
    assert_int_equal(frame.number, number);
    assert_int_equal(frame.type, HELPER_FAILED);
    MUST(failed_decode(frame.body, out, &err), err);
}

static inline void peer_success(const struct peer_setting *setting, struct frame_channel *channel,
                                uint32_t number, size_t len, enum custody custody)
{
    struct error err = ERROR_INIT;
    struct frame frame;
    struct resealed_message message;
    uint8_t expected[64];
    assert_true(peer_next(channel, &frame));
    assert_int_equal(frame.number, number);
    if (frame.type == HELPER_FAILED) {
        MUST(failed_decode(frame.body, &err, &err), err);
        fail_msg("the job failed: %s", err.text);
    }
    assert_int_equal(frame.type, HELPER_RESEALED);
    MUST(resealed_decode(frame.body, &message, &err), err);
    assert_int_equal(message.custody, custody);
    fixture_password(len, expected);
    assert_device_opens(setting->fixture, &setting->device, message.der,
                        (struct bytes){expected, len});
}

#endif
