/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What reseald, which talks to the network, may still do. It runs as the same user as the token
 * helpers, so whoever took it over could read what they read, the source of the PIN and the token's
 * files, and log in by himself. From sandbox_enter on
 *
 * - Landlock: it reads the folders of its own certificates and credentials, the descriptors of
 *   sealing keys, and what name resolution, TLS and the C library want of the system; it writes,
 *   makes and removes nothing, starts no program, and looks into no process that is not shut in
 *   with it;
 * - seccomp: system calls for starting programs, for looking into other processes, for changing
 *   files past Landlock, for UNIX sockets and shared memory of others, and for what only
 *   administrators and exploits need, fail.
 *
 * What is kept in or below a folder of the queue's credentials and certificates, or below /etc,
 * stays readable as far as the user may read it: a PIN and a token's files belong elsewhere, a PIN
 * best among the credentials of the service manager. Folders are the ones of the start: where one
 * is replaced later, or a link leads elsewhere, what is there then cannot be read.
 */
#ifndef RESEAL_CONNECTOR_SANDBOX_H
#define RESEAL_CONNECTOR_SANDBOX_H

#include "reseal/config.h"

enum sandbox_rule {
    SANDBOX_AUTO,    /* as far as the kernel does it */
    SANDBOX_REQUIRE, /* both, or no start */
    SANDBOX_OFF,
};
enum sandbox_rule sandbox_rule_of(const char *name) MUST_USE;

struct sandbox_report {
    int landlock; /* version of its interface; 0: not in force */
    bool seccomp;
    char trouble[120]; /* why one of them is not; empty: both are, or it is off */
};

/* For the rest of the life of the process and of what it starts. FAIL_UNSUPPORTED where a required
 * part cannot be had. */
bool sandbox_enter(const struct config *config, enum sandbox_rule rule,
                   struct sandbox_report *report, struct error *err) MUST_USE;
/* True if this process can still read the secret of this source (secret_read), as by doing it. */
bool sandbox_leaves(const char *source) MUST_USE;
/* "landlock and seccomp", "seccomp alone", "landlock alone" or "none". */
const char *sandbox_text(const struct sandbox_report *report) MUST_USE;

#endif
