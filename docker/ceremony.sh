#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Holds the ceremony of a plan unless it was held before: a sealing key is made once.
set -euo pipefail
plan=${1:-/etc/reseal/plan.conf}

transcript=$(sed -n 's/^transcript *= *//p' "$plan")
public_key=$(sed -n 's/^public_key *= *//p' "$plan")
if [[ -e $transcript && -e $public_key ]]; then
    echo "the ceremony of $plan was held; its transcript is $transcript"
    exit 0
fi
exec reseal ceremony run "$plan" --yes
