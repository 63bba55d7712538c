/* SPDX-License-Identifier: Apache-2.0 */
#include "tls_clients.h"

#include <gnutls/x509.h>
#include <stdlib.h>
#include <string.h>
#include "reseal/clock.h"
#include "reseal/file.h"
#include "reseal/log.h"
#include "watched_file.h"

#define PEM_BYTES (4 * 1024 * 1024) /* CRLs of large CAs are long */
#define CHAIN_MAX 8                 /* certificates that a client sends */
#define LAST_TIME ((time_t)INT64_MAX)

struct tls_clients {
    char *ca_path, *crl_path; /* the second may be NULL */
    struct watched_file ca_file, crl_file;
    gnutls_x509_trust_list_t list;
    time_t crl_until; /* when the first CRL is due to be renewed */
};

static bool failed(struct error *err, int code, const char *what, const char *path)
{
    error_set(err, FAIL_USAGE, "%s: %s: %s", path, what, gnutls_strerror(code));
    return error_hint(err, "it must be PEM; see hub.client_ca and hub.client_crl");
}

/* The list owns what is added to it, also where it could not be. */
static bool add_cas(gnutls_x509_trust_list_t list, const char *path, struct error *err)
{
    struct buf text = BUF_INIT(PEM_BYTES);
    gnutls_x509_crt_t *found = NULL;
    unsigned count = 0;
    bool ok = file_read(path, &text, err);
    if (ok) {
        gnutls_datum_t pem = tls_datum(buf_bytes(&text));
        int code = gnutls_x509_crt_list_import2(&found, &count, &pem, GNUTLS_X509_FMT_PEM, 0);
        if (code >= 0)
            code = gnutls_x509_trust_list_add_cas(list, found, count, 0);
        ok =
            (code >= 0 && count > 0) || failed(err, code < 0 ? code : GNUTLS_E_NO_CERTIFICATE_FOUND,
                                               "no certificates of CAs", path);
    }
    gnutls_free(found);
    buf_free(&text);
    return ok;
}

/* Takes the CRL over. One that no CA of the list has signed would say nothing about anybody. */
static bool add_crl(gnutls_x509_trust_list_t list, gnutls_x509_crl_t crl, const char *path,
                    time_t *until, struct error *err)
{
    const unsigned flags =
        GNUTLS_TL_VERIFY_CRL | GNUTLS_TL_FAIL_ON_INVALID_CRL | GNUTLS_TL_NO_DUPLICATES;
    time_t next = gnutls_x509_crl_get_next_update(crl);
    int code = gnutls_x509_trust_list_add_crls(list, &crl, 1, flags, 0);
    if (code < 0) {
        error_set(err, FAIL_USAGE, "%s: a CRL is of no CA of hub.client_ca, or not in its time: %s",
                  path, gnutls_strerror(code));
        return error_hint(err, "take it out, renew it, or add its CA");
    }
    if (next != (time_t)-1 && next < *until)
        *until = next;
    return true;
}

/* *until is when the first of them is due to be renewed. */
static bool add_crls(gnutls_x509_trust_list_t list, const char *path, time_t *until,
                     struct error *err)
{
    struct buf text = BUF_INIT(PEM_BYTES);
    gnutls_x509_crl_t *found = NULL;
    unsigned count = 0;
    bool ok = file_read(path, &text, err);
    if (ok) {
        gnutls_datum_t pem = tls_datum(buf_bytes(&text));
        int code = gnutls_x509_crl_list_import2(&found, &count, &pem, GNUTLS_X509_FMT_PEM, 0);
        ok = (code >= 0 && count > 0) ||
             failed(err, code < 0 ? code : GNUTLS_E_NO_CERTIFICATE_FOUND, "no CRLs", path);
    }
    for (unsigned i = 0; i < count; i++) {
        if (ok)
            ok = add_crl(list, found[i], path, until, err);
        else
            gnutls_x509_crl_deinit(found[i]);
    }
    gnutls_free(found);
    buf_free(&text);
    return ok;
}

static bool load(struct tls_clients *clients, struct error *err)
{
    gnutls_x509_trust_list_t fresh = NULL;
    time_t until = LAST_TIME;
    if (gnutls_x509_trust_list_init(&fresh, 0) < 0)
        return error_memory(err);
    if (!add_cas(fresh, clients->ca_path, err) ||
        (clients->crl_path != NULL && !add_crls(fresh, clients->crl_path, &until, err))) {
        gnutls_x509_trust_list_deinit(fresh, 1);
        return false;
    }
    if (clients->list != NULL)
        gnutls_x509_trust_list_deinit(clients->list, 1);
    clients->list = fresh;
    clients->crl_until = until;
    return true;
}

bool tls_clients_open(const char *ca_path, const char *crl_path, struct tls_clients **out,
                      struct error *err)
{
    *out = NULL;
    struct tls_clients *clients = calloc(1, sizeof *clients);
    if (clients == NULL)
        return error_memory(err);
    clients->ca_path = strdup(ca_path);
    clients->crl_path = crl_path != NULL ? strdup(crl_path) : NULL;
    bool ok = clients->ca_path != NULL && (crl_path == NULL || clients->crl_path != NULL);
    if (!ok)
        error_memory(err);
    clients->ca_file.path = clients->ca_path;
    clients->crl_file.path = clients->crl_path;
    /* Looked at before they are read: what changes meanwhile is read again. */
    (void)!watched_file_changed(&clients->ca_file);
    (void)!watched_file_changed(&clients->crl_file);
    if (!ok || !load(clients, err)) {
        tls_clients_close(&clients);
        return false;
    }
    *out = clients;
    return true;
}

void tls_clients_close(struct tls_clients **clients)
{
    if (clients == NULL || *clients == NULL)
        return;
    if ((*clients)->list != NULL)
        gnutls_x509_trust_list_deinit((*clients)->list, 1);
    free((*clients)->ca_path);
    free((*clients)->crl_path);
    free(*clients);
    *clients = NULL;
}

void tls_clients_renew(struct tls_clients *clients, bool asked)
{
    struct error err = ERROR_INIT;
    bool changed = watched_file_changed(&clients->ca_file);
    changed = watched_file_changed(&clients->crl_file) || changed;
    if (!changed && !asked)
        return;
    if (load(clients, &err))
        log_event(LEVEL_INFO, EVENT_NOTE, "the CAs and CRLs of clients were read again",
                  LOG_TEXT("file", clients->ca_path));
    else
        log_error(LEVEL_ERROR, EVENT_NOTE,
                  "the CAs and CRLs of clients cannot be read again; those from before stay in use",
                  &err);
}

bool tls_clients_judge(const struct tls_clients *clients, gnutls_session_t session,
                       unsigned *status)
{
    static char client_auth[] = GNUTLS_KP_TLS_WWW_CLIENT;
    gnutls_typed_vdata_st purpose = {.type = GNUTLS_DT_KEY_PURPOSE_OID,
                                     .data = (unsigned char *)client_auth};
    gnutls_x509_crt_t chain[CHAIN_MAX];
    unsigned count = 0, read = 0;
    const gnutls_datum_t *shown = gnutls_certificate_get_peers(session, &count);
    *status = GNUTLS_CERT_INVALID;
    if (shown == NULL || count == 0)
        return false;
    for (; count <= CHAIN_MAX && read < count; read++) {
        if (gnutls_x509_crt_init(&chain[read]) < 0)
            break;
        if (gnutls_x509_crt_import(chain[read], &shown[read], GNUTLS_X509_FMT_DER) < 0) {
            gnutls_x509_crt_deinit(chain[read]);
            break;
        }
    }
    if (read == count && gnutls_x509_trust_list_verify_crt2(clients->list, chain, count, &purpose,
                                                            1, 0, status, NULL) < 0)
        *status = GNUTLS_CERT_INVALID;
    /* GnuTLS looks at that when a CRL is added, and not again. */
    if (*status == 0 && clock_real_ms() / 1000 > clients->crl_until)
        *status = GNUTLS_CERT_INVALID | GNUTLS_CERT_REVOCATION_DATA_SUPERSEDED;
    for (unsigned i = 0; i < read; i++)
        gnutls_x509_crt_deinit(chain[i]);
    return true;
}
