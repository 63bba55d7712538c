/* SPDX-License-Identifier: Apache-2.0 */
/* SoftHSM: between two keys for custody host the password goes through locked memory. */
#include "hsm_fixture_rotate.h"

#define ROTATE_CUSTODY CUSTODY_HOST
#define ROTATE_LACKS   CUSTODY_TOKEN
#define ROTATE_LONGEST 1024

static void rotate_token_open(struct fixture *fixture)
{
    fixture_softhsm(fixture);
}

#include "hsm_fixture_rotate_run.h"
