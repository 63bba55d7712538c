/* SPDX-License-Identifier: Apache-2.0 */
/* What became of a rotation: for people, for --json, and as a file to keep. */
#ifndef RESEAL_CLI_ROTATE_REPORT_H
#define RESEAL_CLI_ROTATE_REPORT_H

#include "command.h"
#include "reseal/custody.h"
#include "reseal/record.h"

#define ROTATE_FAILURES_MAX 1000 /* that are named; the others are counted */

struct rotate_failure {
    char id[RECORD_ID_MAX + 1];
    enum failure kind;
    char text[256];
};

struct rotate_report {
    const char *from, *to;
    const char *padding; /* NULL: each as it was */
    int64_t started_ms, ended_ms;
    int64_t before;              /* records under the old key when it began */
    int64_t rotated, custody[3]; /* by this run; the same by enum custody */
    int64_t overtaken;           /* records that somebody else changed or removed meanwhile */
    int64_t failed;
    size_t failure_count;
    struct rotate_failure *failures;
    int64_t remaining;    /* records under the old key at the end, as the hub counts them */
    int64_t requests;     /* that still wait in the hub's queue with a seal of the old key */
    struct error stopped; /* why it ended before its end; FAIL_NONE: it did not */
};

void rotate_report_free(struct rotate_report *report);
/* Forgets the failures: another pass begins. */
void rotate_report_restart(struct rotate_report *report);
bool rotate_report_fail(struct rotate_report *report, const char *id, const struct error *failure,
                        struct error *err) MUST_USE;
/* No record is left under the old key. */
bool rotate_report_complete(const struct rotate_report *report) MUST_USE;

/* To `path` (a new file) where it is not NULL, and to standard output. */
bool rotate_report_write(const struct rotate_report *report, const char *path, bool as_json,
                         struct error *err) MUST_USE;
/* Makes sure that the file can be made, before anything is done. */
bool rotate_report_check(const char *path, struct error *err) MUST_USE;

#endif
