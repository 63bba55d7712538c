/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include "invocation.h"
#include "reseal/log.h"
#include "reseal/secret.h"

/* Room for a probe with 64 KiB of text around a password, expected and opened. */
#define SECRET_HEAP (512 * 1024)

static const struct command *const tables[] = {
    ceremony_commands,
    token_commands,
    key_commands,
    pfx_commands,
    device_commands,
    deliver_commands,
    login_commands,
    config_commands,
    queue_commands,
    status_commands,
    doctor_commands,
    access_commands,
    NULL,
};

int main(int argc, char **argv)
{
    struct error err = ERROR_INIT;
    if (!process_harden(&err) || !secret_heap_open(SECRET_HEAP, &err)) {
        fprintf(stderr, "reseal: %s\n", err.text);
        if (err.hint[0] != '\0')
            fprintf(stderr, "hint: %s\n", err.hint);
        return error_exit_status(err.kind);
    }
    log_open("reseal", LOG_AS_TEXT, LEVEL_WARNING);
    return command_main(tables, argc, argv);
}
