# SPDX-License-Identifier: MIT
"""What lasts in a shell: attributes, traps, descriptors, settings. None of it holds up daily work.

That it hides nothing is shown against bash itself, in `test_against_bash`.
"""

import pytest

from tibet_nc_agent.safety import Decision, judge

ALLOW, ASK, DENY = Decision.ALLOW, Decision.NEEDS_APPROVAL, Decision.DENY


@pytest.mark.parametrize(
    "line",
    [
        "declare -i n=0; for f in *.log; do n+=1; done; echo $n",
        "declare -l name=README; cat $name",
        "declare -A m=([a]=1); m[b]=2; echo ${!m[@]} ${m[b]}",
        "f() { local -n out=$1; out=done; }; f x; echo $x",
        'while IFS= read -r line; do echo "$line"; done < /etc/hosts',
        "while IFS=: read -r u _ id _; do echo $u $id; done < /etc/passwd",
        "while read -r h; do ssh $h uptime; done <<< $'a\\nb'",
        "printf 'a\\nb\\n' | while read x; do rm -rf /tmp/build/$x; done",
        "mapfile -t lines < list.txt; printf '%s\\n' \"${lines[@]}\"",
        "{ read a; read b; } < f; echo $a $b",
        "IFS=, read -r a b <<< 'x,y'; echo $b",
        "IFS=, read -r a b <<< 'x,y'; c='-l /tmp'; ls $c",
        "exec 3>log.txt; echo hi >&3; exec 3>&-",
        "exec {fd}>log.txt; echo hi >&$fd; exec {fd}>&-",
        "exec > >(tee log.txt) 2>&1; make",
        "exec >log.txt 2>&1; date; ls -l",
        "exec 2>&1; ls",
        "t=$(mktemp -d); trap 'rm -rf \"$t\"' EXIT; cd $t && make",
        "trap 'kill $(jobs -p)' EXIT; sleep 5 & wait",
        "trap - INT; trap -p",
        "PS4='+ ${BASH_SOURCE}:${LINENO}: '; set -x; ls",
        "export PS1='\\u@\\h:\\w\\$ '",
        'PS1="(venv) $PS1"',
        "compgen -W 'start stop' -- st",
        "compgen -c | sort | head",
        "coproc cat; echo hi >&${COPROC[1]}",
        "history | tail; fc -l",
        "set -euo pipefail; shopt -s nullglob; for f in *.txt; do echo $f; done",
        "shopt -s nocasematch; [[ $x == foo* ]] && echo yes",
        "shopt -s lastpipe; ls | mapfile -t all; echo ${#all[@]}",
        "readonly d=/tmp/a; rm -rf $d",
        "printf -v stamp '%s' now; echo $stamp > $stamp.txt",
        "unset 'a[0]'; unset -f f; unset -v x",
        "sh -c 'echo \"a\\tb\" > f; cat f'",
        "LC_ALL=C read x < f; echo $x",
        "EDITOR=vim; FCEDIT=nano; PAGER=$x less f",
        'cat <<X\n`echo "a" \\"b\\"`\nX',
    ],
)
def test_daily_lines_are_allowed(line: str) -> None:
    """Reading loops, temporary directories, logs and prompts stay as they are."""
    assert judge(line).decision is ALLOW


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("d=/tmp/a; trap 'rm -rf $d' EXIT; d=/", DENY),
        ("(trap 'rm -rf *' EXIT; cd /etc)", DENY),
        ("printf '/tmp/a\\n/etc\\n' | while read d; do rm -rf $d; done", DENY),
        ("{ read a; read d; rm -rf $d; } <<< $'/tmp/a\\n/etc'", DENY),
        ("a && { read d; }; read d; rm -rf $d", ASK),
        ("while a; do $x; printf -v x reboot; done", ASK),
        ("while a; do rm -rf $d; f() { d=/; }; f; done", ASK),
        ("PS4=$(cat prompt); set -x; ls", ASK),
        ("readonly d=/etc; d=/tmp/a || rm -rf $d", DENY),
        ("exec {a}<<<ls {b}<<<reboot; bash <&$b", DENY),
        ("exec 3>f; echo reboot >&$n; bash f", DENY),
        ("history -s ls; fc -s", ASK),
        ("sed s/a/b/ x.sh > y.sh; bash y.sh", ASK),
        ("echo ls > f; read x < $d/f; $x", ASK),
        ("echo 'rm -rf /' > ls; chmod +x ls; PATH=.:$PATH; ls", DENY),
        ("a=(ls ls); a[1]=reboot; ${a[1]}", DENY),
        ("set -- a reboot; while [ $# -gt 0 ]; do $1; shift; done", ASK),
        ("set -H", ASK),
        ("set -k", ASK),
        ("CDPATH=/; cd etc; rm -rf *", ASK),
    ],
)
def test_what_lasts_is_followed(line: str, expected: Decision) -> None:
    """A trap runs behind every command, a loop runs again, and each line is read once."""
    assert judge(line, cwd="/tmp/work").decision is expected


@pytest.mark.parametrize(
    "assigns",
    [
        "((d++))",
        "((1 ? d = 1 : 0))",
        "((a[0], d >>= 1))",
        "let d=1",
        "let 'd += 1'",
        ": $((d += 1))",
        ": $[d = 1]",
        "for ((d = 1; d < 1;)); do :; done",
        "[[ d++ -lt 9 ]]",
        "a=abc; : ${a:d++}",
        ": ${a[d++]}",
        "a[d++]=1",
        "declare -i n=d++",
        "declare -i n; n=d++",
        "n=d++; ((n))",
        "n=d++; let n",
        "test -v 'a[d++]'",
        "wait -n -p 'a[d++]'",
        "read 'a[d++]' <<< 1",
        "n='a[d++]'; echo ${!n}",
        "f() { ((d++)); }; f",
    ],
)
def test_arithmetic_assigns(assigns: str) -> None:
    """What any kind of arithmetic assigns, the line doesn't know any more."""
    assert judge(f"d=0; {assigns}; rm -rf $d").decision is ASK
    assert judge("d=0; ((d == 1)); [[ $d == e=1 ]]; ((n++)); rm -rf $d").decision is ALLOW


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("zsh -c 'x=\"rm -rf /\"; $=x'", DENY),
        ("zsh -c 'x=reboot; ${=x}'", DENY),
        ("zsh -c 'x=reboot; $==x'", DENY),
        ("zsh <<< 'x=reboot; $~x'", DENY),
        ("echo 'x=reboot; $=x' > f; zsh f", DENY),
        ("tcsh -c 'alias x reboot; x'", DENY),
        ("csh -c 'alias x \"rm -rf /\"; x'", DENY),
        ("fish -c 'alias x reboot; x'", DENY),
        ("fish -c 'alias x=reboot; x'", DENY),
        ("zsh -c 'x=\"ls -l\"; $=x; echo ${x:=y}'", ALLOW),
        ("tcsh -c 'alias ll ls -l; ll'", ALLOW),
        ("alias ll ls", ALLOW),
    ],
)
def test_other_shells_are_read_in_their_own_way(line: str, expected: Decision) -> None:
    """What zsh, csh and fish spell otherwise than bash is judged as what it means there."""
    assert judge(line).decision is expected


def test_counting_in_nested_loops_is_no_matter_of_depth() -> None:
    """What a loop counts is looked for twice, but not twice in each of the loops around it."""
    line = "; ".join(["echo $a"] * 20)
    for depth in range(8):
        count = f"c{depth}"
        line = f"{count}=0; while [ ${count} -lt 3 ]; do {line}; {count}=$(({count}+1)); done"
    assert judge(line).decision is ALLOW
