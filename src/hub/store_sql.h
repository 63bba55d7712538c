/* SPDX-License-Identifier: Apache-2.0 */
/* The schema and the text of every statement, in one place. Private to store_db.c. */
#ifndef RESEAL_HUB_STORE_SQL_H
#define RESEAL_HUB_STORE_SQL_H

#include "store_db.h"

#define SCHEMA_BASE           2 /* what schema_sql makes; older ones are not known */
#define SCHEMA_VERSION        4
#define SCHEMA_APPLICATION_ID 0x52534c31 /* "RSL1" */

extern const char schema_sql[];
/* What makes schema `from` the next one; NULL where there is no such step. */
const char *schema_step(long from) MUST_USE;
extern const char *const statement_sql[STATEMENT_COUNT];

#endif
