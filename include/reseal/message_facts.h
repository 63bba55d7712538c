/* SPDX-License-Identifier: Apache-2.0 */
/* What a person may know of a queue message without seeing what is in it. */
#ifndef RESEAL_MESSAGE_FACTS_H
#define RESEAL_MESSAGE_FACTS_H

#include "reseal/result.h"

struct message_facts {
    bool readable; /* an envelope of CloudEvents; false: `trouble` says why, all else is empty */
    char trouble[256];
    /* As the message says, checked for nothing but that they can be shown; empty where missing. */
    char type[65];
    char id[MESSAGE_ID_MAX + 1];
    char source[MESSAGE_SOURCE_MAX + 1];
    char subject[MESSAGE_ID_MAX + 1];
    char time[41], expires[41];
    char outcome[17];
    /* Which kinds of content it has. */
    bool sealed_password, pfx, certificate, payload;
};

void message_facts_read(struct bytes body, struct message_facts *out);

struct json_writer;
/* Writes the members into an open object; empty ones are null. */
void message_facts_write(struct json_writer *json, const struct message_facts *facts);
/* Reads what message_facts_write wrote; whatever is missing stays empty. */
struct json_value;
void message_facts_take(const struct json_value *object, struct message_facts *out);
/* The contents in words: "a sealed password, a PFX behind its password"; "" for none. */
void message_facts_contents(const struct message_facts *facts, char *out, size_t size);

#endif
