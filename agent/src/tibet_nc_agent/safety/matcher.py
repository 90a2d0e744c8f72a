# SPDX-License-Identifier: MIT
"""Applies the rules of `tables/rules/` to one command."""

import re
from functools import lru_cache

from tibet_nc_agent.safety import limits
from tibet_nc_agent.safety.call import CLUSTER, Call
from tibet_nc_agent.safety.marks import UNKNOWN, activate, plain, settle
from tibet_nc_agent.safety.paths import is_in_download, resolve
from tibet_nc_agent.safety.patterns import PatternSet, pattern_set
from tibet_nc_agent.safety.rules.model import Level, Rule, Rules
from tibet_nc_agent.safety.sql import may_change, statements
from tibet_nc_agent.safety.values import Field, Source
from tibet_nc_agent.safety.verdict import Decision

_HELP = frozenset(["--help", "--version", "--usage"])
_GLOB = re.compile(r"[*?\[]")
_SHORTEST_ABBREVIATION = 4  # "--x" and longer stand for the option they begin


class Matcher:
    """The rules, found by the name of the program."""

    def __init__(self, rules: Rules) -> None:
        self._by_name: dict[str, list[Rule]] = {}
        self._by_pattern: list[tuple[str, Rule]] = []
        for rule in rules.rules:
            for name in rule.commands:
                if _GLOB.search(name):
                    self._by_pattern.append((name, rule))
                else:
                    self._by_name.setdefault(name, []).append(rule)
        self._patterns = pattern_set(tuple(name for name, _ in self._by_pattern))

    @property
    def names(self) -> frozenset[str]:
        """Every program that has rules of its own."""
        return frozenset(self._by_name)

    def __contains__(self, name: str) -> bool:
        return name in self._by_name or name in self._patterns

    def rules_for(self, name: str) -> list[Rule]:
        """Return the rules for a program."""
        found = self._by_name.get(name, [])
        if name in self._patterns:
            found = found + [
                rule for pattern, rule in self._by_pattern if name in pattern_set((pattern,))
            ]
        return found

    def apply(self, call: Call) -> None:
        """Report every rule that holds for the command."""
        rules = self.rules_for(call.name)
        if not rules or any(word in _HELP for word in call.words):
            return
        operands, sure = tuple(call.operands), tuple(call.sure_operands)
        doubtful = sure and sure != operands and not sure[0].unknown
        for rule in rules:
            decision = _decision(rule, call, operands)
            if decision is None and doubtful and (rule.verbs or rule.text):
                decision = _decision(rule, call, sure) and Decision.NEEDS_APPROVAL
            if decision is not None:
                call.walk.report(
                    decision, rule.family, rule.reason, call.span, call.state, advice=rule.advice
                )


def _decision(rule: Rule, call: Call, operands: tuple[Field, ...]) -> Decision | None:
    """Return the decision if all conditions hold, softened if only an unknown word fits."""
    values = call.values
    # What takes a value is no such switch: `-n` is no dry run where it gives a name.
    switches = tuple(option for option in rule.unless if option not in values)
    if switches and _has_option(switches, call.words, values, abbreviated=False):
        return None
    if rule.options and not _has_option(rule.options, call.words, values, abbreviated=True):
        return None
    if rule.arguments:
        accepted = pattern_set(rule.arguments)
        if not any(word in accepted for word in call.words):
            return None
    if len(operands) < rule.least_operands:
        return None
    if rule.exact_operands >= 0 and len(operands) != rule.exact_operands:
        return None
    if rule.piped and (call.stdin is None or call.stdin.source is Source.TERMINAL):
        return None
    if rule.downloaded and not _reads_download(call):
        return None
    if rule.fetched and not _is_in_fetched(call):
        return None
    certain = True
    if rule.verbs:
        found, certain, operands = _verb(rule.verbs, operands)
        if not found:
            return None
    if rule.words:
        found, sure = _word(rule.words, operands)
        if not found:
            return None
        if rule.known and not sure:
            return None
        certain = certain and sure
    if rule.produced_by and not any(
        _producer(field).partition(" ")[0] in rule.produced_by for field in operands
    ):
        return None
    if rule.text and not _text(rule.text, call, operands, unquoted=rule.unquoted):
        return None
    if rule.target and not any(_is_target(rule.target, field, call) for field in operands):
        return None
    return rule.decision if certain else Decision.NEEDS_APPROVAL


def _producer(field: Field) -> str:
    """Return what has printed a word, or what is in the file that the word names."""
    return field.producer if field.stream is None else field.stream.producer


def _reads_download(call: Call) -> bool:
    """Whether the input or a file among the arguments comes from the network."""
    if call.stdin is not None and call.stdin.downloaded:
        return True
    return any(
        field.downloaded
        or (field.stream is not None and field.stream.downloaded)
        or (resolve(field.text, call.state) or "") in call.state.downloaded
        for field in call.arguments
    )


def _is_in_fetched(call: Call) -> bool:
    """Whether it works in, or on a path of, a tree that was fetched in the same line."""
    return (
        call.state.cwd_downloaded
        or "." in call.state.downloaded
        or _reads_download(call)
        or any(is_in_download(field.text, call.state) for field in call.arguments)
    )


def _has_option(
    options: tuple[str, ...], words: list[str], values: frozenset[str], *, abbreviated: bool
) -> bool:
    return any(
        _is_option(option, word, values, abbreviated=abbreviated)
        for word in words
        for option in options
    )


def _is_option(option: str, word: str, values: frozenset[str], *, abbreviated: bool) -> bool:
    """`-x` also in a cluster `-axb`; `--long` also as `--long=value` and abbreviated."""
    if word == option:
        return True
    if option.startswith("--"):
        name = word.partition("=")[0]
        return name == option or (
            abbreviated
            and len(name) >= _SHORTEST_ABBREVIATION
            and name.startswith("--")
            and option.startswith(name)
        )
    if len(option) == 2 and option[0] == "-":
        before, found, _ = word[1:].partition(option[1])
        return (
            bool(found)
            and CLUSTER.match(word) is not None
            and not any(f"-{letter}" in values for letter in before)  # it ends in that one's value
        )
    return bool(_GLOB.search(option)) and word in pattern_set((option,))


@lru_cache(maxsize=2048)
def _sequence(verb: str) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(choice.split("|")) for choice in verb.split())


def _verb(
    verbs: tuple[str, ...], operands: tuple[Field, ...]
) -> tuple[bool, bool, tuple[Field, ...]]:
    """Return whether a verb fits, whether for certain, and the operands behind it."""
    doubtful: tuple[Field, ...] | None = None
    for verb in verbs:
        sequence = _sequence(verb)
        if len(sequence) > len(operands):
            continue
        fits, certain = True, True
        for choices, field in zip(sequence, operands, strict=False):
            if field.plain.lower() in pattern_set(choices):
                continue
            if UNKNOWN in field.text and pattern_set(choices).may_contain(field.text):
                certain = False
                continue
            fits = False
            break
        if fits and certain:
            return True, True, operands[len(sequence) :]
        if fits:
            doubtful = operands[len(sequence) :]
    return (False, False, ()) if doubtful is None else (True, False, doubtful)


def _word(words: tuple[str, ...], operands: tuple[Field, ...]) -> tuple[bool, bool]:
    accepted = pattern_set(words)
    if any(_names_one(field, accepted) for field in operands):
        return True, True
    return any(field.text.startswith(UNKNOWN) for field in operands), False


def _names_one(field: Field, accepted: PatternSet) -> bool:
    """Whether an operand is one of the names, or a pattern for them (systemctl stop 'ss*')."""
    text = field.plain
    if text in accepted:
        return True
    return bool(_GLOB.search(text)) and accepted.may_contain(settle(activate(text)))


def _text(
    expressions: tuple[str, ...], call: Call, operands: tuple[Field, ...], *, unquoted: bool
) -> bool:
    """Whether one occurs in the arguments, or in those from the first operand on, or the input."""
    typed = "" if call.stdin is None or call.stdin.text is None else f"\n{call.stdin.text}"
    words = call.words
    start = next((i for i, f in enumerate(call.arguments) if operands and f is operands[0]), 0)
    if unquoted:
        if sum(len(word) for word in words) + len(typed) <= limits.MAX_SQL:
            words, typed = [statements(word) for word in words], statements(typed)
        elif may_change(typed) or any(may_change(word) for word in words):
            return True
    texts = {plain(" ".join(words[begin:])) + typed for begin in (0, start)}
    return any(_occurs(expression, text) for expression in expressions for text in texts)


def _occurs(expression: str, text: str) -> bool:
    """Search a long text piece by piece: an expression may take the square of what it looks at."""
    compiled = re.compile(expression, re.IGNORECASE)
    piece = limits.MAX_SEARCHED
    starts = range(0, max(len(text) - piece // 2, 1), piece // 2)
    return any(compiled.search(text, start, start + piece) for start in starts)


def _is_target(levels: tuple[Level, ...], field: Field, call: Call) -> bool:
    text = field.text.partition("=")[2] if "=/" in field.text else field.text
    return call.walk.place(text, call.state).level in levels
