#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Holds the ceremony of a plan unless it was held before, and commits it: a sealing key is made once.
# One that was cut off is gone on with.
set -euo pipefail
plan=${1:-/etc/reseal/plan.conf}

transcript=$(sed -n 's/^transcript *= *//p' "$plan")
public_key=$(sed -n 's/^public_key *= *//p' "$plan")
if [[ -e $public_key.descriptor ]]; then
    echo "the ceremony of $plan was held; its transcript is $transcript"
    exit 0
fi
if [[ ! -e $transcript ]] || reseal ceremony show "$transcript" | grep -q '^Ceremony .*: unfinished,'; then
    reseal ceremony run "$plan" --yes
fi
exec reseal ceremony commit "$transcript" --yes
