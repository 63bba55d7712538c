/* SPDX-License-Identifier: Apache-2.0 */
#include "reseal/settings.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PADDINGS "oaepSha256|oaepSha384|oaepSha512"

const struct config_key reseal_settings[] = {
    /* The tokens, read by reseal-hsm and by the token commands: [token], and [token NAME] for each
     * further one. */
    {"token *", "module", CONFIG_PATH, 0, 0, NULL, NULL,
     "path of the PKCS#11 module (.so) of the token's maker"},
    {"token *", "uri", CONFIG_TEXT, 0, 1024, NULL, NULL,
     "RFC 7512 URI instead of module, label and serial: pkcs11:token=...?module-path=..."},
    {"token *", "init_args", CONFIG_TEXT, 0, 1024, NULL, NULL,
     "library parameters for modules that want them (NSS: configDir='sql:/path' ...)"},
    {"token *", "label", CONFIG_TEXT, 0, 32, NULL, NULL, "label of the token"},
    {"token *", "serial", CONFIG_TEXT, 0, 16, NULL, NULL, "serial number of the token"},
    {"token *", "pin", CONFIG_SECRET, 0, 0, NULL, NULL,
     "where the user PIN is: file:PATH, fd:N or credential:NAME"},
    {"token *", "key", CONFIG_LIST, 0, 0, NULL, NULL,
     "labels of the sealing keys that the connector serves"},
    {"token *", "descriptor", CONFIG_LIST, 0, 0, NULL, NULL,
     "files that `reseal ceremony commit` wrote, one for each of these keys"},
    {"token *", "uncommitted", CONFIG_CHOICE, 0, 0, "refuse|serve", "refuse",
     "what becomes of a key without a descriptor: refuse, or serve a key that no ceremony made"},
    {"token *", "workers", CONFIG_NUMBER, 1, 64, "auto", NULL,
     "sessions on this token, each with a thread of its own (default: workers of [connector])"},

    /* The connector. */
    {"connector", "name", CONFIG_TEXT, 1, 128, NULL, NULL,
     "name of this connector in results and logs (default: the host's name)"},
    {"connector", "device_ca", CONFIG_PATH, 0, 0, NULL, NULL,
     "PEM file with the CA certificates that device certificates must chain to"},
    {"connector", "device_crl", CONFIG_PATH, 0, 0, NULL, NULL,
     "PEM file with the CRLs of these CAs; where given, every certificate is checked against it"},
    {"connector", "require", CONFIG_CHOICE, 0, 0, "token|host", "token",
     "weakest custody that is accepted: token, or host"},
    {"connector", "key_transport", CONFIG_CHOICE, 0, 0, "pkcs1|oaepSha256", "pkcs1",
     "how CMS wraps the content key for an RSA device: pkcs1 (v1.5) or oaepSha256"},
    {"connector", "formats", CONFIG_LIST, 0, 0, "cms|apple-profile|windows-csp",
     "cms, apple-profile, windows-csp", "what devices may get; other requests are refused"},
    {"connector", "workers", CONFIG_NUMBER, 1, 64, "auto", "auto",
     "sessions on each token that has no workers of its own; auto: as many as pay off"},
    {"connector", "helper", CONFIG_PATH, 0, 0, NULL, NULL,
     "path of reseal-hsm (default: the installed one)"},
    {"connector", "helper_deadline", CONFIG_NUMBER, 1, 600, NULL, "30",
     "seconds after which a job in the helper counts as hung and the helper is replaced"},
    {"connector", "helper_jobs", CONFIG_NUMBER, 0, 1000000000, NULL, "100000",
     "jobs after which a helper is replaced by a fresh one, as modules leak memory; 0: never"},
    {"connector", "helper_growth", CONFIG_NUMBER, 0, 65536, NULL, "64",
     "MiB by which a helper may grow before it is replaced by a fresh one; 0: never"},
    {"connector", "sandbox", CONFIG_CHOICE, 0, 0, "auto|require|off", "auto",
     "reseald shuts itself in by Landlock and seccomp; auto: with what the kernel has; require: no "
     "start unless both are in force; off: not at all"},
    {"connector", "status_socket", CONFIG_PATH, 0, 0, NULL, NULL,
     "UNIX socket on which `reseal status` and `reseal doctor` ask the running connector"},
    {"connector", "attempts", CONFIG_NUMBER, 1, 100, NULL, "5",
     "times a request may be received before a token failure is answered instead of tried again"},

    /* The formats that a device may ask for: what its platform lets one choose. */
    {"apple", "identifier", CONFIG_TEXT, 1, 128, NULL, "org.reseal.pfx",
     "what the PayloadIdentifiers of profiles begin with, as com.example.pfx"},
    {"apple", "organization", CONFIG_TEXT, 1, 128, NULL, NULL,
     "PayloadOrganization of profiles: whom the device names as their sender"},
    {"apple", "extractable", CONFIG_FLAG, 0, 0, NULL, "no",
     "yes: on macOS the user may export the private key"},
    {"apple", "all_apps", CONFIG_FLAG, 0, 0, NULL, "no",
     "yes: on macOS every application may use the private key without asking"},
    {"windows", "scope", CONFIG_CHOICE, 0, 0, "user|device", "user",
     "whose certificate it becomes: that of the user, or of the device"},
    {"windows", "key_location", CONFIG_CHOICE, 0, 0, "tpm|tpm-or-software|software",
     "tpm-or-software", "where Windows keeps the private key"},
    {"windows", "exportable", CONFIG_FLAG, 0, 0, NULL, "no",
     "yes: the private key may be exported (key_location = software only)"},
    {"windows", "device_store", CONFIG_TEXT, 1, 64, NULL, NULL,
     "certificate store with the device's certificate (default: it is the one of its MDM "
     "enrolment)"},

    /* The queue, used by the connector, and by a hub whose queue is an external one. */
    {"queue", "engine", CONFIG_CHOICE, 0, 0, "sqs|azure", "sqs",
     "sqs: Amazon SQS and what is compatible, the hub among it; azure: Azure Storage Queue"},
    {"queue", "endpoint", CONFIG_TEXT, 8, 512, NULL, "http://127.0.0.1:9324",
     "URL of the queue service (azure: where it is not that of the connection string)"},
    {"queue", "region", CONFIG_TEXT, 1, 64, NULL, "local",
     "region that requests are signed for (sqs)"},
    {"queue", "credentials", CONFIG_PATH, 0, 0, NULL, NULL,
     "sqs: AWS shared credentials file; azure: file with a connection string, key or SAS; read "
     "again when it changes"},
    {"queue", "profile", CONFIG_TEXT, 1, 64, NULL, "default",
     "section of the shared credentials file (sqs)"},
    {"queue", "ca_file", CONFIG_PATH, 0, 0, NULL, NULL,
     "PEM file with the CAs of an https endpoint or proxy (default: the system's)"},
    {"queue", "client_certificate", CONFIG_PATH, 0, 0, NULL, NULL,
     "PEM file with the certificate to show to a service that wants one (mTLS)"},
    {"queue", "client_key", CONFIG_SECRET, 0, 0, NULL, NULL,
     "where the private key of that certificate is, PEM: file:PATH or credential:NAME"},
    {"queue", "requests", CONFIG_TEXT, 1, 80, NULL, "reseal-requests",
     "queue that requests are taken from"},
    {"queue", "results", CONFIG_TEXT, 1, 80, NULL, "reseal-results", "queue that results go to"},
    {"queue", "lease", CONFIG_NUMBER, 2, 43200, NULL, "60",
     "seconds for which a request is hidden from other connectors; extended while it is worked on"},
    {"queue", "wait", CONFIG_NUMBER, 0, 20, NULL, "20", "seconds of one long poll"},
    {"queue", "idle_poll", CONFIG_NUMBER, 1, 300, NULL, "5",
     "longest pause in seconds between polls of an empty queue, where there is no long poll "
     "(azure)"},
    {"queue", "max_receives", CONFIG_NUMBER, 0, 1000, NULL, "50",
     "times a message is received before it goes to the queue NAME-poison, 0: never (azure; sqs "
     "has "
     "redrive policies)"},
    {"queue", "connections", CONFIG_NUMBER, 3, 64, NULL, "10", "connections at once, at most"},
    {"queue", "proxy", CONFIG_TEXT, 8, 512, NULL, NULL,
     "proxy to the queue service, http://HOST:PORT or https://HOST:PORT; the environment is not "
     "looked at"},
    {"queue", "proxy_credentials", CONFIG_SECRET, 0, 0, NULL, NULL,
     "where USER:PASSWORD for the proxy is: file:PATH, fd:N or credential:NAME"},
    {"queue", "no_proxy", CONFIG_TEXT, 1, 1024, NULL, NULL,
     "hosts, domains and networks that are reached without the proxy, separated by commas"},

    /* The hub. */
    {"hub", "listen", CONFIG_TEXT, 3, 128, NULL, "127.0.0.1:9324",
     "address and port to listen on, ADDRESS:PORT or [ADDRESS]:PORT"},
    {"hub", "tls_certificate", CONFIG_PATH, 0, 0, NULL, NULL,
     "PEM file with the hub's TLS certificate and the CAs below its root; read again when it "
     "changes"},
    {"hub", "tls_key", CONFIG_SECRET, 0, 0, NULL, NULL,
     "where the private key of that certificate is, PEM"},
    {"hub", "client_ca", CONFIG_PATH, 0, 0, NULL, NULL,
     "PEM file with CAs: whoever has no TLS certificate of one of them is not let in"},
    {"hub", "client_crl", CONFIG_PATH, 0, 0, NULL, NULL,
     "CRLs (PEM) of these CAs: whom they revoke does not get in"},
    {"hub", "cleartext", CONFIG_FLAG, 0, 0, NULL, "no",
     "yes: listen without TLS where other machines reach it, as behind a TLS proxy"},
    {"hub", "public_url", CONFIG_TEXT, 8, 256, NULL, NULL,
     "URL under which clients reach the hub, where a proxy stands before it"},
    {"hub", "database", CONFIG_PATH, 0, 0, NULL, NULL, "SQLite file of the hub"},
    {"hub", "api_token", CONFIG_SECRET, 0, 0, NULL, NULL,
     "where the bearer tokens of the record and delivery API are, or their digests"},
    {"hub", "rotation_token", CONFIG_SECRET, 0, 0, NULL, NULL,
     "where the bearer tokens are (or their digests) that read and replace sealed passwords, for "
     "`reseal key rotate` "
     "(default: nobody may)"},
    {"hub", "credentials", CONFIG_PATH, 0, 0, NULL, NULL,
     "AWS shared credentials file: each section is an access key for the queue, with its rights"},
    {"hub", "access_key_wrap", CONFIG_SECRET, 0, 0, NULL, NULL,
     "where the key is that the access keys in that file are encrypted under, if they are"},
    {"hub", "queue", CONFIG_CHOICE, 0, 0, "internal|external", "internal",
     "internal: connectors come to the hub's own queue; external: requests go to, and results come "
     "from, the engine of section [queue]"},
    {"hub", "requests", CONFIG_TEXT, 1, 80, NULL, "reseal-requests", "queue that requests go to"},
    {"hub", "results", CONFIG_TEXT, 1, 80, NULL, "reseal-results",
     "queue that results are taken from"},
    {"hub", "request_lifetime", CONFIG_NUMBER, 10, 604800, NULL, "86400",
     "seconds after which a request expires unanswered"},
    {"hub", "delivery_retention", CONFIG_NUMBER, 60, 315360000, NULL, "2592000",
     "seconds for which a finished delivery and its payload are kept after its request's end"},
    {"hub", "max_receives", CONFIG_NUMBER, 1, 1000, NULL, "50",
     "times a request is handed out before it goes to the dead-letter queue"},

    /* Commands that talk to the record store and the hub. */
    {"client", "records", CONFIG_TEXT, 8, 512, NULL, "http://127.0.0.1:9324/beta",
     "URL of the Graph-shaped record store"},
    {"client", "hub", CONFIG_TEXT, 8, 512, NULL, "http://127.0.0.1:9324", "URL of the hub's API"},
    {"client", "api_token", CONFIG_SECRET, 0, 0, NULL, NULL,
     "where the hub's bearer token is; also for its record store"},
    {"client", "records_token", CONFIG_SECRET, 0, 0, NULL, NULL,
     "where the bearer token for a record store is that is not the hub's, as `reseal login` writes "
     "it"},
    {"client", "login", CONFIG_CHOICE, 0, 0, "token|secret|certificate", "token",
     "how commands log in to the record store: with a token that is there, or by OAuth 2.0 as an "
     "application, with its client_secret or login_certificate (Microsoft Graph)"},
    {"client", "authority", CONFIG_TEXT, 8, 256, NULL, "https://login.microsoftonline.com",
     "URL of the service that logs in by OAuth 2.0"},
    {"client", "tenant", CONFIG_TEXT, 1, 128, NULL, NULL, "id or domain of the tenant there"},
    {"client", "client_id", CONFIG_TEXT, 1, 128, NULL, NULL,
     "id of the application that is registered there"},
    {"client", "scope", CONFIG_TEXT, 1, 512, NULL, NULL,
     "what the login is for (default: /.default of the service that records names)"},
    {"client", "client_secret", CONFIG_SECRET, 0, 0, NULL, NULL,
     "where the application's secret is (login = secret)"},
    {"client", "login_certificate", CONFIG_PATH, 0, 0, NULL, NULL,
     "certificate that is registered with the application, RSA, PEM or DER (login = certificate)"},
    {"client", "login_key", CONFIG_SECRET, 0, 0, NULL, NULL,
     "where its private key is, PEM: file:PATH or credential:NAME"},
    {"client", "login_uri", CONFIG_TEXT, 8, 1024, NULL, NULL,
     "RFC 7512 URI of its private key on a token, instead of login_key: "
     "pkcs11:token=...;object=...?module-path=..."},
    {"client", "login_pin", CONFIG_SECRET, 0, 0, NULL, NULL, "where the PIN of that token is"},
    {"client", "rotation_token", CONFIG_SECRET, 0, 0, NULL, NULL,
     "where the hub's rotation token is, for `reseal key rotate`, `retire` and `destroy`"},
    {"client", "ca_file", CONFIG_PATH, 0, 0, NULL, NULL,
     "PEM file with the CAs of https URLs (default: the system's)"},
    {"client", "client_certificate", CONFIG_PATH, 0, 0, NULL, NULL,
     "PEM file with the certificate to show to a service that wants one (mTLS)"},
    {"client", "client_key", CONFIG_SECRET, 0, 0, NULL, NULL,
     "where the private key of that certificate is, PEM: file:PATH or credential:NAME"},
    {"client", "public_key", CONFIG_PATH, 0, 0, NULL, NULL,
     "public sealing key, PEM or CNG RSAPUBLICBLOB"},
    {"client", "key_name", CONFIG_TEXT, 1, 128, NULL, NULL, "name of that key, as on the token"},
    {"client", "provider_name", CONFIG_TEXT, 1, 128, NULL, "reseal",
     "provider name written into records"},
    {"client", "padding", CONFIG_CHOICE, 0, 0, PADDINGS, "oaepSha512",
     "padding scheme that passwords are sealed with"},

    /* Logs of the daemons. */
    {"log", "level", CONFIG_CHOICE, 0, 0, "debug|info|warning|error", "info",
     "least level that is written"},
    {"log", "format", CONFIG_CHOICE, 0, 0, "auto|text|json", "auto",
     "text, json, or auto: text on a terminal, json elsewhere"},
    {NULL, NULL, CONFIG_TEXT, 0, 0, NULL, NULL, NULL},
};

bool settings_load(const char *path, struct config **out, struct error *err)
{
    if (path != NULL)
        return config_load(path, reseal_settings, out, err);
    if (config_load(SETTINGS_DEFAULT_PATH, reseal_settings, out, err))
        return true;
    if (err->kind == FAIL_NOT_FOUND)
        error_hint(err,
                   "give the configuration with --config FILE, or begin %s with "
                   "reseal.conf.example",
                   SETTINGS_DEFAULT_PATH);
    return false;
}

bool settings_load_hub(const char *path, struct config **out, struct error *err)
{
    if (path == NULL && access(SETTINGS_HUB_PATH, F_OK) == 0)
        path = SETTINGS_HUB_PATH;
    return settings_load(path, out, err);
}

/* -- tokens -- */

static bool is_token(const char *section)
{
    return strcmp(section, "token") == 0 || strncmp(section, "token ", 6) == 0;
}

const char *settings_token_section(const struct config *config, size_t index)
{
    const char *section;
    for (size_t i = 0; (section = config_section_at(config, i)) != NULL; i++) {
        if (is_token(section) && index-- == 0)
            return section;
    }
    return NULL;
}

size_t settings_token_count(const struct config *config)
{
    size_t count = 0;
    while (settings_token_section(config, count) != NULL)
        count++;
    return count;
}

const char *settings_token_name(const char *section)
{
    const char *blank = strchr(section, ' ');
    return blank != NULL ? blank + 1 : CONFIG_MEMBER_DEFAULT;
}

static void list_names(const struct config *config, char *out, size_t size)
{
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < settings_token_count(config) && used < size; i++)
        used += (size_t)snprintf(out + used, size - used, "%s%s", i > 0 ? ", " : "",
                                 settings_token_name(settings_token_section(config, i)));
}

bool settings_token_find(const struct config *config, const char *name, const char **section,
                         struct error *err)
{
    char names[TOKENS_MAX * (TOKEN_NAME_MAX + 2) + 1];
    size_t count = settings_token_count(config);
    *section = settings_token_section(config, 0);
    if (name == NULL && count == 1)
        return true;
    for (size_t i = 0; name != NULL && i < count; i++) {
        *section = settings_token_section(config, i);
        if (strcmp(settings_token_name(*section), name) == 0)
            return true;
    }
    *section = NULL;
    list_names(config, names, sizeof names);
    if (name == NULL)
        error_set(err, FAIL_USAGE, "%s configures %zu tokens, and none is named",
                  config_path(config), count);
    else
        error_set(err, FAIL_USAGE, "%s has no token \"%.64s\"", config_path(config), name);
    return error_hint(err, "name one with --token NAME: %.300s", names);
}

unsigned settings_workers(const struct config *config, const char *section)
{
    bool own = config_given(config, section, "workers");
    return (unsigned)config_number(config, own ? section : "connector", "workers");
}
