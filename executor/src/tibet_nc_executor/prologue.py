# SPDX-License-Identifier: MIT
r"""What the shell does before and after a command, and the bytes in which it tells its state.

A shell waits until there is a command (door.py) and then becomes the shell of that command, with
one `exec`. That one reads the prologue as its BASH_ENV, which bash runs before it turns its
restrictions on; the command is bash's own `-c` string. So the command is parsed, traced and
reported exactly as written, with no `eval` around it. In the prologue it waits for a newline on the
socket: what comes before that is ours alone, what follows is the session's and the command's.

State travels on a socket as `+` (the command begins), then the jobs that run, `\0`, shell text that
brings the state back, `\0`. Then comes the exit status and a sign of why the shell ends, and it
holds on until it is told to go: if it just ended, the kernel would hang up on what it leaves in the
background. Those bytes are the shell's own words and may be forged by a command: the executor cuts
them at the NULs, which no shell text can contain, and gives them to nobody but the next shell of
the same session. Anything else that was written there falls outside of the last pair.

Why the shell ends: bash runs an EXIT trap in the same way at the end of its text and for `exit`.
Where it is still inside a function, it was `exit` or `set -e`. Outside of functions a DEBUG trap
notes an `exit` before it is run; only a text that has the word gets this trap. Whether that `exit`
was the shell's own, and not that of a child (`exit | cat`, `exit &`), is seen from what no other
command can have changed since. One in a sourced file or in a trap is not seen: it passes for the
end of the text. A shell that tells nothing has either been given another EXIT trap or been replaced
with `exec`; so that these can be told apart it has a name (comm) of its own, which `exec` changes.
Bash also runs that trap for a fatal signal, with the status of the command before. Where the shell
waited for a job just then, that one still runs in the foreground, and the shell is let go, so that
the kernel says which signal it was; else it passes for the end of the text. A copy of the shell
that gets one (the kernel hangs up on all when the shell ends) before it has forgotten its traps
tells nothing.

How the socket is kept from the command's children: bash copies the close-on-exec flag along with a
descriptor, and keeps a redirected descriptor aside, from 10 up, with that flag. A copy of the one
set aside is therefore closed in every program that the command starts. Two are set aside below:
standard error as 10, the socket as 11. Errors are silent since putting it back fails where its
number is above the limit of open files, which is as good.
"""

import re
import shlex
from dataclasses import dataclass
from typing import Final

from tibet_nc_executor.ending import Death
from tibet_nc_executor.environment import NAMES

BASH: Final = "/bin/bash"
STATE_DESCRIPTOR: Final = 63  # far from those that people use by number
LAST_WORD_BYTES: Final = 5  # NUL, at most three digits, a sign
_SIGNS: Final = {b"=": None, b"x": Death.EXIT, b"e": Death.ERREXIT}
_JOB: Final = re.compile(rb"^(?:\+n?)?\[\d+\][-+ ]  ", re.MULTILINE)
_LAST_WORD: Final = re.compile(rb"\0(\d{1,3})([=xe])\Z")
STATE_BYTES: Final = 1 << 20  # more than any shell that people type in; a bound for memory
BEGIN_MARK: Final = b"+"
NAMED_MARK: Final = b"n"
SHELL_NAME: Final = "tibet-nc"
"""What the kernel calls a command's shell until another program takes its place."""
_VARIABLES: Final = re.compile(rb"(?:^declare .*\n)+", re.MULTILINE)
_GIVEN: Final = re.compile(rb"declare \S+ (?:%s)(?:=|$)" % "|".join(NAMES).encode())
_DIRECTORY: Final = re.compile(rb"^exec 2>&62 62>&-\ncd -- (.+)$", re.MULTILINE)
DESCRIPTOR_FLOOR: Final = 100  # inherited ones stay clear of 10, where bash sets descriptors aside

# The first line puts the shell back to where the second can be trusted: in POSIX mode (an
# assignment turns it on) special builtins cannot be replaced by functions, and none of them by an
# alias when its name is quoted. Errors are thrown away since restrictions forbid /dev/null here.
# What it prints is read line by line: setting bash's own read-only variables again fails, and would
# end a group of commands. All options are turned off first: few are on, and each line takes time.
# The directory changes OLDPWD, which is therefore put back once more.
# Functions come late, since they may have the names of builtins, and when aliases are known but not
# expanded, since functions would be rewritten by them.
_SAVE: Final = (
    r"""{ __tibet_nc_status=$? __tibet_nc=:$BASHOPTS:/:$SHELLOPTS: """
    r"""__tibet_nc_now=x:${PIPESTATUS[*]}:${!-}; """
    r"""POSIXLY_CORRECT=y; \trap - DEBUG; """
    r"""\set +euvxmtn; \unset -f unset builtin; } 2>&- >&FD
if [[ ${BASHPID-$$} == "$$" ]]; then {
\unset -v POSIXLY_CORRECT
\builtin jobs -r
\builtin printf '\0exec 62>&2 2>/dev/null\nunset -v %s\n' 'NAMES'
\builtin printf '%s\n' 'shopt -u ${BASHOPTS//:/ }' 'set +o ${SHELLOPTS//:/ +o }'
\builtin shopt -s -p
__tibet_nc_end==
if [[ $__tibet_nc_exit == "$__tibet_nc_now" ]]
then __tibet_nc_end=x
elif [[ $__tibet_nc == *:errexit:* && $__tibet_nc_status != 0 ]]
then __tibet_nc_end=e
elif [[ ${FUNCNAME[0]} ]]
then __tibet_nc_end=x
fi
\builtin unset -v __tibet_nc_now __tibet_nc_exit
\builtin printf 'shopt -u expand_aliases\n'
\builtin shopt -s -o -p
\builtin declare -p
\builtin alias -p
\builtin umask -p
\builtin printf 'exec 2>&62 62>&-\ncd -- %q\n' "$PWD"
if [[ -v OLDPWD ]]
then \builtin printf '{ declare OLDPWD=%q; } 2>/dev/null\n' "$OLDPWD"
else \builtin printf 'unset -v OLDPWD\n'
fi
\builtin declare -f
\builtin printf '{\n'
for __tibet_nc_name in expand_aliases inherit_errexit interactive_comments shift_verbose sourcepath
do
    if [[ $__tibet_nc == *:$__tibet_nc_name:* ]]
    then \builtin printf '\\builtin shopt -s %s\n' $__tibet_nc_name
    else \builtin printf '\\builtin shopt -u %s\n' $__tibet_nc_name
    fi
done
\builtin printf '\\builtin unset -v __tibet_nc __tibet_nc_%s\n' name status end
for __tibet_nc_name in errexit nounset verbose xtrace posix
do
    if [[ $__tibet_nc == *:$__tibet_nc_name:* ]]
    then \builtin printf '\\builtin set -o %s\n' $__tibet_nc_name
    fi
done
\builtin printf '} 2>/dev/null\n\0%s' "$__tibet_nc_status$__tibet_nc_end"
\builtin read -r __tibet_nc_name
} 2>&- >&FD <&FD
fi"""
)
_WATCH: Final = r"""{ case $BASH_COMMAND in
exit|exit\ *|\\exit|\\exit\ *|command\ exit|command\ exit\ *|builtin\ exit|builtin\ exit\ *)
__tibet_nc_exit=x:${PIPESTATUS[*]}:${!-} ;;
esac; } 2>&-"""
_WATCHED: Final = re.compile(rb"\bexit\b")
_TRAPS: Final = re.compile(rb"\b(?:trap|source)\b|(?:^|[\s;&|({])\.\s")


def waiting(*, entry: str, gate: int, line: int) -> str:
    """Return the script of a shell that waits for a pipe to end and then runs a line.

    `entry` comes first. `gate` is the descriptor of the pipe, which nothing is written to, and
    `line` that of a file. What the shell prints before the command is a complaint of the cage's.
    """
    return f"{entry}read -r <&{gate}\nexec {gate}<&-\n. /dev/fd/{line}\n"


def become(text: bytes, *, restricted: bool, prologue: int, line: int) -> bytes:
    """Return the line with which a waiting shell becomes the one that will run a command.

    `prologue` is the descriptor of what runs before the command, `line` that of this line.
    """
    options = b"--restricted --norc" if restricted else b"--norc"
    quoted = b"'%s'" % text.replace(b"'", rb"'\''")
    return b"export BASH_ENV=/dev/fd/%d\nexec %d<&- %s %s --noprofile -c -- %s tibet-nc\n" % (
        prologue,
        line,
        BASH.encode(),
        options,
        quoted,
    )


def prologue(*, entry: str, own: int, pipe: int, state: bytes, text: bytes) -> bytes:
    """Return what the shell runs before its command, which is `text`.

    `entry` comes first, `own` is the descriptor of this text, `pipe` that of the way back for the
    state, `state` what an earlier command of the session has told. The state is last, so that a
    broken one breaks nothing but itself.
    """
    save = _SAVE.replace("FD", str(STATE_DESCRIPTOR)).replace("NAMES", " ".join(NAMES))
    watch = f"trap -- {shlex.quote(_WATCH)} DEBUG\n" if _WATCHED.search(text) else ""
    before = f"""{entry}\
{{ {{ exec {STATE_DESCRIPTOR}>&11; }} {pipe}>&-; }} 2>/dev/null
exec {pipe}>&- {own}<&-
unset -v BASH_ENV BASH_EXECUTION_STRING
{{ echo 500 >/proc/self/oom_score_adj; }} 2>/dev/null
umask 077
cd -- "$HOME" 2>/dev/null || cd /
unset -v OLDPWD
shopt -s expand_aliases
read -r __tibet_nc_go <&{STATE_DESCRIPTOR} || exit
unset -v __tibet_nc_go
trap -- {shlex.quote(save)} EXIT
printf '{BEGIN_MARK.decode()}' >&{STATE_DESCRIPTOR}
{{ printf {SHELL_NAME} >/proc/self/comm &&
printf {NAMED_MARK.decode()} >&{STATE_DESCRIPTOR}; }} 2>&-
{watch}"""
    return before.encode() + state


def may_trap(text: bytes) -> bool:
    """Return whether a shell's text may set a trap: by itself, or in a file that it sources."""
    return _TRAPS.search(text) is not None


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """What came through the pipe: whether the command began, its shell had its name, its state.

    The state only if it is whole.
    """

    begun: bool
    named: bool
    state: bytes | None


def parse_told(stream: bytes) -> Told:
    """Cut what came through the pipe; any bytes give a result."""
    parts = _LAST_WORD.sub(b"\0", stream).split(b"\0")
    whole = len(parts) >= 3 and not parts[-1]
    return Told(
        begun=stream.startswith(BEGIN_MARK),
        named=stream.startswith(BEGIN_MARK + NAMED_MARK),
        state=parts[-2] if whole else None,
    )


def waits_in_foreground(stream: bytes) -> bool:
    """Return whether a shell that is done still waited for a job: a signal ends it, then.

    What runs in the background has a `&` at its end, before the directory if that is another one.
    """
    jobs = _JOB.split(stream.partition(b"\0")[0])[1:]
    texts = (job.removesuffix(b"\n").rpartition(b"  (wd: ") for job in jobs)
    return not all((text or whole).endswith(b" &") for text, _, whole in texts)


@dataclass(frozen=True, kw_only=True, slots=True)
class LastWord:
    """The status with which a shell ends, and what ended it if it was not the end of its text."""

    exit: int
    death: Death | None


def last_word(end: bytes) -> LastWord | None:
    """Return what a shell told when it was done, from the last `LAST_WORD_BYTES` or more."""
    found = _LAST_WORD.search(end)
    return None if found is None else LastWord(exit=int(found[1]) & 0xFF, death=_SIGNS[found[2]])


def variables_of(state: bytes) -> frozenset[bytes]:
    """Return the lines that bring a state's variables back, each of which bash writes in one line.

    Without those of `NAMES`, which a state unsets before it sets them.
    """
    found = _VARIABLES.search(state)
    lines = [] if found is None else found[0].splitlines(keepends=True)
    return frozenset(line for line in lines if not _GIVEN.match(line))


def without_variables(state: bytes, known: frozenset[bytes]) -> bytes:
    """Return a state without some lines of its variables.

    Only those: the text of a function or an alias may look the same.
    """

    def kept(found: re.Match[bytes]) -> bytes:
        return b"".join(line for line in found[0].splitlines(keepends=True) if line not in known)

    return _VARIABLES.sub(kept, state, count=1)


def directory_of(state: bytes) -> str | None:
    """Return the directory that a state goes to, quoted as a shell writes it; None without one.

    A command can forge it, like all of its own state: it is a hint for people.
    """
    found = _DIRECTORY.search(state)
    return None if found is None else found[1].decode(errors="replace")
