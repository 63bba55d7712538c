/* SPDX-License-Identifier: Apache-2.0 */
/* NSS softokn: the password passes from key to key inside the token. */
#include "hsm_fixture_rotate.h"

#define ROTATE_CUSTODY CUSTODY_TOKEN
#define ROTATE_LACKS   CUSTODY_HOST
#define ROTATE_LONGEST 256

static void rotate_token_open(struct fixture *fixture)
{
    fixture_nss(fixture, TEST_PIN);
}

#include "hsm_fixture_rotate_run.h"
