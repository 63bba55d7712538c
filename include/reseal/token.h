/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The door of hsm/: tokens behind PKCS#11 modules (PKCS#11 v3.1). Nothing here shows a PKCS#11
 * type; a CK_RV leaves hsm/ by name only, inside error texts and reports.
 *
 * A process opens one module, finds one token on it, logs in once (the login belongs to the
 * application), and gives each worker thread a session of its own. `struct token` may be shared
 * between threads, a `struct session` may not.
 */
#ifndef RESEAL_TOKEN_H
#define RESEAL_TOKEN_H

#include "reseal/cms.h"
#include "reseal/config.h"
#include "reseal/probe_report.h"
#include "reseal/secret.h"

#define PIN_MAX 255 /* bytes */

/* Which module and which token: from a [token] section of the configuration or from options. */
struct token_address {
    char module[1024];    /* path of the shared library */
    char init_args[1025]; /* library parameters (NSS), or empty */
    char label[33];       /* empty: any; at least one of label and serial decides */
    char serial[17];
    char manufacturer[33]; /* only compared where not empty, as model */
    char model[17];
};

/* Fills the address from the section "token" or "token NAME" (module, init_args, label, serial, or
 * uri). */
bool token_address_from_config(const struct config *config, const char *section,
                               struct token_address *out, struct error *err) MUST_USE;
/* RFC 7512: module-path, module-name, token, serial, manufacturer, model. pin-value is refused: a
 * secret does not belong into a URI. */
bool token_address_from_uri(const char *uri, struct token_address *out, struct error *err) MUST_USE;

struct token;
struct session;

/* Loads and initialises the module and finds the token; FAIL_NOT_FOUND lists the tokens that are
 * there. */
bool token_open(const struct token_address *address, struct token **out,
                struct error *err) MUST_USE;
void token_close(struct token **token);
void token_facts_get(const struct token *token, struct token_facts *out);

/* Whether the token has a PIN pad of its own (CKF_PROTECTED_AUTHENTICATION_PATH). */
bool token_has_pin_pad(const struct token *token) MUST_USE;
/* Without it all objects are there at once, and no PIN is wanted (CKF_LOGIN_REQUIRED). */
bool token_wants_login(const struct token *token) MUST_USE;

/* In the order in which a try costs more. */
enum pin_state {
    PIN_STATE_OK,        /* no failed try since the last login, as far as the token tells */
    PIN_STATE_COUNT_LOW, /* CKF_USER_PIN_COUNT_LOW: someone tried a wrong PIN */
    PIN_STATE_FINAL_TRY, /* CKF_USER_PIN_FINAL_TRY */
    PIN_STATE_LOCKED,    /* CKF_USER_PIN_LOCKED */
    PIN_STATE_UNSET,     /* no CKF_USER_PIN_INITIALIZED */
    PIN_STATE_EXPIRED,   /* CKF_USER_PIN_TO_BE_CHANGED */
};
/* Reads the flags anew; burns no try. */
bool token_pin_state(const struct token *token, enum pin_state *out, struct error *err) MUST_USE;
const char *pin_state_text(enum pin_state state) MUST_USE;
/* Length bounds that the token states, in bytes. */
void token_pin_bounds(const struct token *token, size_t *min, size_t *max);

/*
 * Logs the user in: one try. Refuses beforehand (FAIL_PIN) where the token says that its count is
 * low, that it is the final try, or that the PIN is locked or expired. CKR_USER_ALREADY_LOGGED_IN
 * is success. A wrong PIN is FAIL_PIN and is never tried again by this code; so is every answer
 * that does not say clearly that the trouble was another one, for the token may have counted it as
 * a wrong PIN. `pin` NULL: the token asks for it on its own pad.
 */
bool token_login(struct token *token, const struct secret *pin, struct error *err) MUST_USE;
/* The same for a person who was told the state `told`, and wants the one try all the same: a low
 * count refuses it only where it has become worse since. Nothing that acts by itself calls this. */
bool token_login_told(struct token *token, const struct secret *pin, enum pin_state told,
                      struct error *err) MUST_USE;
/* FAIL_PIN: the PIN was not tried in that state, and what to do. Returns false. */
bool token_fail_pin_state(const struct token *token, enum pin_state state, struct error *err);
/* Called once, right before the first C_Login of this token: whoever counts tries must know of one
 * from which the module never returns. False: the PIN is not tried. */
void token_before_first_login(struct token *token, bool (*call)(void *context, struct error *err),
                              void *context);

enum session_mode {
    SESSION_READ_ONLY,
    SESSION_READ_WRITE, /* for making and destroying token objects */
};
bool session_open(struct token *token, enum session_mode mode, struct session **out,
                  struct error *err) MUST_USE;
void session_close(struct session **session);
/* True where the last error of this session means that handles are lost
 * (CKR_SESSION_HANDLE_INVALID, CKR_DEVICE_REMOVED ...): close it, open a new one, try once more. */
bool session_lost(const struct session *session) MUST_USE;

/* The call of this session that failed last, and its CK_RV by name; false where none has. */
bool session_last_failure(const struct session *session, char call[static CK_CALL_TEXT],
                          char ck_rv[static CK_RV_TEXT]) MUST_USE;

/* A private key on the token, with the public half beside it. Handles are good for one session's
 * life. */
struct sealing_key;
/* By CKA_LABEL. None: FAIL_NOT_FOUND. Two with one label: FAIL_POLICY. */
bool sealing_key_find(struct session *session, const char *label, struct sealing_key **out,
                      struct error *err) MUST_USE;
void sealing_key_free(struct sealing_key **key);
/* A new key pair for one custody that ends with the session: to probe what a token can do without
 * leaving anything on it. `bits`: 2048, 3072 or 4096. Whoever is done with it before the session
 * ends destroys it by key_destroy (reseal/ceremony.h). */
bool sealing_key_make_trial(struct session *session, int bits, enum custody custody,
                            struct sealing_key **out, struct error *err) MUST_USE;
/* Attributes, bits, id, fingerprint; the padding findings are left empty. */
bool sealing_key_describe(struct session *session, const struct sealing_key *key,
                          struct key_finding *out, struct error *err) MUST_USE;

/*
 * Finds out by doing: seals a random secret in software, reseals it on the token for a throw-away
 * certificate, opens the result and compares, for each padding, first with custody token, then with
 * custody host. Fills key->paddings. False only where the token as such fails; an unusable padding
 * is a finding.
 */
bool token_probe(struct session *session, struct sealing_key *key, struct key_finding *out,
                 struct error *err) MUST_USE;

struct reseal_job {
    enum padding padding;
    enum custody custody; /* as the probe found it; nothing weaker is tried */
    struct bytes sealed;
    struct bytes prefix, suffix;
    bool
        in_cdata; /* they put it into a CDATA section; looked at in custody host, where it can be */
    X509 *recipient; /* already checked against the device CA */
    enum key_transport transport;
};
/*
 * Appends the DER of an EnvelopedData. Where no probe was made with this key before, the custody
 * asked for is tried first with a secret of our own, and remembered in the key. FAIL_CRYPTO: this
 * message is bad (uniform text); FAIL_TOKEN: the token could not do it now; FAIL_UNSUPPORTED: this
 * custody cannot make this form, or the password cannot stand in that text.
 */
bool token_reseal(struct session *session, struct sealing_key *key, const struct reseal_job *job,
                  struct buf *der, struct error *err) MUST_USE;

/*
 * Rotation: a sealed password passes from one sealing key to another on the same token, with
 * custody token by C_UnwrapKey and C_WrapKey, with custody host through locked memory. The new key
 * is one on the token, never one that a message brings: who asks can only move a seal.
 */
struct rotate_finding {
    enum custody custody;    /* the best that works for these keys and paddings */
    char call[CK_CALL_TEXT]; /* what kept it from custody token; empty if nothing did */
    char ck_rv[CK_RV_TEXT];
};
/* Finds out by doing: a secret of our own goes from `key` to `new_key`, and what comes out is
 * resealed with the new key, opened and compared. Kept in `key` for its life. False only where the
 * token as such fails. */
bool token_rotate_probe(struct session *session, struct sealing_key *key,
                        struct sealing_key *new_key, enum padding padding, enum padding new_padding,
                        struct rotate_finding *out, struct error *err) MUST_USE;

struct rotate_job {
    enum padding padding, new_padding;
    enum custody custody; /* as the probe found it; nothing weaker is tried */
    struct bytes sealed;
};
/* Appends the password sealed with the new key. FAIL_CRYPTO: it cannot be opened, or does not fit
 * the new key and padding (uniform text, that of token_reseal). */
bool token_rotate(struct session *session, struct sealing_key *key, struct sealing_key *new_key,
                  const struct rotate_job *job, struct buf *sealed, struct error *err) MUST_USE;

/*
 * Listing, through libp11. Each loads the module anew and is for commands only: not in a process
 * that holds a `struct token`.
 */
struct token_list_item {
    struct token_facts facts;
    bool initialized, login_required;
    enum pin_state pin_state;
};
bool token_list(const struct token_address *address, struct token_list_item **out, size_t *count,
                struct error *err) MUST_USE; /* free(*out) */

struct key_list_item {
    char label[129];
    char id[65];
    char type[16]; /* "RSA", "EC", "Edwards", "other" */
    int bits;      /* 0 where they are not told */
    bool has_private, has_public;
    char fingerprint[FINGERPRINT_TEXT];
};
/* With `pin` NULL only public objects are seen. */
bool key_list(const struct token_address *address, const struct secret *pin,
              struct key_list_item **out, size_t *count,
              struct error *err) MUST_USE; /* free(*out) */
/* The public key of that label; the caller frees it by EVP_PKEY_free. */
bool key_export(const struct token_address *address, const struct secret *pin, const char *label,
                EVP_PKEY **out, struct error *err) MUST_USE;

#endif
