/* SPDX-License-Identifier: Apache-2.0 */
#include "pin_history.h"

#include <errno.h>
#include <unistd.h>

#define UNCLEAR_LOGINS_MAX 1 /* helpers lost while they log in, with a PIN that was good before */

void pin_look_at(struct pin_history *pin, int fd)
{
    pin->fd = fd;
    pin->once = fd >= 0 && lseek(fd, 0, SEEK_CUR) < 0 && errno == ESPIPE;
}

/* The helper that is lost has read the PIN from the descriptor: the next must find it there again.
 * What a pipe gives, it gives once; an empty PIN would be tried in its place. */
bool pin_is_there(const struct pin_history *pin, struct error *err)
{
    if (pin->refusal.kind != FAIL_NONE) {
        *err = pin->refusal;
        return false;
    }
    if (!pin->read || pin_can_be_read_again(pin))
        return true;
    error_set(err, FAIL_PIN,
              "the PIN came through descriptor %d, which gives it only once: the token helper "
              "cannot be started again",
              pin->fd);
    return error_hint(err, "start reseald anew, or keep the PIN where it can be read again (file: "
                           "or credential:)");
}

bool pin_can_be_read_again(const struct pin_history *pin)
{
    return pin->fd < 0 || !pin->once;
}

/* What a pipe holds beyond the PIN is of no use to anybody, and what it gives was given. */
bool pin_has_served(struct pin_history *pin)
{
    bool drop = pin->once && !pin->dropped;
    pin->good = true;
    pin->unclear = 0;
    pin->dropped = pin->dropped || drop;
    return drop;
}

/* A PIN that was good before is not doubted for one helper that was killed while it used it; it may
 * have been changed meanwhile, so the second in a row counts. */
bool pin_is_to_blame(struct pin_history *pin)
{
    pin->unclear++;
    return !pin->good || pin->unclear > UNCLEAR_LOGINS_MAX;
}
