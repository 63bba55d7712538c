/* SPDX-License-Identifier: Apache-2.0 */
/* What an administrator does with the hub's database: `reseal-hub backup|check|restore`. */
#ifndef RESEAL_HUB_ADMIN_H
#define RESEAL_HUB_ADMIN_H

#include "reseal/config.h"

/* One of the commands; `file` is NULL where none was given, and `config` may be where that is
 * enough. */
typedef bool admin_run(const struct config *config, const char *file, struct error *err);

struct admin_command {
    const char *name;
    const char *file; /* how usage calls the argument */
    bool file_needed;
    bool file_is_enough; /* with a file, no configuration is needed */
    const char *does;
    admin_run *run;
};
#define ADMIN_COMMANDS 3
extern const struct admin_command admin_commands[ADMIN_COMMANDS];

#endif
