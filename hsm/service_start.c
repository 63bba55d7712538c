/* SPDX-License-Identifier: Apache-2.0 */
#include <signal.h>
#include <string.h>
#include <unistd.h>
#include "memory_lock.h"
#include "reseal/key_descriptor.h"
#include "reseal/log.h"
#include "reseal/settings.h"
#include "service.h"

#define LOGIN_GRACE_S 5 /* for a login that is under way when this process is told to end */

/* Locked memory: one whole content for each worker that works in custody host, and the PIN. Most
 * content is a password alone; a system's limit is often 8 MiB. */
static size_t secret_heap_size(unsigned sessions)
{
    size_t size = (size_t)512 * 1024;
    if (sessions == 0) /* not chosen yet */
        sessions = LANES_MAX;
    while (size < (size_t)sessions * CMS_DER_MAX && size < (size_t)4 * 1024 * 1024)
        size *= 2;
    return size;
}

static bool open_log(const struct config *config, struct error *err)
{
    enum log_level level;
    const char *format = config_text(config, "log", "format");
    if (!log_level_parse(config_text(config, "log", "level"), &level))
        return error_set(err, FAIL_USAGE, "%s: [log] level is not known", config_path(config));
    log_open("reseal-hsm",
             strcmp(format, "json") == 0   ? LOG_AS_JSON
             : strcmp(format, "text") == 0 ? LOG_AS_TEXT
                                           : LOG_AUTO,
             level);
    return true;
}

static void lock_memory(void)
{
    const char *locked = memory_lock_all() ? "all memory" : "the secret heap alone";
    log_event(LEVEL_DEBUG, EVENT_NOTE, "memory is locked against swapping",
              LOG_TEXT("locked", locked));
}

static bool load_settings(struct token_service *service, const char *path, const char *token,
                          struct error *err)
{
    const char *device_ca;
    if (!settings_load(path, &service->config, err) || !open_log(service->config, err) ||
        !settings_token_find(service->config, token, &service->section, err))
        return false;
    lock_memory();
    const struct config *config = service->config;
    service->sessions = settings_workers(config, service->section);
    service->deadline = (unsigned)config_number(config, "connector", "helper_deadline");
    if (!custody_parse(config_text(config, "connector", "require"), &service->require) ||
        !key_transport_parse(config_text(config, "connector", "key_transport"),
                             &service->transport))
        return error_set(err, FAIL_USAGE, "%s: [connector] require or key_transport is not known",
                         config_path(config));
    return secret_heap_open(secret_heap_size(service->sessions), err) &&
           config_want(config, "connector", "device_ca", &device_ca, err) &&
           device_trust_load(device_ca, config_text(config, "connector", "device_crl"),
                             &service->trust, err);
}

/* A PIN is tried only where the connector knows of it: should the module never come back from
 * C_Login, the connector starts no second helper to try it again. */
static bool announce_login(void *context, struct error *err)
{
    struct token_service *service = context;
    const struct buf nothing = BUF_INIT(0);
    token_service_answer(service, 0, HELPER_LOGGING_IN, &nothing);
    if (atomic_load(&service->unheard))
        return error_set(err, FAIL_IO, "the PIN was not tried: the connector is gone");
    return true;
}

/* -- a login that is not cut off -- */

static volatile sig_atomic_t told_to_end;

static void end_later(int number)
{
    told_to_end = number;
    alarm(LOGIN_GRACE_S);
}

/*
 * A login that is cut off may have cost a try, and SoftHSM writes the token's own file in it: cut
 * off there, the token is lost. So the SIGTERM that comes when reseald dies waits until the login
 * is over; a module that does not come back from it soon ends with the alarm.
 */
static bool log_in_whole(struct token_service *service, struct error *err)
{
    struct sigaction later = {.sa_handler = end_later, .sa_flags = SA_RESTART}, before;
    sigemptyset(&later.sa_mask);
    sigaction(SIGTERM, &later, &before);
    bool ok = token_service_login(service, err);
    sigaction(SIGTERM, &before, NULL);
    if (told_to_end != 0)
        raise(told_to_end);
    return ok;
}

static bool open_token(struct token_service *service, struct error *err)
{
    struct token_address address;
    const char *pin = config_text(service->config, service->section, "pin");
    if (!token_address_from_config(service->config, service->section, &address, err) ||
        !token_open(&address, &service->token, err))
        return false;
    token_facts_get(service->token, &service->hello.report.token);
    if (pin != NULL && !secret_read(pin, "PIN", PIN_MAX, &service->pin, err))
        return error_context(err, "the token's PIN");
    token_before_first_login(service->token, announce_login, service);
    /* Once more in the session: a token that went and came back in between knows of no login. */
    return log_in_whole(service, err) &&
           session_open(service->token, SESSION_READ_ONLY, &service->session, err) &&
           token_service_login_again(service, service->session, err);
}

/* A key whose ceremony was not committed is not used, whatever it can do; one that is retired is
 * passed over, for the others are to be served. */
static bool check_committed(const struct token_service *service, const struct sealing_key *key,
                            const struct key_descriptor *descriptors, size_t count, bool *retired,
                            struct error *err)
{
    struct key_finding finding;
    if (!sealing_key_describe(service->session, key, &finding, err))
        return false;
    const struct key_descriptor *found = key_descriptor_of(descriptors, count, finding.fingerprint);
    *retired = found != NULL && found->retired;
    if (found != NULL || key_uncommitted_allowed(service->config, service->section))
        return true;
    return key_fail_uncommitted(finding.name, finding.fingerprint, err);
}

/* The configured keys, one after the other; two names of one key would be two answers to one
 * question. */
static bool find_keys(struct token_service *service, struct error *err)
{
    struct probe_report *report = &service->hello.report;
    struct key_descriptor descriptors[DESCRIPTORS_MAX];
    size_t count = config_list_count(service->config, service->section, "key"), described = 0;
    if (count == 0) {
        error_set(err, FAIL_USAGE, "%s: [%s] key names no sealing key",
                  config_path(service->config), service->section);
        return error_hint(err, "`reseal key list` shows the keys on the token");
    }
    if (count > PROBE_KEYS_MAX)
        return error_set(err, FAIL_USAGE, "%s: [%s] key names more than %d keys",
                         config_path(service->config), service->section, PROBE_KEYS_MAX);
    if (!key_descriptors_load(service->config, service->section, descriptors, &described, err))
        return false;
    for (size_t i = 0; i < count; i++) {
        const char *name = config_list_at(service->config, service->section, "key", i);
        struct sealing_key **key = &service->keys[report->key_count];
        bool retired = false;
        if (probe_key(report, name) != NULL)
            return error_set(err, FAIL_USAGE, "%s: [%s] key names \"%s\" twice",
                             config_path(service->config), service->section, name);
        if (!sealing_key_find(service->session, name, key, err) ||
            !check_committed(service, *key, descriptors, described, &retired, err))
            return false;
        if (retired) {
            log_event(LEVEL_WARNING, EVENT_NOTE, "a key is retired and is not served",
                      LOG_TEXT("key", name));
            sealing_key_free(key);
            continue;
        }
        if (!token_probe(service->session, *key, &report->keys[report->key_count], err))
            return false;
        report->key_count++;
    }
    if (report->key_count > 0)
        return true;
    error_set(err, FAIL_POLICY, "every key of [%s] is retired", service->section);
    return error_hint(err, "name a key that is in use, or leave the token out");
}

static const struct padding_finding *best_finding(const struct key_finding *key)
{
    const struct padding_finding *best = &key->paddings[0];
    for (size_t i = 1; i < PADDING_COUNT; i++) {
        if (key->paddings[i].custody > best->custody)
            best = &key->paddings[i];
    }
    return best;
}

/* A key that cannot be served as it must be stops the start: later, it would fail each request. */
static bool check_custody(const struct token_service *service, struct error *err)
{
    const struct probe_report *report = &service->hello.report;
    for (size_t i = 0; i < report->key_count; i++) {
        const struct key_finding *key = &report->keys[i];
        const struct padding_finding *best = best_finding(key);
        if (best->custody == CUSTODY_UNUSABLE) {
            error_set(err, FAIL_UNSUPPORTED,
                      "token \"%s\" cannot reseal with key \"%s\" at all: %s: %s; %s",
                      report->token.label, key->name, best->call, best->ck_rv, best->quirk);
            return error_hint(err, "`reseal token probe` shows what the token and its keys can do");
        }
        if (best->custody < service->require) {
            error_set(err, FAIL_POLICY,
                      "token \"%s\" with key \"%s\" reaches custody %s only, and custody token is "
                      "required: %s: %s",
                      report->token.label, key->name, custody_name(best->custody), best->call,
                      best->ck_rv);
            return error_hint(err, "use a token that can do the whole job, or accept that the "
                                   "password is in locked memory for a moment: [connector] "
                                   "require = host");
        }
    }
    return true;
}

/* With every key: they were there a moment ago. */
static bool open_whole_lane(struct token_service *service, struct lane *lane, struct error *err)
{
    bool denied;
    if (!lane_open(service, lane, &denied, err))
        return false;
    for (size_t i = 0; i < service->hello.report.key_count; i++) {
        struct sealing_key *key;
        if (lane_key(service, lane, i, &key, err))
            continue;
        lane_drop(lane);
        err->kind = FAIL_TOKEN;
        return false;
    }
    return true;
}

/* A token that has no more sessions to give is used with those that it gave. */
static bool open_lanes(struct token_service *service, struct error *err)
{
    struct lane *opened[LANES_MAX];
    unsigned count = 0;
    if (service->sessions == 0)
        service->sessions = session_count_choose(service);
    if (!lanes_new(service->sessions, &service->lanes, err))
        return false;
    /* All are taken before one is given back, so that it is another one each time. */
    for (; count < service->sessions; count++) {
        opened[count] = lanes_take(service->lanes);
        if (open_whole_lane(service, opened[count], err))
            continue;
        lanes_give(service->lanes, opened[count]);
        break;
    }
    for (unsigned i = 0; i < count; i++)
        lanes_give(service->lanes, opened[i]);
    if (count < service->sessions && count > 0)
        log_error(LEVEL_WARNING, EVENT_TOKEN_TROUBLE, "going on with fewer sessions", err);
    service->hello.sessions = count;
    return count > 0;
}

static bool start_workers(struct token_service *service, struct error *err)
{
    if (!open_lanes(service, err))
        return false;
    /* So many more than sessions that no session waits for what is done without the token. */
    service->threads = service->hello.sessions + 2 + service->hello.sessions / 8;
    if (!job_queue_new(service->threads + WAITING_MAX, &service->jobs, err))
        return false;
    for (unsigned i = 0; i < service->threads; i++) {
        if (!worker_start(service, &service->workers[i], err))
            return false;
    }
    return true;
}

void token_service_init(struct token_service *service)
{
    pthread_mutex_init(&service->output, NULL);
    pthread_mutex_init(&service->login, NULL);
    pthread_cond_init(&service->ruled, NULL);
}

void token_service_start(struct token_service *service, const char *config_path, const char *token)
{
    struct error *err = &service->hello.error;
    service->hello.ready = load_settings(service, config_path, token, err) &&
                           open_token(service, err) && find_keys(service, err) &&
                           check_custody(service, err) && start_workers(service, err);
    if (service->hello.ready) /* what was met on the way is in the report, or in the log */
        *err = (struct error)ERROR_INIT;
}

void token_service_end(struct token_service *service)
{
    for (size_t i = 0; i < PROBE_KEYS_MAX; i++)
        sealing_key_free(&service->keys[i]);
    session_close(&service->session);
    token_close(&service->token);
    secret_free(&service->pin);
    device_trust_free(&service->trust);
    config_free(&service->config);
    job_queue_free(&service->jobs);
    frame_channel_free(&service->channel);
    pthread_mutex_destroy(&service->output);
    pthread_mutex_destroy(&service->login);
    pthread_cond_destroy(&service->ruled);
}
