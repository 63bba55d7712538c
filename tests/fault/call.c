/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What becomes of each call. Two locks: `state_lock` guards the script, the counters and the table
 * of sessions, and is never held while the real module works or a fault waits; `flight` is held for
 * reading during each call of the real module, so that taking the token away can wait until nobody
 * is in it.
 */
#include "call.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "fault.h"
#include "hsm/ck_rv.h"

#define SESSIONS_MAX 4096

CK_FUNCTION_LIST_PTR fault_real;

static pthread_mutex_t state_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t script_changed = PTHREAD_COND_INITIALIZER;
static pthread_rwlock_t flight = PTHREAD_RWLOCK_INITIALIZER;

static struct {
    struct fault_script script;
    bool readable;      /* a script was read, and has no error */
    unsigned long turn; /* counts scripts: who hangs waits for the next one */
    struct stat file;   /* as RESEAL_FAULT was when it was read */
    int log;            /* descriptor, or -1 */
    unsigned long calls[FUNCTION_COUNT], reached[FUNCTION_COUNT], faults;
    struct {
        CK_SESSION_HANDLE handle;
        CK_SLOT_ID slot; /* the real one */
    } sessions[SESSIONS_MAX];
    size_t session_count;
    size_t sessions_claimed; /* C_OpenSession on its way */
    size_t left_open;        /* at the last C_Finalize */
} state = {.log = -1};

static void say(const char *text, const char *more)
{
    fprintf(stderr, "reseal-fault: %s%s\n", text, more);
}

/* -- sessions, under state_lock -- */

static void session_add(CK_SESSION_HANDLE handle, CK_SLOT_ID slot)
{
    if (state.session_count == SESSIONS_MAX) {
        say("more sessions than there is room for", "");
        abort();
    }
    state.sessions[state.session_count].handle = handle;
    state.sessions[state.session_count++].slot = slot;
}

static void session_remove(CK_SESSION_HANDLE handle)
{
    for (size_t i = 0; i < state.session_count; i++) {
        if (state.sessions[i].handle == handle) {
            state.sessions[i] = state.sessions[--state.session_count];
            return;
        }
    }
}

static void sessions_remove_of(CK_SLOT_ID slot)
{
    for (size_t i = state.session_count; i > 0; i--) {
        if (state.sessions[i - 1].slot == slot)
            session_remove(state.sessions[i - 1].handle);
    }
}

/* As a token that is pulled out: no session outlives it, and with the last one the login ends. */
static void end_all_sessions(void)
{
    pthread_rwlock_wrlock(&flight);
    for (size_t i = 0; i < state.session_count; i++)
        fault_real->C_CloseSession(state.sessions[i].handle);
    state.session_count = 0;
    pthread_rwlock_unlock(&flight);
}

/* -- the script, under state_lock -- */

static bool open_log(const char *path)
{
    if (state.log >= 0)
        close(state.log);
    state.log = -1;
    if (path[0] == '\0')
        return true;
    state.log = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (state.log < 0)
        say("cannot open the log ", path);
    return state.log >= 0;
}

static bool set_script(const char *text)
{
    static struct fault_script script; /* large */
    char why[256] = "no memory";
    state.turn++;
    pthread_cond_broadcast(&script_changed);
    state.readable = fault_script_read(text, &script, why, sizeof why);
    if (!state.readable) {
        say("the script has an error in ", why);
        return false;
    }
    if (script.module[0] == '\0')
        memcpy(script.module, state.script.module, sizeof script.module);
    if (fault_real != NULL && strcmp(script.module, state.script.module) != 0) {
        say("the script names another module than before: ", script.module);
        return state.readable = false;
    }
    bool moved = script.gone != state.script.gone || script.slot_shift != state.script.slot_shift;
    if (moved && fault_real != NULL)
        end_all_sessions();
    state.script = script;
    return state.readable = open_log(script.log);
}

static bool same_file(const struct stat *a, const struct stat *b)
{
    return a->st_ino == b->st_ino && a->st_dev == b->st_dev && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

static bool read_file(const char *path)
{
    char text[65536];
    struct stat now;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t len = fd >= 0 && fstat(fd, &now) == 0 ? read(fd, text, sizeof text - 1) : -1;
    if (fd >= 0)
        close(fd);
    if (len < 0) {
        say("cannot read the script ", path);
        return state.readable = false;
    }
    state.file = now;
    text[len] = '\0';
    return set_script(text);
}

/* RESEAL_FAULT is read again where it is another file than before. */
static void refresh(void)
{
    struct stat now;
    const char *path = getenv("RESEAL_FAULT");
    if (path != NULL && path[0] != '\0' &&
        (stat(path, &now) != 0 || !same_file(&now, &state.file)) && !read_file(path))
        memset(&state.file, 0, sizeof state.file);
}

static bool load_real(void)
{
    static void *library; /* local and for good, as every module is loaded (see hsm/module.c) */
    if (fault_real != NULL)
        return true;
    if (state.script.module[0] == '\0') {
        say("no script names the real module", " (RESEAL_FAULT)");
        return false;
    }
    library = dlopen(state.script.module, RTLD_NOW | RTLD_LOCAL);
    CK_C_GetFunctionList get = NULL;
    if (library != NULL)
        *(void **)&get = dlsym(library, "C_GetFunctionList");
    if (get == NULL || get(&fault_real) != CKR_OK || fault_real == NULL) {
        const char *reason = dlerror();
        say("cannot load the real module: ", reason != NULL ? reason : state.script.module);
        fault_real = NULL;
    }
    return fault_real != NULL;
}

/* -- which faults meet a call -- */

static bool asks_for(const struct fault_call *call, CK_ATTRIBUTE_TYPE attribute)
{
    for (CK_ULONG i = 0; i < call->row_count; i++) {
        if (call->rows[i].type == attribute)
            return true;
    }
    return attribute == ANY_ATTRIBUTE;
}

static bool first_of_all(struct fault_rule *rule)
{
    char path[PATH_MAX + 32];
    const char *script = getenv("RESEAL_FAULT");
    if (rule->done)
        return false;
    rule->done = true;
    if (script == NULL)
        return true;
    snprintf(path, sizeof path, "%s.once-%u", script, rule->line);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

static void collect(struct fault_call *call)
{
    for (size_t i = 0; i < state.script.rule_count; i++) {
        struct fault_rule *rule = &state.script.rules[i];
        if (rule->function != call->function || !asks_for(call, rule->attribute))
            continue;
        rule->seen++;
        if (rule->seen < rule->first || rule->seen > rule->last ||
            call->rule_count == FAULTS_AT_ONCE || (rule->once && !first_of_all(rule)))
            continue;
        call->rules[call->rule_count++] = *rule;
        state.faults++;
    }
}

/* Whether there is room for one more session. */
static bool claim_session(struct fault_call *call)
{
    size_t open = state.session_count + state.sessions_claimed;
    if (call->opened == NULL)
        return true;
    if (state.script.sessions_max > 0 && open >= state.script.sessions_max) {
        state.faults++;
        return false;
    }
    state.sessions_claimed++;
    return call->claim = true;
}

/* A string that is longer than a limit of the module. */
static bool text_too_long(const struct fault_call *call)
{
    const CK_MECHANISM *mechanism = call->derivation;
    if (state.script.text_max == 0 || mechanism == NULL ||
        (mechanism->mechanism != CKM_CONCATENATE_BASE_AND_DATA &&
         mechanism->mechanism != CKM_CONCATENATE_DATA_AND_BASE) ||
        mechanism->ulParameterLen != sizeof(CK_KEY_DERIVATION_STRING_DATA))
        return false;
    const CK_KEY_DERIVATION_STRING_DATA *text = mechanism->pParameter;
    if (text->ulLen <= state.script.text_max)
        return false;
    state.faults++;
    return true;
}

/* -- what they do before the call -- */

static void wait_ms(unsigned long ms)
{
    struct timespec left = {(time_t)(ms / 1000), (long)(ms % 1000) * 1000000};
    while (nanosleep(&left, &left) != 0 && errno == EINTR)
        ;
}

static struct timespec in_ms(unsigned long ms)
{
    struct timespec then;
    clock_gettime(CLOCK_MONOTONIC, &then);
    long ns = then.tv_nsec + (long)(ms % 1000) * 1000000;
    then.tv_sec += (time_t)(ms / 1000) + ns / 1000000000;
    then.tv_nsec = ns % 1000000000;
    return then;
}

/* Without the slack of 50 us that Linux gives itself: it would count in each operation. */
static void wait_until(const struct timespec *until)
{
    (void)prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, until, NULL) == EINTR)
        ;
}

static void hang(void)
{
    pthread_mutex_lock(&state_lock);
    for (unsigned long turn = state.turn; turn == state.turn;)
        pthread_cond_wait(&script_changed, &state_lock);
    pthread_mutex_unlock(&state_lock);
}

static void wait_or_die(const struct fault_call *call, bool late)
{
    for (size_t i = 0; i < call->rule_count; i++) {
        const struct fault_rule *rule = &call->rules[i];
        if (rule->late != late)
            continue;
        if (rule->action == ACTION_DELAY)
            wait_ms(rule->number);
        else if (rule->action == ACTION_HANG)
            hang();
        else if (rule->action == ACTION_DIE)
            _exit(FAULT_EXIT);
        else if (rule->action == ACTION_ABORT)
            abort();
    }
}

static const struct fault_rule *rule_of(const struct fault_call *call, enum fault_action action)
{
    for (size_t i = 0; i < call->rule_count; i++) {
        if (call->rules[i].action == action)
            return &call->rules[i];
    }
    return NULL;
}

/* The answer while the token is away; CKR_OK where the call has nothing to do with a token. */
static CK_RV answer_of_absence(const struct fault_call *call)
{
    if (call->function == FN_C_CloseSession || call->function == FN_C_CloseAllSessions)
        return CKR_SESSION_HANDLE_INVALID;
    if (call->session != CK_INVALID_HANDLE)
        return CKR_DEVICE_REMOVED;
    if (call->slot != NULL && call->slot_info == NULL)
        return CKR_TOKEN_NOT_PRESENT;
    return CKR_OK;
}

/* True: the script is good and the real module there. */
static bool prepare(struct fault_call *call, CK_RV *rv)
{
    bool first = call->function == FN_C_Initialize;
    pthread_mutex_lock(&state_lock);
    refresh();
    state.calls[call->function]++;
    bool ok = true;
    if (!state.readable) {
        if (first)
            say("no script without an error", "");
        *rv = first ? CKR_GENERAL_ERROR : CKR_FUNCTION_REJECTED;
        ok = false;
    } else if (first ? !load_real() : fault_real == NULL) {
        *rv = first ? CKR_GENERAL_ERROR : CKR_CRYPTOKI_NOT_INITIALIZED;
        ok = false;
    } else {
        collect(call);
        if (!claim_session(call)) {
            *rv = CKR_SESSION_COUNT;
            ok = false;
        } else if (text_too_long(call)) {
            *rv = CKR_DATA_LEN_RANGE;
            ok = false;
        }
        call->gone = state.script.gone;
        call->slot_shift = state.script.slot_shift;
        if (call->gone && ok)
            state.faults++;
    }
    unsigned long delay = call->private_key ? state.script.private_key_delay_ms : 0;
    unsigned long time = call->private_key ? state.script.private_key_time_ms : 0;
    pthread_mutex_unlock(&state_lock);
    if (ok && time > 0)
        call->not_before = in_ms(time);
    if (ok && delay > 0)
        wait_ms(delay);
    return ok;
}

bool fault_call_begin(struct fault_call *call, CK_RV *rv)
{
    if (!prepare(call, rv))
        return false;
    wait_or_die(call, false);
    const struct fault_rule *instead = rule_of(call, ACTION_RETURN);
    CK_RV absent = call->gone ? answer_of_absence(call) : CKR_OK;
    if (instead != NULL || absent != CKR_OK) {
        *rv = instead != NULL ? instead->rv : absent;
        return false;
    }
    if (call->slot != NULL)
        call->real_slot = *call->slot -= call->slot_shift;
    call->real = true;
    pthread_rwlock_rdlock(&flight);
    return true;
}

/* -- what they do after it -- */

static void take_effects(const struct fault_call *call, const struct fault_rule *rule)
{
    CK_SESSION_INFO info;
    if (rule->effects & EFFECT_LOGOUT)
        fault_real->C_Logout(call->session);
    if ((rule->effects & EFFECT_CLOSE_ALL) &&
        fault_real->C_GetSessionInfo(call->session, &info) == CKR_OK) {
        fault_real->C_CloseAllSessions(info.slotID);
        pthread_mutex_lock(&state_lock);
        sessions_remove_of(info.slotID);
        pthread_mutex_unlock(&state_lock);
    }
    if (rule->effects & EFFECT_CLOSE)
        fault_real->C_CloseSession(call->session);
}

/* Slots under the numbers that the script gives them. */
static void renumber(const struct fault_call *call, CK_RV rv)
{
    if (rv != CKR_OK)
        return;
    if (call->session_info != NULL)
        call->session_info->slotID += call->slot_shift;
    if (call->slot_info != NULL && call->gone)
        call->slot_info->flags &= ~CKF_TOKEN_PRESENT;
    if (call->function == FN_C_WaitForSlotEvent && call->slots != NULL)
        *call->slots += call->slot_shift;
    if (call->function != FN_C_GetSlotList)
        return;
    if (call->gone && call->present)
        *call->output = 0;
    for (CK_ULONG i = 0; call->slots != NULL && i < *call->output; i++)
        call->slots[i] += call->slot_shift;
}

/* Keeps the table of sessions right: `rv` of the real module, `answer` as the caller sees it. */
static void note_sessions(struct fault_call *call, CK_RV rv, CK_RV answer)
{
    bool opened = call->opened != NULL && call->real && rv == CKR_OK;
    if (opened && answer != CKR_OK)
        fault_real->C_CloseSession(*call->opened);
    pthread_mutex_lock(&state_lock);
    if (call->claim)
        state.sessions_claimed--;
    if (opened && answer == CKR_OK)
        session_add(*call->opened, call->real_slot);
    /* Closing is all that a caller can do; and what it is told has ended is not its to close. */
    if (call->function == FN_C_CloseSession ||
        (call->session != CK_INVALID_HANDLE && ck_rv_ends_session(answer)))
        session_remove(call->session);
    if (call->function == FN_C_CloseAllSessions && answer == CKR_OK)
        sessions_remove_of(call->real_slot);
    if (call->function == FN_C_Finalize && state.session_count > 0)
        state.left_open = state.session_count;
    if (call->function == FN_C_Finalize && call->real && rv == CKR_OK)
        state.session_count = 0;
    pthread_mutex_unlock(&state_lock);
}

static void write_log(const struct fault_call *call, CK_RV answer)
{
    char name[CK_RV_TEXT], line[128];
    pthread_mutex_lock(&state_lock);
    if (state.log >= 0 && state.script.logged[call->function]) {
        ck_rv_text(answer, name);
        int len =
            snprintf(line, sizeof line, "%ld %s %s %s\n", (long)getpid(),
                     fault_function_name(call->function), name, call->real ? "real" : "fault");
        if (write(state.log, line, (size_t)len) != len)
            say("cannot write the log", "");
    }
    pthread_mutex_unlock(&state_lock);
}

CK_RV fault_call_end(struct fault_call *call, CK_RV rv)
{
    CK_RV answer = rv;
    CK_ULONG room[FAULTS_AT_ONCE] = {0};
    const struct fault_rule *instead = rule_of(call, ACTION_RETURN);
    const struct fault_rule *after = rule_of(call, ACTION_AFTER);
    if (call->real) {
        pthread_rwlock_unlock(&flight);
        pthread_mutex_lock(&state_lock);
        state.reached[call->function]++;
        pthread_mutex_unlock(&state_lock);
        renumber(call, rv);
    }
    if (call->not_before.tv_sec > 0)
        wait_until(&call->not_before);
    for (CK_ULONG i = 0; i < call->row_count && i < FAULTS_AT_ONCE; i++)
        room[i] = call->rows[i].ulValueLen;
    if (after != NULL)
        answer = after->rv;
    if (fault_real != NULL && instead != NULL && instead->effects != 0)
        take_effects(call, instead);
    if (fault_real != NULL && after != NULL && after->effects != 0)
        take_effects(call, after);
    note_sessions(call, rv, answer);
    fault_call_lie(call, room);
    wait_or_die(call, true);
    write_log(call, answer);
    return answer;
}

/* -- the control -- */

static bool control_set(const char *script)
{
    pthread_mutex_lock(&state_lock);
    bool ok = set_script(script);
    pthread_mutex_unlock(&state_lock);
    return ok;
}

static size_t control_counters(struct fault_counter *out, size_t max)
{
    pthread_mutex_lock(&state_lock);
    for (size_t i = 0; i < FUNCTION_COUNT && i < max; i++)
        out[i] = (struct fault_counter){fault_function_name((enum fault_function)i), state.calls[i],
                                        state.reached[i]};
    pthread_mutex_unlock(&state_lock);
    return FUNCTION_COUNT;
}

static unsigned long read_counter(const unsigned long *counters, const char *function)
{
    enum fault_function index = fault_function_find(function);
    pthread_mutex_lock(&state_lock);
    unsigned long value = index != FUNCTION_COUNT ? counters[index] : 0;
    pthread_mutex_unlock(&state_lock);
    return value;
}

static unsigned long control_calls(const char *function)
{
    return read_counter(state.calls, function);
}

static unsigned long control_reached(const char *function)
{
    return read_counter(state.reached, function);
}

static void control_reset(void)
{
    pthread_mutex_lock(&state_lock);
    memset(state.calls, 0, sizeof state.calls);
    memset(state.reached, 0, sizeof state.reached);
    state.faults = 0;
    state.left_open = 0;
    pthread_mutex_unlock(&state_lock);
}

static unsigned long control_faults(void)
{
    pthread_mutex_lock(&state_lock);
    unsigned long value = state.faults;
    pthread_mutex_unlock(&state_lock);
    return value;
}

static size_t control_sessions(void)
{
    pthread_mutex_lock(&state_lock);
    size_t value = state.session_count;
    pthread_mutex_unlock(&state_lock);
    return value;
}

static size_t control_left_open(void)
{
    pthread_mutex_lock(&state_lock);
    size_t value = state.left_open;
    pthread_mutex_unlock(&state_lock);
    return value;
}

extern const struct fault_control reseal_fault_control;
__attribute__((visibility("default"))) const struct fault_control reseal_fault_control = {
    control_set,   control_counters, control_calls,    control_reached,
    control_reset, control_faults,   control_sessions, control_left_open,
};
