/* SPDX-License-Identifier: Apache-2.0 */
#include "memory_lock.h"

#include <sys/mman.h>
#include <sys/resource.h>

/* Whether the limit binds this process: the privilege that lifts it (CAP_IPC_LOCK) is not to be had
 * from within a user namespace, whatever the process is told of its capabilities. So it is tried.
 */
static bool limit_binds(const struct rlimit *limit)
{
    const struct rlimit nothing = {0, limit->rlim_max};
    static char page[1];
    if (setrlimit(RLIMIT_MEMLOCK, &nothing) != 0)
        return true;
    bool lockable = mlock(page, sizeof page) == 0;
    if (lockable)
        munlock(page, sizeof page);
    return setrlimit(RLIMIT_MEMLOCK, limit) != 0 || !lockable;
}

/* With a limit that can be reached, memory that is asked for later would be refused: a worker's
 * stack, or what the module works with. So it is all without a limit, or nothing. */
static bool limit_is_away(void)
{
    struct rlimit limit;
    return getrlimit(RLIMIT_MEMLOCK, &limit) == 0 &&
           (limit.rlim_cur == RLIM_INFINITY || !limit_binds(&limit));
}

bool memory_lock_all(void)
{
    /* On fault: what is never touched costs nothing. */
    return limit_is_away() && mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) == 0;
}
