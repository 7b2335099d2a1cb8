#!/bin/sh
# Installs what the tests need beyond Python packages (PostgreSQL) where it may, else says what to install.
set -eu

for folder in /usr/lib/postgresql/*/bin; do
    PATH="$PATH:$folder"
done
if command -v initdb >/dev/null && command -v postgres >/dev/null; then
    exit 0
fi

install="apt-get install -y --no-install-recommends postgresql"
if [ "$(id -u)" -ne 0 ]; then
    echo "The tests need PostgreSQL (initdb and postgres). On Debian and Ubuntu, install it with:" >&2
    echo "    sudo $install" >&2
    exit 1
fi
if ! command -v apt-get >/dev/null; then
    echo "The tests need PostgreSQL: install its programs initdb and postgres, and put them on PATH." >&2
    exit 1
fi

echo "Installing PostgreSQL for the tests: $install"
export DEBIAN_FRONTEND=noninteractive
settings=/etc/postgresql-common/createcluster.conf
if [ ! -e "$settings" ]; then # the tests make throwaway clusters; none shall run as a system service
    mkdir -p "${settings%/*}"
    echo "create_main_cluster = false" >"$settings"
fi
keep="-o Dpkg::Options::=--force-confold"
# shellcheck disable=SC2086
if ! { timeout 300 apt-get -qq update && timeout 300 $install -qq $keep >/dev/null; }; then
    echo "PostgreSQL could not be installed. Do it yourself with:" >&2
    echo "    apt-get update && $install" >&2
    exit 1
fi
