/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration file that all programs share: one table, one file, each program reads its
 * sections.
 */
#ifndef RESEAL_SETTINGS_H
#define RESEAL_SETTINGS_H

#include "reseal/config.h"

#define SETTINGS_DEFAULT_PATH "/etc/reseal/reseal.conf"

extern const struct config_key reseal_settings[];

/* Loads `path`, or SETTINGS_DEFAULT_PATH where `path` is NULL, against the table. */
bool settings_load(const char *path, struct config **out, struct error *err) MUST_USE;

#endif
