#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Health of a container: a connector is asked over its status socket, a hub over HTTP.
set -euo pipefail

socket=/run/reseal/status.sock
if [[ -S $socket ]]; then
    exec reseal status --socket "$socket" --wait 3
fi
exec 3<>/dev/tcp/127.0.0.1/9324
printf 'GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n' >&3
IFS= read -r -t 4 answer <&3
[[ $answer == "HTTP/1."*" 200 "* ]] || { echo "the hub answers: ${answer%$'\r'}" && exit 1; }
