/* SPDX-License-Identifier: Apache-2.0 */
/* A transcript as a person reads it. */
#ifndef RESEAL_CEREMONY_SHOW_H
#define RESEAL_CEREMONY_SHOW_H

#include <stdio.h>
#include "reseal/transcript_read.h"

/* Every line with all its facts; the text of the plan comes at the end. */
void ceremony_show(const struct transcript_record *record, FILE *out);

#endif
