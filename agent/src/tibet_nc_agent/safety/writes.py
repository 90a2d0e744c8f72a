# SPDX-License-Identifier: MIT
"""What writing, deleting or moving a path means: the actions of `tables/paths.toml` applied."""

from tibet_nc_agent.safety.call import Call, Span, Walk
from tibet_nc_agent.safety.marks import FOUND, UNKNOWN
from tibet_nc_agent.safety.paths import Place
from tibet_nc_agent.safety.rules.model import Level
from tibet_nc_agent.safety.state import State
from tibet_nc_agent.safety.values import Choice, Field
from tibet_nc_agent.safety.verdict import Decision, Family

FAMILY_OF_LEVEL = {
    Level.CRITICAL: Family.USERS,
    Level.BOOT: Family.BOOT,
    Level.LOG: Family.LOGS,
    Level.DEVICE: Family.DISK,
    Level.CONTROL: Family.POWER,
    Level.NETWORK: Family.NETWORK,
}
_WHOLE_TREES = frozenset([Level.ROOT, Level.SYSTEM, Level.HOMES])


def judge_write(
    walk: Walk, target: Field, state: State, span: Span, verb: str, *, append: bool = False
) -> Place:
    """Judge that something is written to a path; `verb` begins the reason."""
    place = walk.place(target.text, state)
    effects = walk.rules.actions.append if append else walk.rules.actions.write
    decision = effects.single.get(place.level)
    family = FAMILY_OF_LEVEL.get(place.level, Family.WIPE)
    if place.path.startswith(f"/dev/{UNKNOWN}"):
        decision, family = Decision.DENY, Family.DISK
    if decision is None:
        return place
    walk.report(decision, family, f"{verb} {place.shown}", span, state)
    return place


def judge_removal(call: Call, targets: list[Field], verb: str, *, recursive: bool) -> None:
    """Judge that paths are deleted by a command."""
    for target in targets:
        judge_deletion(call.walk, target, call.state, call.span, verb, recursive=recursive)


def judge_deletion(
    walk: Walk, target: Field, state: State, span: Span, verb: str, *, recursive: bool
) -> None:
    """Judge that a path is deleted; `/*` without an option deletes files of the root as well."""
    effects = walk.rules.actions.delete
    place = walk.place(target.text, state)
    chosen = effects.recursive if recursive else effects.single
    if place.everything and place.level in _WHOLE_TREES:
        chosen = effects.recursive
    decision = chosen.get(place.level) or _of_found(walk, place.path, state)
    if decision is not None:
        walk.report(decision, _family(place), f"{verb} {place.shown}", span, state)


def _of_found(walk: Walk, path: str, state: State) -> Decision | None:
    """Return what it means to delete a path that stands for what was found, None for others."""
    root, mark, name = path.partition(f"/{FOUND}/")
    if not mark:
        return None
    choice = Choice.NAMED if name.startswith(Choice.NAMED.value) else Choice.SOME
    return removal_below(walk.place(root or "/", state).level, choice)


def removal_below(level: Level, choice: Choice) -> Decision | None:
    """Return what it means to delete files that are found below a directory of this level."""
    match level:
        case Level.ROOT | Level.SYSTEM | Level.CRITICAL | Level.BOOT | Level.DEVICE:
            return Decision.DENY if choice is Choice.ALL else Decision.NEEDS_APPROVAL
        case Level.HOMES:
            return {Choice.ALL: Decision.DENY, Choice.SOME: Decision.NEEDS_APPROVAL}.get(choice)
        case Level.HOME:
            return Decision.DENY if choice is Choice.ALL else None
        case Level.LOG | Level.BELOW:
            return Decision.NEEDS_APPROVAL
        case Level.PARTIAL | Level.UNKNOWN | Level.PARENT:
            return Decision.NEEDS_APPROVAL if choice is Choice.ALL else None
        case _:
            return None


def judge_permissions(call: Call, targets: list[Field], verb: str, *, recursive: bool) -> None:
    """Judge that a command changes owner or mode of paths."""
    for target in targets:
        judge_change(call.walk, target, call.state, call.span, verb, recursive=recursive)


def judge_change(
    walk: Walk, target: Field, state: State, span: Span, verb: str, *, recursive: bool
) -> None:
    """Judge that owner or mode of a path change."""
    effects = walk.rules.actions.permissions
    place = walk.place(target.text, state)
    if place.level is Level.UNKNOWN and target.text != UNKNOWN:
        return  # a known piece of the path names something of its own
    decision = (effects.recursive if recursive else effects.single).get(place.level)
    if decision is not None:
        walk.report(decision, _family(place), f"{verb} {place.shown}", span, state)


def judge_move(call: Call, targets: list[Field], verb: str) -> None:
    """Judge that paths go somewhere else."""
    effects = call.walk.rules.actions.move
    for target in targets:
        place = call.walk.place(target.text, call.state)
        chosen = effects.recursive if place.everything else effects.single
        _report(call, place, verb, chosen.get(place.level))


def _report(call: Call, place: Place, verb: str, decision: Decision | None) -> None:
    if decision is not None:
        reason = f"{verb} {place.shown}"
        call.walk.report(decision, _family(place), reason, call.span, call.state)


def _family(place: Place) -> Family:
    return FAMILY_OF_LEVEL.get(place.level, Family.WIPE)
