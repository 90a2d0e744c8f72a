#!/bin/bash
# SPDX-License-Identifier: MIT
# Make both keys where there are none, each by the account it belongs to, and tell each daemon the
# other's public one: keys.sh PREFIX (where the environments are). The settings need not be filled
# in for that. Says what it changed.
set -euo pipefail
umask 022
prefix=${1:?usage: keys.sh PREFIX}
etc=/etc/tibet-nc

as() { setpriv --reuid "$1" --regid "$1" --clear-groups --no-new-privs "${@:2}"; }

# Not in the caller's TMPDIR, which may be root's alone, as libpam-tmpdir makes it.
work=$(mktemp -d /run/tibet-nc-keys.XXXXXXXXXX)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
cat >"$work/executor.toml" <<'TOML'
[policy]
rooms = ["!none:example.org"]
TOML
cat >"$work/agent.toml" <<'TOML'
[matrix]
homeserver = "https://example.org"
user_id = "@none:example.org"
rooms = ["!none:example.org"]
TOML

if [ ! -e "$etc/executor.pub" ] || [ -e /var/lib/tibet-nc/executor.key ]; then
    as tibet-nc-executor "$prefix/executor/bin/tibet-nc-executor" --config "$work/executor.toml" \
        init >"$work/said"
    sed -n 's/^public key: //p' "$work/said" >"$work/executor.pub"
    if ! cmp -s "$work/executor.pub" "$etc/executor.pub"; then
        install -m 644 "$work/executor.pub" "$etc/executor.pub"
        echo "the executor's public key is $(cat "$etc/executor.pub")"
    fi
fi
key=$(as tibet-nc-agent "$prefix/agent/bin/tibet-nc-agent" --config "$work/agent.toml" identity |
    tail -n 1)
if [ "$key" != "$(cat "$etc/agent.pub" 2>/dev/null)" ]; then
    "$prefix/executor/bin/tibet-nc-executor" --config "$work/executor.toml" enrol-agent "$key"
fi
