# SPDX-License-Identifier: MIT
"""Signals to processes."""

import re

from tibet_nc_agent.safety.call import Call
from tibet_nc_agent.safety.commands.handler import Handlers
from tibet_nc_agent.safety.marks import FOUND
from tibet_nc_agent.safety.state import Context
from tibet_nc_agent.safety.values import COUNTED, EMPTY, Field, Stream
from tibet_nc_agent.safety.verdict import Family

_LISTS = frozenset(["-l", "-L", "--list", "--table", "--help", "--version"])
_RELOADS = frozenset(["HUP", "1", "SIGHUP", "CONT", "SIGCONT"])
_HARMLESS_TO_INIT = frozenset(["HUP", "1", "SIGHUP", "USR1", "USR2", "WINCH", "SIGUSR1"])
_EVERYTHING = frozenset([".", ".*", "^", "", "[a-z]", "..*", "*"])
_PROCESS_ONE = frozenset(["init", "systemd", "launchd"])
_VALUE_OPTIONS = frozenset(
    ["-s", "-n", "--signal", "-t", "-g", "-G", "-P", "-F", "--pidfile", "--parent", "--session"]
)
_VALUE_OPTIONS_OF_KILLALL = frozenset(
    [
        "-s",
        "--signal",
        "-o",
        "--older-than",
        "-y",
        "--younger-than",
        "-Z",
        "--context",
        "-n",
        "--ns",
    ]
)
_FINDERS = frozenset(["pgrep", "pidof"])
_SSH_SOCKET = re.compile(r":(?:22|ssh)\b|sshd")
_PID_FILE = re.compile(r"/([\w.-]+)\.pid$")
_EVERY_PROCESS = re.compile(r"(?:^|\s)(?:-[a-z]*[eA][a-z]*|-?aux?\w*|-?axu?\w*)(?:\s|$)")
_OF_USER = re.compile(r"-(?!USR|URG)[cefilLnovwxz]*[uU]|--(?:euid|uid|user)(?:=|$)")


def kill(call: Call) -> Stream:
    """`kill`: process 1 and -1, which is every process."""
    if any(word in _LISTS for word in call.words):
        return EMPTY
    signal, targets = _signal_and_targets(call.words)
    if signal == "0":
        return EMPTY
    for field in call.arguments if signal not in _RELOADS else ():
        if field.producer.startswith("lsof ") and _SSH_SOCKET.search(field.producer):
            call.deny(Family.SERVICES, "ends what listens for ssh")
        program, _, pattern = field.producer.partition(" ")
        if program == "cat" and (pid := _PID_FILE.search(pattern)) is not None:
            program, pattern = "pidof", pid.group(1)
        if program == "ps" and _EVERY_PROCESS.search(pattern):
            call.ask(Family.POWER, "kill ends whatever a list of processes holds")
        if program in _FINDERS:
            words = ["pkill", *pattern.split()]
            call.walk.run([field.with_text(word) for word in words], call.state, call.stdin)
    if any(_is_list_of_processes(field) for field in call.arguments):
        call.ask(Family.POWER, "kill ends whatever processes there are")
    for target in targets:
        if target == "-1":
            call.deny(Family.POWER, "kill -1 signals every process")
        elif target == "1" and signal in _HARMLESS_TO_INIT:
            if call.state.context is Context.CONTAINER:
                continue
            call.ask(Family.POWER, "a signal to process 1")
        elif target == "1":
            call.deny(Family.POWER, "a signal to process 1")
    return EMPTY


def _is_list_of_processes(field: Field) -> bool:
    """Whether numbers come from /proc, from a pattern, or are counted: `kill {2..9999}`."""
    counted = field.producer == COUNTED and field.text[:1] not in "%-"  # of a job, of a signal
    listed = field.text.startswith("/proc") and FOUND not in field.text  # nothing chooses there
    return field.glob or listed or counted


def _signal_and_targets(words: list[str]) -> tuple[str, list[str]]:
    signal, targets, index = "", list[str](), 0
    while index < len(words):
        word = words[index]
        if word == "--":
            targets.extend(words[index + 1 :])
            break
        if word in ("-s", "-n", "--signal"):
            signal = words[index + 1] if index + 1 < len(words) else ""
            index += 2
            continue
        if word.startswith("--signal="):
            signal = word.partition("=")[2]
        elif word.startswith("-") and not signal and len(word) > 1 and len(words) > 1:
            signal = word[1:]
        else:
            targets.append(word)
        index += 1
    return signal, targets


def kill_by_name(call: Call) -> Stream:
    """`pkill`, `killall`: patterns that match everything, process 1, all of a user or terminal."""
    words, patterns, index = call.words, list[str](), 0
    of_user = False
    with_value = _VALUE_OPTIONS_OF_KILLALL if call.name == "killall" else _VALUE_OPTIONS
    if any(word in _LISTS for word in words):
        return EMPTY
    while index < len(words):
        word = words[index]
        if (found := _OF_USER.match(word)) is not None:
            of_user = True
            attached = word[found.end() :]
            names = attached or "".join(words[index + 1 : index + 2])
            if {"root", "0"} & set(names.split(",")):
                call.deny(Family.POWER, f"{call.name} kills every process of root")
            index += 1 if attached else 2
            continue
        if word in with_value:
            index += 2
            continue
        if not word.startswith("-") or word == "-":
            patterns.append(word)
        index += 1
    for pattern in patterns:
        if call.name == "killall" and pattern in _EVERYTHING and call.has("-r", "--regexp"):
            call.deny(Family.POWER, "killall -r kills everything")
        if pattern in _PROCESS_ONE or (pattern in _EVERYTHING and call.name != "killall"):
            call.deny(Family.POWER, f"{call.name} {pattern} kills the system")
    if (of_user and not patterns) or (call.name == "slay" and patterns):
        call.ask(Family.POWER, f"{call.name} ends every process of a user")
    if call.name in ("pkill", "skill") and not patterns and call.has("-t", "--terminal"):
        call.ask(Family.POWER, f"{call.name} ends every process of a terminal")
    if call.name == "pkill" and call.has("-v", "--inverse"):
        call.ask(Family.POWER, "pkill -v kills everything else")
    return EMPTY


def find_processes(call: Call) -> Stream:
    """`pgrep`, `ps`: what they look for, in case it is signalled."""
    options = call.name in ("lsof", "ps")
    words = [word for word in call.words if options or not word.startswith("-")]
    return Stream(producer=" ".join([call.name, *words]))


HANDLERS: Handlers = {
    "pgrep": find_processes,
    "pidof": find_processes,
    "lsof": find_processes,
    "ps": find_processes,
    "kill": kill,
    "pkill": kill_by_name,
    "killall": kill_by_name,
    "skill": kill_by_name,
    "slay": kill_by_name,
    "killall5": lambda call: call.deny(Family.POWER, "killall5 kills every process"),
}
