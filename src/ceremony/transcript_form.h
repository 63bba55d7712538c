/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes of a line that are the same for writer and reader. */
#ifndef RESEAL_CEREMONY_TRANSCRIPT_FORM_H
#define RESEAL_CEREMONY_TRANSCRIPT_FORM_H

/* `previous` of the first line. */
#define TRANSCRIPT_NO_LINE "0000000000000000000000000000000000000000000000000000000000000000"

/* The end of each line, a printf format for its own hash. */
#define TRANSCRIPT_SEAL     ",\"hash\":\"%s\"}"
#define TRANSCRIPT_SEAL_LEN (9 + 64 + 2) /* bytes of it */

#endif
