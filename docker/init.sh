#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Makes, once, what hub and connector need before they can start: a SoftHSM token, its PINs, the
# hub's API token, an access key for the queue, and a demo device CA. All of it is random and lands
# in volumes, readable by the user of the containers alone.
set -euo pipefail
umask 077
state=${RESEAL_STATE:-/var/lib/reseal}

random() { od -An -N"$1" -tx1 /dev/urandom | tr -d ' \n'; }

make() { # FILE, content from standard input: whole or not at all
    if [[ -e $1 ]]; then
        cat >/dev/null
    else
        cat >"$1.new" && mv "$1.new" "$1" && echo "made $1"
    fi
}

random 16 | make "$state/so-pin/so-pin"
random 16 | make "$state/pin/user-pin"
random 32 | make "$state/api/token"
printf '[default]\naws_access_key_id = AKRESEAL\naws_secret_access_key = %s\n' "$(random 24)" |
    make "$state/queue/credentials"

if ! softhsm2-util --show-slots | grep '^ *Label: *reseal *$' >/dev/null; then
    # softhsm2-util takes PINs as arguments, which others could read, or from a terminal: script(1)
    # is that terminal.
    for pin in so-pin/so-pin so-pin/so-pin pin/user-pin pin/user-pin; do
        cat "$state/$pin"
        echo
    done | script -q -e -E never -c "softhsm2-util --init-token --free --label reseal" /dev/null
fi

# A stand-in for the CA of your device management, whose certificate belongs in its place.
if [[ ! -e $state/public/device-ca.pem ]]; then
    [[ -e $state/devices/demo/device.pem ]] ||
        reseal device new --ca "$state/devices/ca" --out "$state/devices/demo"
    make "$state/public/device-ca.pem" <"$state/devices/ca/ca.pem"
fi
