/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which tokens can serve a request: from the label that it names to a public key (SHA-256 of its
 * SPKI, RFC 5280 section 4.1), and from there to every token that holds that key, under whatever
 * label.
 *
 * A label that means different keys on different tokens says nothing: opened with the wrong key, a
 * good request would be answered for good as bad cryptography. So such a label is served by none of
 * these tokens until a person has acted; requests for it wait, since a wait can be mended. While
 * the connector starts it is a mistake of the configuration that ends it.
 */
#include <string.h>
#include "connector.h"
#include "reseal/log.h"

static bool same_key(const struct key_finding *a, const struct key_finding *b)
{
    return a->fingerprint[0] != '\0' && strcmp(a->fingerprint, b->fingerprint) == 0;
}

static const struct key_finding *find_label(const struct station *station, const char *label)
{
    const struct hello_message *hello = station_hello(station);
    return hello != NULL ? probe_key(&hello->report, label) : NULL;
}

static const struct key_finding *find_public_key(const struct station *station,
                                                 const struct key_finding *wanted)
{
    const struct hello_message *hello = station_hello(station);
    for (size_t i = 0; hello != NULL && i < hello->report.key_count; i++) {
        const struct key_finding *key = &hello->report.keys[i];
        if (key == wanted || same_key(key, wanted))
            return key;
    }
    return NULL;
}

/* The key that a label means; *conflict where two tokens contradict each other. */
static const struct key_finding *find_key(const struct connector *connector, const char *label,
                                          bool *conflict)
{
    const struct key_finding *found = NULL;
    *conflict = false;
    for (size_t i = 0; i < connector->station_count; i++) {
        const struct key_finding *key = find_label(&connector->stations[i], label);
        if (key != NULL && found != NULL && !same_key(key, found))
            *conflict = true;
        if (found == NULL)
            found = key;
    }
    return found;
}

/* A token that was not heard yet, or that is halted, may be the one. */
static bool is_configured(const struct connector *connector, const char *label)
{
    for (size_t i = 0; i < connector->station_count; i++) {
        const struct station *station = &connector->stations[i];
        if (station_hello(station) != NULL)
            continue;
        size_t count = config_list_count(connector->config, station->section, "key");
        for (size_t j = 0; j < count; j++) {
            if (strcmp(config_list_at(connector->config, station->section, "key", j), label) == 0)
                return true;
        }
    }
    return false;
}

static bool has_custody(const struct connector *connector, const struct key_finding *key,
                        enum padding padding)
{
    const struct padding_finding *finding = probe_padding(key, padding);
    return finding != NULL && finding->custody >= connector->require;
}

/* The stations with that key; `halted` becomes true where a halted one is among them. */
static unsigned stations_with(const struct connector *connector, const struct key_finding *wanted,
                              enum padding padding, bool *halted)
{
    unsigned stations = 0;
    *halted = false;
    for (size_t i = 0; i < connector->station_count; i++) {
        const struct station *station = &connector->stations[i];
        const struct key_finding *key = find_public_key(station, wanted);
        if (key == NULL || !has_custody(connector, key, padding))
            continue;
        if (station_is_halted(station))
            *halted = true;
        else
            stations |= station_bit(station);
    }
    return stations;
}

void route_find(const struct connector *connector, const struct request *request, struct route *out)
{
    const char *label = request->key_name;
    bool conflict, halted = false;
    const struct key_finding *key = find_key(connector, label, &conflict);
    memset(out, 0, offsetof(struct route, why));
    out->why.kind = FAIL_NONE;
    if (conflict) {
        out->may_come = true;
        error_set(&out->why, FAIL_TOKEN, "the sealing key \"%s\" is not the same on each token",
                  label);
        return;
    }
    if (key != NULL)
        out->stations = stations_with(connector, key, request->padding, &halted);
    if (out->stations != 0)
        return;
    out->may_come = halted || is_configured(connector, label);
    if (out->may_come)
        error_set(&out->why, FAIL_TOKEN, "no token with the sealing key \"%s\" is ready", label);
    else if (key == NULL)
        error_set(&out->why, FAIL_UNSUPPORTED, "no connector serves the sealing key \"%s\"", label);
    else
        error_set(&out->why, FAIL_UNSUPPORTED,
                  "the sealing key \"%s\" cannot open %s with custody %s", label,
                  padding_name(request->padding), custody_name(connector->require));
}

const char *route_label(const struct connector *connector, const struct station *station,
                        const struct request *request)
{
    bool conflict;
    const struct key_finding *wanted = find_key(connector, request->key_name, &conflict);
    const struct key_finding *key = wanted != NULL ? find_public_key(station, wanted) : NULL;
    return key != NULL ? key->name : request->key_name;
}

/* -- conflicts -- */

static void note_conflict(struct connector *connector, const struct station *a,
                          const struct station *b, const char *label)
{
    if (connector->conflict_count == CONFLICTS_MAX)
        return;
    struct error *out = &connector->conflicts[connector->conflict_count++];
    error_set(out, FAIL_POLICY,
              "the tokens \"%s\" and \"%s\" have different keys under the label \"%s\": requests "
              "for it are not served",
              a->name, b->name, label);
    error_hint(out, "leave the key of one of them out of its `key` list, or give it another label; "
                    "`reseal key list --token NAME` shows the public keys");
}

static void compare(struct connector *connector, const struct station *a, const struct station *b)
{
    const struct hello_message *hello = station_hello(a);
    for (size_t i = 0; hello != NULL && i < hello->report.key_count; i++) {
        const struct key_finding *key = &hello->report.keys[i];
        const struct key_finding *other = find_label(b, key->name);
        if (other != NULL && !same_key(key, other))
            note_conflict(connector, a, b, key->name);
    }
}

bool routes_check(struct connector *connector)
{
    size_t before = connector->conflict_count;
    connector->conflict_count = 0;
    for (size_t i = 0; i < connector->station_count; i++) {
        for (size_t j = i + 1; j < connector->station_count; j++)
            compare(connector, &connector->stations[i], &connector->stations[j]);
    }
    for (size_t i = before; i < connector->conflict_count; i++)
        log_error(LEVEL_ERROR, EVENT_TOKEN_TROUBLE, "a label means two keys",
                  &connector->conflicts[i]);
    return connector->conflict_count > before;
}
