/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of tokens and keys on NSS softokn. */
#include "hsm_fixture_lists.h"

static int start(void **state)
{
    (void)state;
    fixture_nss(&fixture, TEST_PIN);
    lists_start(CUSTODY_TOKEN);
    return 0;
}

int main(void)
{
    return lists_run(start);
}
