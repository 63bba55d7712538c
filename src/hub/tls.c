/* SPDX-License-Identifier: Apache-2.0 */
#include "tls.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include "reseal/file.h"
#include "reseal/log.h"
#include "reseal/secret.h"
#include "tls_clients.h"
#include "watched_file.h"

#define PEM_BYTES  65536
#define KEY_BYTES  16384
#define CHAIN_MAX  8
#define PRIORITIES "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"

/* A certificate with its chain and key. Those from before are kept: sessions may still use them. */
struct identity {
    gnutls_pcert_st chain[CHAIN_MAX];
    unsigned count;
    gnutls_privkey_t key;
    struct identity *before;
};

struct tls {
    char *certificate_path;
    char *key_source;
    struct watched_file certificate_file, key_file;
    struct identity *identity;
    atomic_bool asked;           /* by a signal: what seems the same is read again, too */
    struct tls_clients *clients; /* NULL: clients need no certificate */
    struct MHD_OptionItem options[3];
};

static struct tls *the_tls; /* of this process; see the header */

static bool failed(struct error *err, int code, const char *what, const char *where)
{
    error_set(err, FAIL_USAGE, "%s: %s: %s", where, what, gnutls_strerror(code));
    return error_hint(err, "it must be PEM; see hub.tls_certificate and hub.tls_key");
}

static void identity_free(struct identity *identity)
{
    while (identity != NULL) {
        struct identity *before = identity->before;
        for (unsigned i = 0; i < identity->count; i++)
            gnutls_pcert_deinit(&identity->chain[i]);
        if (identity->key != NULL)
            gnutls_privkey_deinit(identity->key);
        free(identity);
        identity = before;
    }
}

static bool read_chain(const char *path, struct identity *out, struct error *err)
{
    struct buf text = BUF_INIT(PEM_BYTES);
    unsigned count = CHAIN_MAX;
    bool ok = file_read(path, &text, err);
    if (ok) {
        gnutls_datum_t pem = tls_datum(buf_bytes(&text));
        int code = gnutls_pcert_list_import_x509_raw(out->chain, &count, &pem, GNUTLS_X509_FMT_PEM,
                                                     GNUTLS_X509_CRT_LIST_FAIL_IF_UNSORTED);
        out->count = code < 0 ? 0 : count;
        ok = code >= 0 || failed(err, code, "no chain of certificates", path);
    }
    buf_free(&text);
    return ok;
}

static bool read_key(const char *source, struct identity *out, struct error *err)
{
    struct secret *pem = NULL;
    if (!secret_read(source, "Private key of the hub's TLS certificate", KEY_BYTES, &pem, err))
        return false;
    gnutls_datum_t raw = tls_datum(secret_bytes(pem));
    int code = gnutls_privkey_init(&out->key);
    if (code == 0)
        code = gnutls_privkey_import_x509_raw(out->key, &raw, GNUTLS_X509_FMT_PEM, NULL, 0);
    secret_free(&pem);
    return code == 0 || failed(err, code, "no private key", "hub.tls_key");
}

/* A key of another certificate would be seen at the first handshake only. */
static bool fits(const struct identity *identity, const char *path, struct error *err)
{
    unsigned char of_key[64], of_certificate[64];
    size_t key_len = sizeof of_key, certificate_len = sizeof of_certificate;
    gnutls_pubkey_t public = NULL;
    bool same = gnutls_pubkey_init(&public) == 0 &&
                gnutls_pubkey_import_privkey(public, identity->key, 0, 0) == 0 &&
                gnutls_pubkey_get_key_id(public, 0, of_key, &key_len) == 0 &&
                gnutls_pubkey_get_key_id(identity->chain[0].pubkey, 0, of_certificate,
                                         &certificate_len) == 0 &&
                key_len == certificate_len && memcmp(of_key, of_certificate, key_len) == 0;
    gnutls_pubkey_deinit(public);
    return same ||
           error_set(err, FAIL_USAGE, "%s: hub.tls_key is not the key of this certificate", path);
}

static bool load(struct tls *tls, struct error *err)
{
    struct identity *fresh = calloc(1, sizeof *fresh);
    if (fresh == NULL)
        return error_memory(err);
    if (!read_chain(tls->certificate_path, fresh, err) || !read_key(tls->key_source, fresh, err) ||
        !fits(fresh, tls->certificate_path, err)) {
        identity_free(fresh);
        return false;
    }
    fresh->before = tls->identity;
    tls->identity = fresh;
    return true;
}

static void renew_identity(struct tls *tls, bool asked)
{
    struct error err = ERROR_INIT;
    bool changed = watched_file_changed(&tls->certificate_file);
    changed = watched_file_changed(&tls->key_file) || changed;
    if (!changed && !asked)
        return;
    if (load(tls, &err))
        log_event(LEVEL_INFO, EVENT_NOTE, "the TLS certificate was read again",
                  LOG_TEXT("file", tls->certificate_path));
    else
        log_error(LEVEL_ERROR, EVENT_NOTE,
                  "the TLS certificate cannot be read again; the one from before stays in use",
                  &err);
}

static gnutls_alert_description_t alert_of(unsigned status)
{
    return status & GNUTLS_CERT_EXPIRED            ? GNUTLS_A_CERTIFICATE_EXPIRED
           : status & GNUTLS_CERT_REVOKED          ? GNUTLS_A_CERTIFICATE_REVOKED
           : status & GNUTLS_CERT_SIGNER_NOT_FOUND ? GNUTLS_A_UNKNOWN_CA
                                                   : GNUTLS_A_BAD_CERTIFICATE;
}

/* At the end of the client's part of a handshake. libmicrohttpd only closes where that fails, so
 * the client is told here why. */
static int verify_client(gnutls_session_t session)
{
    gnutls_datum_t why = {NULL, 0};
    unsigned status = 0;
    bool shown = tls_clients_judge(the_tls->clients, session, &status);
    if (shown && status == 0)
        return 0;
    if (shown)
        (void)gnutls_certificate_verification_status_print(
            status, gnutls_certificate_type_get2(session, GNUTLS_CTYPE_PEERS), &why, 0);
    const char *reason = why.data != NULL ? (const char *)why.data : "it has shown none";
    log_event(LEVEL_INFO, EVENT_NOTE, "a client was refused for its certificate",
              LOG_TEXT("text", reason));
    gnutls_free(why.data);
    (void)gnutls_alert_send(session, GNUTLS_AL_FATAL,
                            shown ? alert_of(status) : GNUTLS_A_CERTIFICATE_REQUIRED);
    return GNUTLS_E_CERTIFICATE_VERIFICATION_ERROR;
}

/* GnuTLS asks for the hub's certificate once in each handshake, before it asks for the client's. */
static int on_certificate(gnutls_session_t session, const gnutls_datum_t *ca_names, int ca_count,
                          const gnutls_pk_algorithm_t *algorithms, int algorithm_count,
                          gnutls_pcert_st **chain, unsigned *count, gnutls_privkey_t *key)
{
    struct tls *tls = the_tls;
    (void)ca_names;
    (void)ca_count;
    (void)algorithms;
    (void)algorithm_count;
    bool asked = atomic_exchange(&tls->asked, false);
    renew_identity(tls, asked);
    if (tls->clients != NULL) {
        tls_clients_renew(tls->clients, asked);
        gnutls_certificate_server_set_request(session, GNUTLS_CERT_REQUEST);
        gnutls_session_set_verify_function(session, verify_client);
    }
    *chain = tls->identity->chain;
    *count = tls->identity->count;
    *key = tls->identity->key;
    return 0;
}

static void set_options(struct tls *tls)
{
    union {
        int (*function)(gnutls_session_t, const gnutls_datum_t *, int,
                        const gnutls_pk_algorithm_t *, int, gnutls_pcert_st **, unsigned *,
                        gnutls_privkey_t *);
        void *data;
    } callback = {.function = on_certificate};
    static char priorities[] = PRIORITIES;
    size_t count = 0;
    tls->options[count++] =
        (struct MHD_OptionItem){MHD_OPTION_HTTPS_CERT_CALLBACK, 0, callback.data};
    tls->options[count++] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_PRIORITIES, 0, priorities};
    tls->options[count] = (struct MHD_OptionItem){MHD_OPTION_END, 0, NULL};
}

static bool copy_settings(struct tls *tls, const char *certificate, const char *key,
                          struct error *err)
{
    tls->certificate_path = strdup(certificate);
    tls->key_source = strdup(key);
    if (tls->certificate_path == NULL || tls->key_source == NULL)
        return error_memory(err);
    tls->certificate_file.path = tls->certificate_path;
    if (strncmp(key, "file:", 5) == 0)
        tls->key_file.path = tls->key_source + 5;
    return true;
}

bool tls_open(const struct config *config, struct tls **out, struct error *err)
{
    const char *certificate = config_text(config, "hub", "tls_certificate");
    const char *key = config_text(config, "hub", "tls_key");
    const char *client_ca = config_text(config, "hub", "client_ca");
    const char *client_crl = config_text(config, "hub", "client_crl");
    *out = NULL;
    if (certificate == NULL && key == NULL && client_ca == NULL && client_crl == NULL)
        return true;
    if (certificate == NULL || key == NULL) {
        error_set(err, FAIL_USAGE, "%s: TLS needs hub.tls_certificate and hub.tls_key",
                  config_path(config));
        return error_hint(err, "give both, or none of these and no hub.client_ca");
    }
    if (client_crl != NULL && client_ca == NULL) {
        error_set(err, FAIL_USAGE, "%s: hub.client_crl revokes certificates of hub.client_ca",
                  config_path(config));
        return error_hint(err, "give that as well");
    }
    struct tls *tls = calloc(1, sizeof *tls);
    if (tls == NULL)
        return error_memory(err);
    bool ok = copy_settings(tls, certificate, key, err);
    if (ok) { /* looked at before they are read: what changes meanwhile is read again */
        (void)!watched_file_changed(&tls->certificate_file);
        (void)!watched_file_changed(&tls->key_file);
        ok = load(tls, err) &&
             (client_ca == NULL || tls_clients_open(client_ca, client_crl, &tls->clients, err));
    }
    if (!ok) {
        tls_close(&tls);
        return false;
    }
    set_options(tls);
    the_tls = tls;
    *out = tls;
    return true;
}

void tls_close(struct tls **tls)
{
    if (tls == NULL || *tls == NULL)
        return;
    if (the_tls == *tls)
        the_tls = NULL;
    identity_free((*tls)->identity);
    free((*tls)->certificate_path);
    free((*tls)->key_source);
    tls_clients_close(&(*tls)->clients);
    free(*tls);
    *tls = NULL;
}

void tls_ask_again(struct tls *tls)
{
    if (tls != NULL)
        atomic_store(&tls->asked, true);
}

bool tls_wants_clients(const struct tls *tls)
{
    return tls != NULL && tls->clients != NULL;
}

const struct MHD_OptionItem *tls_options(const struct tls *tls)
{
    return tls->options;
}

bool tls_client_known(const struct tls *tls, struct MHD_Connection *connection)
{
    if (!tls_wants_clients(tls))
        return true;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_GNUTLS_SESSION);
    unsigned count = 0;
    return info != NULL && info->tls_session != NULL &&
           gnutls_certificate_get_peers(info->tls_session, &count) != NULL && count > 0;
}
