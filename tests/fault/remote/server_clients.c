/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include "server.h"

#define CLIENTS_MAX  256
#define SESSIONS_MAX 4096

static struct {
    pthread_mutex_t lock;
    struct {
        uint64_t id;
        size_t links; /* 0: a free place */
    } clients[CLIENTS_MAX];
    struct {
        uint64_t client;
        CK_SLOT_ID slot;
        CK_SESSION_HANDLE handle; /* CK_INVALID_HANDLE: a free place */
    } sessions[SESSIONS_MAX];
} table = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* The client's place, or a free one. */
static size_t find_client(uint64_t client)
{
    size_t place = CLIENTS_MAX;
    for (size_t i = 0; i < CLIENTS_MAX; i++) {
        if (table.clients[i].links > 0 && table.clients[i].id == client)
            return i;
        if (table.clients[i].links == 0)
            place = i;
    }
    return place;
}

bool client_join(uint64_t client)
{
    pthread_mutex_lock(&table.lock);
    size_t place = find_client(client);
    if (place < CLIENTS_MAX) {
        table.clients[place].id = client;
        table.clients[place].links++;
    }
    pthread_mutex_unlock(&table.lock);
    return place < CLIENTS_MAX;
}

/* The handle's place among the client's, or a free one with CK_INVALID_HANDLE. */
static size_t find_session(uint64_t client, CK_SESSION_HANDLE handle)
{
    for (size_t i = 0; i < SESSIONS_MAX; i++) {
        if (table.sessions[i].handle == handle &&
            (handle == CK_INVALID_HANDLE || table.sessions[i].client == client))
            return i;
    }
    return SESSIONS_MAX;
}

bool client_add_session(uint64_t client, CK_SLOT_ID slot, CK_SESSION_HANDLE session)
{
    pthread_mutex_lock(&table.lock);
    size_t place = find_session(client, CK_INVALID_HANDLE);
    if (place < SESSIONS_MAX) {
        table.sessions[place].client = client;
        table.sessions[place].slot = slot;
        table.sessions[place].handle = session;
    }
    pthread_mutex_unlock(&table.lock);
    return place < SESSIONS_MAX;
}

bool client_has_session(uint64_t client, CK_SESSION_HANDLE session)
{
    pthread_mutex_lock(&table.lock);
    bool has = session != CK_INVALID_HANDLE && find_session(client, session) < SESSIONS_MAX;
    pthread_mutex_unlock(&table.lock);
    return has;
}

CK_RV client_close_session(CK_FUNCTION_LIST_PTR f, uint64_t client, CK_SESSION_HANDLE session)
{
    pthread_mutex_lock(&table.lock);
    size_t place = session != CK_INVALID_HANDLE ? find_session(client, session) : SESSIONS_MAX;
    CK_RV rv = CKR_SESSION_HANDLE_INVALID;
    if (place < SESSIONS_MAX) {
        /* With the lock held: its number may be given to another client at once. */
        table.sessions[place].handle = CK_INVALID_HANDLE;
        rv = f->C_CloseSession(session);
    }
    pthread_mutex_unlock(&table.lock);
    return rv;
}

static void close_sessions(CK_FUNCTION_LIST_PTR f, uint64_t client, const CK_SLOT_ID *slot)
{
    for (size_t i = 0; i < SESSIONS_MAX; i++) {
        CK_SESSION_HANDLE handle = table.sessions[i].handle;
        if (handle == CK_INVALID_HANDLE || table.sessions[i].client != client ||
            (slot != NULL && table.sessions[i].slot != *slot))
            continue;
        table.sessions[i].handle = CK_INVALID_HANDLE;
        f->C_CloseSession(handle);
    }
}

void client_close_all(CK_FUNCTION_LIST_PTR f, uint64_t client, CK_SLOT_ID slot)
{
    pthread_mutex_lock(&table.lock);
    close_sessions(f, client, &slot);
    pthread_mutex_unlock(&table.lock);
}

void client_leave(CK_FUNCTION_LIST_PTR f, uint64_t client)
{
    pthread_mutex_lock(&table.lock);
    size_t place = find_client(client);
    if (place < CLIENTS_MAX && table.clients[place].links > 0 && --table.clients[place].links == 0)
        close_sessions(f, client, NULL);
    pthread_mutex_unlock(&table.lock);
}
