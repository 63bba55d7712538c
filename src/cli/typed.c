/* SPDX-License-Identifier: Apache-2.0 */
#include "typed.h"

#include <stdio.h>
#include <string.h>

#define TYPED_MAX 256

bool typed_confirm(const char *what, const char *question, const char *wanted, struct error *err)
{
    char typed[TYPED_MAX] = "";
    FILE *tty = fopen("/dev/tty", "r+e");
    if (tty == NULL) {
        error_set(err, FAIL_USAGE, "there is no terminal on which %s can be confirmed", what);
        return error_hint(err, "run it on a terminal");
    }
    fputs(question, tty);
    fflush(tty);
    bool ok = fgets(typed, sizeof typed, tty) != NULL;
    fclose(tty);
    typed[strcspn(typed, "\n")] = '\0';
    if (ok && strcmp(typed, wanted) == 0)
        return true;
    return error_set(err, FAIL_POLICY, "%s was not confirmed; nothing was done", what);
}
