#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Install tibet-nc on Debian: deploy/install.sh --help
#
# What it makes, and nothing else: three accounts; /opt/tibet-nc with one Python environment for
# each part; links in /usr/local/bin; units, accounts and directories under /etc, drop-ins and manual
# pages under /usr/local/share, the journal's catalog under /usr/lib; settings and public keys in
# /etc/tibet-nc; state in /var/lib/tibet-nc*. Running it again changes only what is different. Python
# packages come from whatever index pip is set up for, each checked against the hashes in deploy/locks.
set -euo pipefail
umask 022

readonly OPT=/opt/tibet-nc
readonly ETC=/etc/tibet-nc
readonly UNITS=/etc/systemd/system
readonly SHARE=/usr/local/share/tibet-nc
readonly MAN=/usr/local/share/man
readonly PARTS=(agent executor audit)
readonly SERVICES=(tibet-nc-agent.service tibet-nc-executor.service)
readonly STATES=(/var/lib/tibet-nc /var/lib/tibet-nc-agent /var/lib/tibet-nc-shell)
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly here
readonly CHECKOUT=${here%/*}

usage() {
    cat <<'USAGE'
usage: deploy/install.sh [option...]

Install, or bring an installation in line with this checkout:
  --homeserver URL         where the agent's account is
  --user-id @BOT:SERVER    the agent's own Matrix account
  --room '!ROOM:SERVER'    the room to serve (may be repeated)
  --operator @YOU:SERVER   who is to command (may be repeated); pinned afterwards, by hand
  --from-env FILE          take these, and the access token, from a tibet-nc 0.1.2 environment file
  --upgrade                install anew from this checkout and restart what runs
  --wheels DIR             take all Python packages from DIR: no index and no compiler is needed
  --python PROGRAM         the Python 3.13 to use (default: found by itself)

Remove:
  --uninstall              stop and remove the programs; keep settings, keys, chain and accounts
  --purge                  remove these as well; asks first

  --dry-run                show what would be done
  --yes                    don't ask
  --help                   show this
Exit status: 0 good, 1 something failed, 2 usage or a machine that can't run it.
USAGE
}

say() { printf '· %s\n' "$*"; }
die() {
    printf 'install.sh: %s\n' "$*" >&2
    exit 2
}

# Every change of the machine goes through one of these, so --dry-run shows exactly what would be.
dry=''
do_it() {
    if [ -n "$dry" ]; then
        printf 'would run:'
        printf ' %q' "$@"
        printf '\n'
    else
        "$@"
    fi
}

# place MODE OWNER:GROUP SOURCE TARGET: a file, only if it is different, and never a part of it:
# settings that are there would stay as they are.
place() {
    if cmp -s "$3" "$4" && [ "$(stat -c '%a %U:%G' "$4")" = "$1 $2" ]; then return 0; fi
    say "$4"
    do_it install -D -m "$1" -o "${2%:*}" -g "${2#*:}" "$3" "$4.new"
    do_it mv -fT "$4.new" "$4"
}

# Both have the same accounts, settings and state, and the units of one would hide the other's.
is_packaged() { [ -e /usr/lib/tibet-nc/keys.sh ]; }
refuse_package() {
    ! is_packaged ||
        die "the Debian package tibet-nc is installed here: $1"
}

# Two at once would take each other's files away.
be_alone() {
    [ -z "$dry" ] || return 0
    exec 9<"$UNITS"
    flock --nonblock 9 || die "another install.sh is at work: wait until it has ended"
}

# Kept in a file until it is done, since this run may be cut before.
must_restart() {
    changed=1
    [ -n "$dry" ] || touch "$OPT/.restart"
}

mode=install upgrade='' yes='' from_env='' wheels='' python='' homeserver='' user_id='' token=''
hostname='' brain=''
rooms=() operators=()

# The options' values land in TOML strings: what could end one is refused.
plain() {
    case $2 in
    *[\"\\[:cntrl:]]* | '') die "$1: not a value that can be: $2" ;;
    esac
}

# What the daemons would refuse at their start is refused before it is in settings that stay.
check_values() {
    local value
    [ -z "$homeserver" ] || check_homeserver "${homeserver,,}"
    for value in ${user_id:+"$user_id"} "${operators[@]}"; do
        [[ $value =~ ^@[^:[:space:]]+:[^[:space:]]+$ && ${#value} -le 255 ]] ||
            die "'$value' is no Matrix user, such as @you:example.org"
    done
    for value in "${rooms[@]}"; do
        [[ $value =~ ^![^[:space:]]+$ && ${#value} -le 255 ]] ||
            die "'$value' is no room's id: that is in the room's settings, under Advanced, as !room:example.org"
    done
    [[ -z $hostname || $hostname =~ ^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$ ]] ||
        die "TIBET_NC_HOSTNAME: '$hostname' is no host name, such as web1.example.org"
}

# A server and perhaps a port and a path, and nothing else (the agent's config.py).
check_homeserver() {
    local form='^(https?)://([^][/?#@:[:space:]]+|\[[0-9a-f:.]+\])(:([0-9]{0,5}))?(/[^?#[:space:]]*)?$'
    local port=0
    if [[ $1 =~ $form ]]; then port=$((10#${BASH_REMATCH[4]:-443})); fi
    ((0 < port && port < 65536)) ||
        die "homeserver: '$homeserver' is no URL, such as https://matrix.example.org"
    [[ ${BASH_REMATCH[1]} == https || ${BASH_REMATCH[2]} =~ ^(localhost|127\.0\.0\.1|\[::1\])$ ]] ||
        die "homeserver: '$homeserver': http is only for a server on this very machine"
}

read_arguments() {
    while (($#)); do
        case $1 in
        --homeserver | --user-id | --room | --operator | --from-env | --wheels | --python)
            (($# > 1)) || die "$1 needs a value"
            plain "$1" "$2"
            case $1 in
            --homeserver) homeserver=$2 ;;
            --user-id) user_id=$2 ;;
            --room) rooms+=("$2") ;;
            --operator) operators+=("$2") ;;
            --from-env) from_env=$2 ;;
            --wheels)
                [ -d "$2" ] || die "--wheels: $2 is not a folder"
                wheels=$(readlink -f -- "$2")
                ;;
            --python) python=$2 ;;
            esac
            shift
            ;;
        --upgrade) upgrade=1 ;;
        --uninstall) mode=uninstall ;;
        --purge) mode=purge ;;
        --dry-run) dry=1 ;;
        --yes) yes=1 ;;
        --help | -h)
            usage
            exit 0
            ;;
        *) die "no such option: $1 (see --help)" ;;
        esac
        shift
    done
}

# The variables of tibet-nc 0.1.2, read as data: the file is never run.
read_env() {
    local line name value
    [ -r "$from_env" ] || die "--from-env: $from_env can't be read"
    while IFS= read -r line || [ -n "$line" ]; do
        line=${line#"${line%%[![:space:]]*}"}
        line=${line#export }
        case $line in '' | '#'*) continue ;; esac
        name=${line%%=*} value=${line#*=}
        value=${value%"${value##*[![:space:]]}"}
        case $value in
        \"*\") value=${value#\"} value=${value%\"} ;;
        \'*\') value=${value#\'} value=${value%\'} ;;
        esac
        [ -n "$value" ] || continue
        plain "$from_env: $name" "$value"
        case $name in
        MATRIX_HOMESERVER) homeserver=${homeserver:-$value} ;;
        TIBET_NC_USER_ID) user_id=${user_id:-$value} ;;
        TIBET_NC_ACCESS_TOKEN) token=$value ;;
        TIBET_NC_ROOM) ((${#rooms[@]})) || split rooms "$value" ;;
        TIBET_NC_ALLOWED_USERS) ((${#operators[@]})) || split operators "$value" ;;
        TIBET_NC_HOSTNAME) hostname=$value ;;
        BRAIN_API_BASE) brain=$value ;;
        *) say "$from_env: $name is not one of tibet-nc's settings and is left out" ;;
        esac
    done <"$from_env"
}

# split ARRAY "a, b": what stands between the commas.
split() {
    local -n into=$1
    local part
    local -a found
    IFS=, read -r -a found <<<"$2"
    for part in "${found[@]}"; do
        part=${part//[[:space:]]/}
        [ -z "$part" ] || into+=("$part")
    done
}

# Always with -I, since without it Python imports what is in the current directory, which can be
# everybody's, as /tmp is.
is_313() { "$1" -I -c 'import sys; sys.exit(sys.version_info[:2] != (3, 13))' 2>/dev/null; }

check_machine() {
    [ "$(id -u)" = 0 ] || die "this changes the system: run it as root"
    local id='' version='' codename=''
    if [ -r /etc/os-release ]; then
        # shellcheck disable=SC1091 # belongs to the machine
        id=$(. /etc/os-release && echo "${ID:-}")
        # shellcheck disable=SC1091
        version=$(. /etc/os-release && echo "${VERSION_ID:-}")
        # shellcheck disable=SC1091
        codename=$(. /etc/os-release && echo "${PRETTY_NAME:-}")
    fi
    case $id-$version in
    debian-12 | debian-13) ;;
    *) die "this is made for Debian 12 and 13; this machine says ${codename:-nothing of itself}" ;;
    esac
    [ -d /run/systemd/system ] || [ -n "$dry" ] ||
        die "systemd does not run here, and its units are what keeps both daemons apart"
    local place
    for place in /etc /opt /usr/lib/systemd /usr/local /var/lib; do
        [ ! -d "$place" ] || [ -w "$place" ] ||
            die "$place is read-only, and something is installed there: mount it writable meanwhile"
    done
}

# The daemons run it as accounts of their own: one below /root, as pyenv makes it, works for root alone.
# A shell in between starts it, since setpriv itself still enters every directory.
for_everybody() {
    # shellcheck disable=SC2016 # that shell's own
    setpriv --reuid 65534 --regid 65534 --clear-groups sh -c 'exec "$0" -I -c ""' "$1" 2>/dev/null
}

# Refuse files that others than root can write to: themselves, a directory that leads there, or
# anything below. Debian's group staff is as good as root.
refuse_others() {
    local path found
    local -r others=(\( ! -uid 0 -o -perm /o=w -o -perm /g=w ! -gid 0 ! -group staff \) ! -type l)
    for path in "$@"; do
        found=$(find -L "$path" "${others[@]}" -print -quit)
        while [ -z "$found" ] && [ "$path" != / ]; do
            path=${path%/*} path=${path:-/}
            found=$(find "$path" -maxdepth 0 "${others[@]}")
        done
        [ -z "$found" ] || die "--python: others than root can write to $found"
    done
}

# Root runs it, and the units do: it is not run before it is known to be root's.
check_python() {
    local given real
    given=$(realpath -s "$1")
    if ! [ -f "$given" ] || ! [ -x "$given" ]; then die "--python: $given is not a program"; fi
    refuse_others "${given%/*}" "$(readlink -f "$given")"
    is_313 "$given" || die "--python: $given is not a Python 3.13"
    # Not what a virtual environment or pyenv puts in front of it.
    real=$("$given" -I -c 'import os, sys; print(os.path.realpath(sys._base_executable))')
    refuse_others "$real" "${real%/bin/*}/lib"
    case $real in
    /home/* | /root/* | /run/* | /tmp/* | /var/tmp/*)
        die "--python: the daemons can't see $real; put Python 3.13 elsewhere, as in /usr/local"
        ;;
    esac
    for_everybody "$real" || die "--python: only root can run $real"
    python=$real
}

find_python() {
    local candidate
    if [ -n "$python" ]; then
        check_python "$python"
        return
    fi
    for candidate in /usr/bin/python3.13 /usr/local/bin/python3.13; do
        if [ -x "$candidate" ] && is_313 "$candidate"; then
            python=$candidate
            return
        fi
    done
    # shellcheck disable=SC1091 # belongs to the machine
    case $(. /etc/os-release && echo "$VERSION_ID") in
    13) python=/usr/bin/python3.13 ;; # the package is installed below
    *)
        die "Python 3.13 is needed and was not found in /usr/bin nor /usr/local/bin.
            Debian 12 has $(python3 --version 2>/dev/null || echo no Python). docs/install.md, \"Debian 12\", says how to build one,
            or name one: --python /path/to/python3.13" ;;
    esac
}

# What is missing of Debian's packages. A compiler is needed for systemd-python, unless there are
# wheels.
need_packages() {
    local missing=()
    local parts=()
    [ -x "$python" ] || missing+=(python3.13)
    if ! "$python" -I -c 'import ensurepip' 2>/dev/null; then parts+=(python3.13-venv); fi
    if [ -z "$wheels" ]; then
        command -v gcc >/dev/null || missing+=(gcc libc6-dev)
        command -v pkg-config >/dev/null || missing+=(pkg-config)
        [ -e /usr/include/systemd/sd-daemon.h ] || missing+=(libsystemd-dev)
        if ! "$python" -I -c 'import os, sys, sysconfig
sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' 2>/dev/null; then
            parts+=(python3.13-dev)
        fi
    fi
    if [ "$python" = /usr/bin/python3.13 ]; then
        missing+=("${parts[@]}")
    elif ((${#parts[@]})); then
        die "$python lacks what Debian has in ${parts[*]}: ensurepip, or the headers"
    fi
    command -v systemd-sysusers >/dev/null || missing+=(systemd)
    # Without any authority that is trusted the agent reaches no homeserver.
    [ -x /usr/sbin/update-ca-certificates ] || missing+=(ca-certificates)
    ((${#missing[@]})) || return 0
    say "Debian packages: ${missing[*]}"
    do_it sh -c '"$@" >/dev/null || { apt-get update -qq && "$@" >/dev/null; }' sh \
        env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        "${missing[@]}" ||
        die "apt-get can't install these; docs/install.md says what is needed without a compiler here"
}

# What the environments depend on: when none of it has changed, they stay.
stamp() {
    {
        cd "$CHECKOUT"
        find protocol agent executor audit -name __pycache__ -prune -o -type f -print0 |
            sort -z | xargs -0 sha256sum
        cat "$here"/locks/{agent,audit,build,executor,setuptools}.lock "$here/install.sh"
        [ -z "$wheels" ] || cat "$wheels/SHA256SUMS" 2>/dev/null
        "$python" --version 2>/dev/null || true
    } | sha256sum | cut -d' ' -f1
}

# pip ENVIRONMENT …: not by its own script, which can't be run where /tmp is mounted noexec.
pip() {
    PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore "$1/bin/python" -I -m pip "${@:2}"
}

# Our own four wheels, built by the pinned builder; from --wheels they are there already.
build_own() {
    local part
    if [ -n "$wheels" ]; then
        own=$wheels
        [ -r "$wheels/SHA256SUMS" ] || die "--wheels: $wheels has no SHA256SUMS; scripts/wheels makes it"
        (cd "$wheels" && sha256sum --check --strict --quiet SHA256SUMS) ||
            die "--wheels: $wheels is not what its SHA256SUMS says"
        for part in protocol "${PARTS[@]}"; do
            compgen -G "$wheels/tibet_nc_$part-*.whl" >/dev/null ||
                die "--wheels: there is no tibet_nc_$part-*.whl in $wheels; scripts/wheels makes all"
        done
        return
    fi
    own=$work/own
    say "building the four distributions"
    "$python" -I -m venv "$work/build"
    pip "$work/build" install --quiet --require-hashes -r "$here/locks/build.lock" ||
        die "pip can't get what it builds with; --wheels needs no index: docs/install.md"
    for part in protocol "${PARTS[@]}"; do
        cp -R "$CHECKOUT/$part" "$work/source-$part"
        (cd "$work/source-$part" && "$work/build/bin/python" -I -c \
            'import sys, hatchling.build; hatchling.build.build_wheel(sys.argv[1])' "$own")
    done
}

# The packages of one part. Wheels of one's own can't have the hashes of the lock, since a compiler
# made one of them: DIR has a list of sums, made together with it.
install_packages() {
    local part=$1 target=$2
    if [ -n "$wheels" ]; then
        sed -n 's/^\([a-z0-9-]*==[^ ;]*\).*/\1/p' "$here/locks/$part.lock" >"$work/$part.txt"
        pip "$target" install --quiet --no-index --no-deps --find-links "$wheels" \
            -r "$work/$part.txt"
        return
    fi
    # systemd-python is there as source only. What builds it is pinned and checked as well.
    pip "$target" install --quiet --require-hashes -r "$here/locks/setuptools.lock" &&
        pip "$target" install --quiet --no-build-isolation --require-hashes \
            -r "$here/locks/$part.lock" &&
        pip "$target" uninstall --quiet --yes setuptools
}

make_environment() {
    local part=$1 target=$OPT/$1
    say "$target"
    # Scripts name their interpreter by its path, so it is made in its place.
    [ ! -e "$target" ] || mv "$target" "$target.old"
    if ! { "$python" -I -m venv "$target" && install_packages "$part" "$target" &&
        pip "$target" install --quiet --no-index --no-deps \
            "$own"/tibet_nc_protocol-*.whl "$own/tibet_nc_$part"-*.whl &&
        "$target/bin/tibet-nc-$part" --help >/dev/null; }; then
        rm -rf "$target"
        die "$target could not be made; what was in $OPT before is back in its place"
    fi
    # What is not installed can't be used: neither daemon has an installer in its environment.
    pip "$target" uninstall --quiet --yes pip
}

# All three or none, since they are made for each other: without .stamp not all are new.
put_back() {
    local part
    [ ! -e "$OPT/.stamp" ] || return 0
    for part in "${PARTS[@]}"; do
        [ -e "$OPT/$part.old" ] || continue
        rm -rf "${OPT:?}/$part"
        mv "$OPT/$part.old" "$OPT/$part"
    done
}

environments() {
    local now part
    now=$(stamp)
    if [ -z "$upgrade" ] && [ "$(cat "$OPT/.stamp" 2>/dev/null)" = "$now" ]; then return 0; fi
    if [ -n "$dry" ]; then
        changed=1
        say "would make the environments $OPT/{agent,executor,audit} with $python"
        return
    fi
    work=$(mktemp -d)
    mkdir -p "$OPT"
    put_back # what a run has left that was killed
    rm -rf "$OPT"/{agent,executor,audit}.old
    trap 'put_back; rm -rf "$work"' EXIT
    must_restart
    rm -f "$OPT/.stamp"
    build_own
    for part in "${PARTS[@]}"; do
        make_environment "$part"
        ln -sfn "$OPT/$part/bin/tibet-nc-$part" "/usr/local/bin/tibet-nc-$part"
    done
    printf '%s\n' "$now" >"$OPT/.stamp"
    rm -rf "$OPT"/{agent,executor,audit}.old
}

# The unit names the interpreter that may be executed; another one is put in its place. What
# Debian 12's systemd doesn't know is left out, and instead of its own /tmp there is one of 10 %.
render_unit() {
    local real
    local -a changes=()
    real=$(readlink -f "$python")
    [ "$real" = /usr/bin/python3.13 ] ||
        changes+=(-e "s#/usr/bin/python3\.13#$real ${real%/bin/*}/lib#")
    if ((systemd_version < 257)); then
        changes+=(-e 's#^PrivateTmp=disconnected#TemporaryFileSystem=/tmp:mode=1777,size=10%,nr_inodes=65536\nTemporaryFileSystem=/var/tmp:mode=1777,size=10%,nr_inodes=65536#')
    fi
    if ((systemd_version < 254)); then
        changes+=(-e '/^DelegateSubgroup=/d' -e '/^RestartMaxDelaySec=/d' -e '/^RestartSteps=/d')
    fi
    sed "${changes[@]}" -e '' "$1"
}

system_files() {
    local file draft
    draft=$(mktemp)
    systemd_version=$(systemctl --version | sed -n '1s/^systemd \([0-9]*\).*/\1/p')
    for file in "$here"/systemd/*; do
        render_unit "$file" >"$draft"
        if ! cmp -s "$draft" "$UNITS/${file##*/}"; then must_restart; fi
        place 644 root:root "$draft" "$UNITS/${file##*/}"
    done
    rm -f "$draft"
    place 644 root:root "$here/sysusers.d/tibet-nc.conf" /etc/sysusers.d/tibet-nc.conf
    place 644 root:root "$here/tmpfiles.d/tibet-nc.conf" /etc/tmpfiles.d/tibet-nc.conf
    # journalctl reads catalogs in /usr/lib only.
    place 644 root:root "$here/catalog/tibet-nc.catalog" /usr/lib/systemd/catalog/tibet-nc.catalog
    for file in "$here"/dropins/*/*.conf; do
        place 644 root:root "$file" "$SHARE/dropins/${file#"$here"/dropins/}"
    done
    for file in "$here"/man/*; do
        place 644 root:root "$file" "$MAN/man${file##*.}/${file##*/}"
    done
    do_it systemd-sysusers tibet-nc.conf
    # To PAM the accounts have ended: neither cron nor a lingering service manager runs anything
    # for them. The units don't ask PAM.
    for account in tibet-nc-agent tibet-nc-executor tibet-nc-shell; do
        do_it chage --expiredate 1 "$account"
    done
    do_it systemd-tmpfiles --create tibet-nc.conf
    do_it journalctl --update-catalog
    do_it systemctl daemon-reload
}

# toml_list a b: ["a", "b"]
toml_list() {
    local joined='' item
    for item in "$@"; do joined+="${joined:+, }\"$item\""; done
    printf '[%s]' "$joined"
}

# A replacement for sed between #, whose own characters are made plain.
# shellcheck disable=SC2001 # of a set of characters, that is
replacement() { sed 's/[\&#]/\\&/g' <<<"$1"; }

# A value stands in a template as  key = "" # remark
fill() { printf 's#^%s = \(""\|\[\]\) .*#%s = %s#\n' "$1" "$1" "$(replacement "$2")"; }

# Settings are made once; what somebody has written is never touched.
settings() {
    local script draft part name
    script=$(mktemp)
    draft=$(mktemp)
    {
        [ -z "$homeserver" ] || fill homeserver "\"$homeserver\""
        [ -z "$user_id" ] || fill user_id "\"$user_id\""
        ((!${#rooms[@]})) || fill rooms "$(toml_list "${rooms[@]}")"
        [ -z "$hostname" ] || printf 's/^# \\[host\\]/[host]/\ns#^\\# name = .*#name = "%s"#\n' \
            "$(replacement "$hostname")"
    } >"$script"
    for part in agent executor; do
        name=$ETC/$part.toml
        if [ -e "$name" ]; then
            [ -z "$homeserver$user_id${rooms[*]:-}" ] ||
                say "$name is there and stays as it is"
            continue
        fi
        sed -f "$script" "$here/$part.toml" >"$draft"
        if [ -n "$dry" ] && ! getent group "tibet-nc-$part" >/dev/null; then
            say "would write $name"
            continue
        fi
        place 640 "root:tibet-nc-$part" "$draft" "$name"
    done
    rm -f "$script" "$draft"
    [ -z "$brain" ] ||
        say "BRAIN_API_BASE is not taken over: set [emission] base_url in $ETC/agent.toml"
}

keys() {
    if [ -n "$dry" ]; then
        say "would make both keys where there are none, and exchange the public ones"
    else
        "$here/keys.sh" "$OPT" | sed 's/^/· /'
    fi
}

# The old installation's token is kept as a credential that only systemd can open on this host.
access_token() {
    [ -n "$token" ] || return 0
    local target=/etc/credstore.encrypted/tibet-nc.access-token
    [ ! -e "$target" ] || return 0
    say "$target"
    [ -z "$dry" ] || return 0
    install -d -m 700 /etc/credstore.encrypted
    printf '%s' "$token" | systemd-creds encrypt --name=access-token - "$target.new"
    chmod 600 "$target.new"
    mv -fT "$target.new" "$target"
}

configured() {
    [ -r "$ETC/agent.toml" ] && [ -r "$ETC/executor.toml" ] &&
        ! grep -qE '^(homeserver|user_id) = ""|^rooms = \[\]' \
            "$ETC/agent.toml" "$ETC/executor.toml"
}

start() {
    # Once: what somebody has disabled since stays so, as on a host that was moved away.
    if [ ! -e "$OPT/.enabled" ]; then
        do_it systemctl enable --quiet tibet-nc-executor.socket "${SERVICES[@]}"
        do_it touch "$OPT/.enabled"
    fi
    if [ -n "$changed" ] || [ -e "$OPT/.restart" ]; then
        # What ran goes on with the new programs, what was stopped stays stopped.
        do_it systemctl try-restart tibet-nc-executor.socket "${SERVICES[@]}"
        do_it rm -f "$OPT/.restart"
    fi
    if [ -n "$dry" ] || systemctl is-enabled --quiet tibet-nc-executor.socket; then
        do_it systemctl start tibet-nc-executor.socket
    fi
}

next_steps() {
    local operator trust=''
    for operator in "${operators[@]:-@you:example.org}"; do
        trust+="${trust:+; }tibet-nc-agent trust $operator --emoji"
    done
    echo
    if [ -n "$dry" ]; then
        echo "Nothing was changed."
    elif ! configured; then
        cat <<NEXT
Installed. Next:
  1. Fill in the three empty settings in $ETC/agent.toml and the one in $ETC/executor.toml.
  2. Log the agent in (it asks the homeserver once; the password is not kept):
       see --help of: tibet-nc-agent login, and docs/install.md, "The agent's login"
  3. systemctl start tibet-nc-executor tibet-nc-agent
  4. $trust
  5. tibet-nc-executor doctor; runuser -u tibet-nc-agent -- tibet-nc-agent doctor
NEXT
    elif [ "$(systemctl is-active tibet-nc-agent.service)" != inactive ]; then
        cat <<NEXT
Installed. See that every line says ok:
  tibet-nc-executor doctor; runuser -u tibet-nc-agent -- tibet-nc-agent doctor
NEXT
    else
        cat <<NEXT
Installed. Next:
  1. Log the agent in, unless it is: docs/install.md, "The agent's login"
  2. systemctl start tibet-nc-executor tibet-nc-agent
  3. $trust
  4. tibet-nc-executor doctor; runuser -u tibet-nc-agent -- tibet-nc-agent doctor
  5. In the room: status
NEXT
    fi
}

uninstall() {
    local file
    say "stopping"
    # The executor first: the agent still tells the rooms what became of what ran. It finds no
    # socket by which another executor would be started.
    is_packaged || do_it rm -f /run/tibet-nc/executor.sock
    for file in tibet-nc-executor.service tibet-nc-agent.service tibet-nc-executor.socket; do
        if [ -e "$UNITS/$file" ]; then do_it systemctl disable --quiet --now "$file"; fi
    done
    for file in "$here"/systemd/*; do do_it rm -f "$UNITS/${file##*/}"; done
    for file in "${PARTS[@]}"; do do_it rm -f "/usr/local/bin/tibet-nc-$file"; done
    for file in "$here"/man/*; do do_it rm -f "$MAN/man${file##*.}/${file##*/}"; done
    do_it rm -rf "$OPT" "$SHARE"
    do_it rm -f /etc/sysusers.d/tibet-nc.conf /etc/tmpfiles.d/tibet-nc.conf
    if ! is_packaged; then do_it rm -rf /run/tibet-nc /usr/lib/systemd/catalog/tibet-nc.catalog; fi
    do_it journalctl --update-catalog
    do_it systemctl daemon-reload
}

purge() {
    local answer=''
    if [ -z "$yes$dry" ]; then
        echo "This removes the settings, both keys, the chain, all recordings and the agent's Matrix"
        echo "identity. Without a copy of them nobody can verify this host's records again."
        read -r -p 'Type "purge" to go on: ' answer || true
        [ "$answer" = purge ] || die "nothing was removed"
    fi
    uninstall
    do_it rm -rf "$ETC" "${STATES[@]}" \
        "$UNITS"/tibet-nc-{agent.service,executor.service,executor.socket}.d
    do_it rm -f /etc/credstore.encrypted/tibet-nc.*
    for answer in tibet-nc-agent tibet-nc-executor tibet-nc-shell; do
        if getent passwd "$answer" >/dev/null; then do_it userdel "$answer"; fi
        if getent group "$answer" >/dev/null; then do_it groupdel "$answer"; fi
    done
    say "removed everything; the journal keeps what was sent to it"
}

changed='' work='' own='' systemd_version=''
read_arguments "$@"
case $mode in
uninstall)
    [ "$(id -u)" = 0 ] || die "this changes the system: run it as root"
    be_alone
    uninstall
    say "kept: $ETC, ${STATES[*]}, the accounts; --purge removes them"
    exit 0
    ;;
purge)
    [ "$(id -u)" = 0 ] || die "this changes the system: run it as root"
    refuse_package "it is apt purge tibet-nc"
    be_alone
    purge
    exit 0
    ;;
esac
if [ -n "$from_env" ]; then read_env; fi
check_values
check_machine
refuse_package "apt remove tibet-nc first, which keeps settings, keys and chain"
be_alone
find_python
need_packages
do_it install -d -m 755 "$ETC"
environments
system_files
settings
keys
access_token
start
next_steps
