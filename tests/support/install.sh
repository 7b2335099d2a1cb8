#!/bin/sh
# Installs what the tests need beyond Python packages where it may, else says what to install:
# PostgreSQL, Chromium, and axe-core (checks of accessibility), which npm brings.
set -eu

axe_version=4.14.1
axe="$(dirname "$0")/../../.venv/axe-core-$axe_version.min.js"

for folder in /usr/lib/postgresql/*/bin; do
    PATH="$PATH:$folder"
done
has() { command -v "$1" >/dev/null; }

missing=""
{ has initdb && has postgres; } || missing="$missing postgresql"
has chromium || missing="$missing chromium"
{ [ -e "$axe" ] || has npm; } || missing="$missing npm"

install_packages() {
    install="apt-get install -y --no-install-recommends$missing"
    if [ "$(id -u)" -ne 0 ]; then
        echo "The tests need$missing. On Debian and Ubuntu, install them with:" >&2
        echo "    sudo $install" >&2
        exit 1
    fi
    if ! has apt-get; then
        echo "The tests need$missing: install them, and put initdb, postgres, chromium and npm on PATH." >&2
        exit 1
    fi
    echo "Installing for the tests: $install"
    export DEBIAN_FRONTEND=noninteractive
    settings=/etc/postgresql-common/createcluster.conf
    if [ ! -e "$settings" ]; then # the tests make throwaway clusters; none shall run as a system service
        mkdir -p "${settings%/*}"
        echo "create_main_cluster = false" >"$settings"
    fi
    keep="-o Dpkg::Options::=--force-confold"
    # shellcheck disable=SC2086
    if ! { timeout 300 apt-get -qq update && timeout 600 $install -qq $keep >/dev/null; }; then
        echo "They could not be installed. Do it yourself with:" >&2
        echo "    apt-get update && $install" >&2
        exit 1
    fi
}

fetch_axe() {
    work=$(mktemp -d)
    (cd "$work" && npm pack --silent "axe-core@$axe_version" >/dev/null && tar xzf axe-core-*.tgz)
    cp "$work/package/axe.min.js" "$axe.part"
    mv "$axe.part" "$axe"
    rm -rf "$work"
}

[ -z "$missing" ] || install_packages
[ -e "$axe" ] || fetch_axe
