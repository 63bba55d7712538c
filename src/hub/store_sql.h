/* SPDX-License-Identifier: Apache-2.0 */
/* The schema and the text of every statement, in one place. Private to store_db.c. */
#ifndef RESEAL_HUB_STORE_SQL_H
#define RESEAL_HUB_STORE_SQL_H

#include "store_db.h"

#define SCHEMA_VERSION        2
#define SCHEMA_APPLICATION_ID 0x52534c31 /* "RSL1" */

extern const char schema_sql[];
extern const char *const statement_sql[STATEMENT_COUNT];

#endif
