#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What Reseal needs of Debian 12 or 13, by purpose, in one place: for quickstart, tests/run and the
# container image.
#
#   scripts/debian-packages.sh list SET...      prints the packages of the sets
#   scripts/debian-packages.sh missing SET...   prints those that are not installed
#   scripts/debian-packages.sh install SET...   installs those (as root, or by sudo)
#
# Sets: build (compile and link), softhsm, nss, opencryptoki (the software tokens), quickstart (what
# the script itself calls), tests (what tests/run calls beyond all these), npm (for
# scripts/npm-packages.sh, where there is none yet).
set -euo pipefail

packages() {
    case $1 in
    build)
        echo gcc libc6-dev cmake ninja-build pkg-config libssl-dev libp11-dev libp11-kit-dev \
            libcurl4-openssl-dev libyajl-dev libsqlite3-dev libmicrohttpd-dev libgnutls28-dev libinih-dev libgfshare-dev \
            libexpat1-dev libseccomp-dev
        ;;
    softhsm) echo softhsm2 ;;
    nss) echo libnss3 libnss3-tools ;;
    opencryptoki) echo opencryptoki libopencryptoki0 ;;
    quickstart) echo openssl jq ;;
    tests)
        echo libcmocka-dev python3 openssl curl opensc clang-format cppcheck shellcheck \
            groff-base gpgsm gpg-agent default-jre-headless libbcpkix-java \
            python3-pyasn1-modules python3-pycryptodome libplist-utils clang libclang-rt-dev llvm tinyproxy-bin systemd
        ;;
    npm) echo npm ;;
    *)
        echo "debian-packages: there is no set \"$1\": build, softhsm, nss, opencryptoki, quickstart, tests, npm" >&2
        return 2
        ;;
    esac
}

list() {
    local name
    for name in "$@"; do
        packages "$name" | tr ' ' '\n'
    done | sort -u
}

installed() {
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null) == installed ]]
}

missing() {
    local package all
    all=$(list "$@")
    for package in $all; do
        installed "$package" || echo "$package"
    done
}

install() {
    local as_root=() wanted
    mapfile -t wanted < <(missing "$@")
    ((${#wanted[@]} > 0)) || return 0
    if ((EUID != 0)); then
        if ! command -v sudo >/dev/null; then
            echo "debian-packages: to install ${wanted[*]} run this as root, or install sudo" >&2
            return 1
        fi
        as_root=(sudo)
    fi
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install --yes --no-install-recommends "${wanted[@]}"
    mapfile -t wanted < <(missing "$@")
    if ((${#wanted[@]} > 0)); then
        echo "debian-packages: still not installed: ${wanted[*]}" >&2
        return 1
    fi
}

if (($# < 2)); then
    sed -n '3,12s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
if ! command -v dpkg-query >/dev/null; then
    echo "debian-packages: this is no Debian system: install by other means what" \
        "\"$0 list $2\" names, and tell the caller not to install" >&2
    exit 1
fi
action=$1
shift
case $action in
list) list "$@" ;;
missing) missing "$@" ;;
install) install "$@" ;;
*)
    echo "debian-packages: list, missing or install, not \"$action\"" >&2
    exit 2
    ;;
esac
