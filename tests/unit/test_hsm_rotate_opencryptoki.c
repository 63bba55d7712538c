/* SPDX-License-Identifier: Apache-2.0 */
/* openCryptoki's soft token: the unwrapped password could be read, so it is custody host. */
#include "hsm_fixture_rotate.h"
#include "hsm_fixture_opencryptoki.h"

#define ROTATE_CUSTODY CUSTODY_HOST
#define ROTATE_LACKS   CUSTODY_TOKEN
#define ROTATE_LONGEST 1024

static void rotate_token_open(struct fixture *fixture)
{
    fixture_opencryptoki(fixture);
}

#include "hsm_fixture_rotate_run.h"
