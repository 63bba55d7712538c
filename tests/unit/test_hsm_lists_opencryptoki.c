/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of tokens and keys on openCryptoki's soft token. */
#include "hsm_fixture_opencryptoki.h"

#include "hsm_fixture_lists.h"

static int start(void **state)
{
    (void)state;
    fixture_opencryptoki(&fixture);
    lists_start(CUSTODY_HOST);
    return 0;
}

int main(void)
{
    return lists_run(start);
}
