/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A PKCS#11 token in another process: what the module libreseal-remote.so and the program
 * token_server say to each other.
 *
 * The module stands where a network HSM's client library would: it forwards each call over a UNIX
 * socket to the server, which performs it with a real module. So the token's memory is not the
 * caller's, and the token can die while its callers live.
 *
 *   wire.c         parameters of calls to bytes and back
 *   link.c         the module's connections; the server's death and return
 *   exchange.c     one call of the module: request, answer, outputs
 *   module.c       the C_ functions that are forwarded; module_other.c: those that are not
 *   server.c       the server: connections, and the control socket that holds calls
 *   server_calls.c performing the calls
 *   server_clients.c which client has which sessions
 *
 * A connection carries frames (reseal/frame.h) whose type is a remote_call, one request and one
 * answer at a time. Each answer begins with CK_RV and a flag (see REMOTE_RETURNING). Both ends are
 * on one machine: structures without pointers travel as they are.
 */
#ifndef RESEAL_TESTS_REMOTE_H
#define RESEAL_TESTS_REMOTE_H

#include <p11-kit/pkcs11.h>
#include "reseal/buf.h"

#define REMOTE_BODY_MAX (1024 * 1024) /* bytes of one request or answer */
#define REMOTE_ROOM_MAX (256 * 1024)  /* bytes of one output; a larger room is not used */
#define REMOTE_LIST_MAX 1024          /* slots, mechanisms or objects in one answer */
#define REMOTE_PATH     108           /* sockaddr_un.sun_path */

enum remote_call {
    REMOTE_HELLO = 1, /* 64-bit number of the client; answered by the server's incarnation */
    /* The outputs of the last call are with the caller's buffers. Sent where the answer's flag
     * asks for it: so a call can be held when its result is in the caller's hands. */
    REMOTE_RETURNING,
    REMOTE_GET_INFO,
    REMOTE_GET_SLOT_LIST,
    REMOTE_GET_SLOT_INFO,
    REMOTE_GET_TOKEN_INFO,
    REMOTE_GET_MECHANISM_LIST,
    REMOTE_GET_MECHANISM_INFO,
    REMOTE_OPEN_SESSION,
    REMOTE_CLOSE_SESSION,
    REMOTE_CLOSE_ALL_SESSIONS,
    REMOTE_GET_SESSION_INFO,
    REMOTE_LOGIN,
    REMOTE_LOGOUT,
    REMOTE_CREATE_OBJECT,
    REMOTE_COPY_OBJECT,
    REMOTE_DESTROY_OBJECT,
    REMOTE_GET_OBJECT_SIZE,
    REMOTE_GET_ATTRIBUTE_VALUE,
    REMOTE_SET_ATTRIBUTE_VALUE,
    REMOTE_FIND_OBJECTS_INIT,
    REMOTE_FIND_OBJECTS,
    REMOTE_FIND_OBJECTS_FINAL,
    REMOTE_ENCRYPT_INIT,
    REMOTE_ENCRYPT,
    REMOTE_DECRYPT_INIT,
    REMOTE_DECRYPT,
    REMOTE_SIGN_INIT,
    REMOTE_SIGN,
    REMOTE_VERIFY_INIT,
    REMOTE_VERIFY,
    REMOTE_GENERATE_KEY,
    REMOTE_GENERATE_KEY_PAIR,
    REMOTE_WRAP_KEY,
    REMOTE_UNWRAP_KEY,
    REMOTE_DERIVE_KEY,
    REMOTE_SEED_RANDOM,
    REMOTE_GENERATE_RANDOM,
    REMOTE_CALL_COUNT,
};

/* "C_UnwrapKey"; NULL for what is no function of PKCS#11. */
const char *remote_call_name(unsigned call) MUST_USE;

#endif
