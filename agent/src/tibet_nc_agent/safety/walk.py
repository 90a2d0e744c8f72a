# SPDX-License-Identifier: MIT
"""Walks the syntax tree in the order of execution and judges every command that would run."""

import re
from collections.abc import Iterator

from tibet_nc_agent.safety import limits
from tibet_nc_agent.safety.assignments import assign, assigned_names, prefixed
from tibet_nc_agent.safety.bombs import is_endless_spawner
from tibet_nc_agent.safety.budget import Budget, TooComplexError
from tibet_nc_agent.safety.call import Span
from tibet_nc_agent.safety.commands import run_command
from tibet_nc_agent.safety.commands.foreign import Foreign
from tibet_nc_agent.safety.commands.inline import judge_code
from tibet_nc_agent.safety.expand import Expander
from tibet_nc_agent.safety.grammar import GrammarError, parse
from tibet_nc_agent.safety.grammar.nodes import (
    ArithmeticCommand,
    Case,
    Command,
    Coprocess,
    ForArithmetic,
    ForEach,
    Function,
    Group,
    If,
    Loop,
    Pipeline,
    Redirected,
    Sequence,
    SimpleCommand,
    Subshell,
    Test,
)
from tibet_nc_agent.safety.marks import UNKNOWN, as_source
from tibet_nc_agent.safety.paths import Place
from tibet_nc_agent.safety.policy import Policy
from tibet_nc_agent.safety.redirections import (
    inputs,
    outputs,
    reading,
    redirect_shell,
    redirected,
    remember_descriptor,
    standing_input,
)
from tibet_nc_agent.safety.rules.model import Rules
from tibet_nc_agent.safety.state import Context, State
from tibet_nc_agent.safety.values import (
    COMMAND,
    EMPTY,
    TERMINAL,
    Field,
    Source,
    Stream,
    Value,
    either,
    joined,
    text_stream,
)
from tibet_nc_agent.safety.variables import judge_subscript, store
from tibet_nc_agent.safety.verdict import Decision, Family, Finding

_UNKNOWN_NAME = "__unknown"
_ZSH_SPLITS = re.compile(r"(\$\{?)[=~^]+(?=[A-Za-z_])")  # `$=x`: what bash does with `$x`
_COPROCESS = ("63", "60")  # what bash gives the first one; more of them are taken together
_NOT_THE_HOST = {
    Context.CONTAINER: "in a container",
    Context.PRIVATE_COPY: "a private copy",
    Context.MENTIONED: "if the program does that",
}


class Walker:
    """One judgement: collects findings and commands while it walks."""

    def __init__(self, policy: Policy, budget: Budget) -> None:
        self.policy = policy
        self.budget = budget
        self.expander = Expander(self, budget)
        self.findings: list[Finding] = []
        self.commands: list[tuple[str, ...]] = []
        self._seen: set[Finding] = set()
        self._depth = 0
        self._programs = 0

    @property
    def rules(self) -> Rules:
        """The rules of this host."""
        return self.policy.rules

    # What expander and handlers ask for

    def place(self, text: str, state: State) -> Place:
        """Return what a path names."""
        return self.policy.levels.place(text, state)

    def report(
        self,
        decision: Decision,
        family: Family,
        reason: str,
        span: Span,
        state: State,
        *,
        advice: str = "",
    ) -> None:
        """Add a finding; what is not sure to change the host needs no more than an approval."""
        kind = _NOT_THE_HOST.get(state.context)
        if kind and (family is not Family.PIPE_TO_SHELL or state.context is Context.MENTIONED):
            decision = Decision.NEEDS_APPROVAL
            reason = f"{reason} ({kind})"
        self._find(decision, family, reason, span, advice)

    def doubt(self, reason: str, span: Span, *, advice: str = "") -> None:
        """Report something that cannot be decided."""
        self._find(Decision.NEEDS_APPROVAL, Family.OPAQUE, reason, span, advice)

    def _find(
        self, decision: Decision, family: Family, reason: str, span: Span, advice: str
    ) -> None:
        bound = self.rules.at_least.get(family, decision)
        finding = Finding(
            decision=max(decision, bound, key=lambda each: each.rank),
            family=family,
            reason=reason,
            span=span,
            advice=advice or self.rules.families[family].advice,
        )
        if finding not in self._seen:
            self._seen.add(finding)
            self.findings.append(finding)

    def run(self, fields: list[Field], state: State, stdin: Stream | None) -> Stream:
        """Judge a command made of these fields and return its output."""
        self.budget.step()
        self._enter()
        output = run_command(self, fields, state, stdin)
        self.budget.output(len(output.text or ""))
        self._depth -= 1
        return output

    def capture(self, body: Sequence | None, state: State, stdin: Stream | None) -> Stream:
        """Walk a substitution, a process of its own, and return its output."""
        if body is None:
            return COMMAND
        inner = state.fork()
        inner.descriptors.pop("1", None)
        output = self.sequence(body, inner, stdin)
        if output.endless and body.items:
            span = (body.items[0][0].start, body.items[-1][0].end)
            reason = "a substitution keeps in memory what never ends"
            self.report(Decision.NEEDS_APPROVAL, Family.BOMB, reason, span, inner)
        return output

    def program(
        self,
        text: str,
        state: State,
        span: Span,
        stdin: Stream | None = None,
        *,
        lax: bool = False,
    ) -> Stream:
        """Judge text as a shell program in this state.

        With `lax` the text may be something else than a program (keys that are typed, an argument
        of an editor), so neither text that does not parse nor an unknown command is reported.
        """
        if self._programs >= limits.MAX_PROGRAMS:
            raise TooComplexError
        self.budget.compute(len(text))
        if "zsh" in state.settings:
            text = _ZSH_SPLITS.sub(r"\1", text)
        source = as_source(text).replace(UNKNOWN, f"${{{_UNKNOWN_NAME}}}")
        before = list(self.findings)
        try:
            parsed = parse(source, budget=self.budget, depth=self._depth, span=span)
        except GrammarError as error:
            if not lax:
                self.doubt(f"text that would run as a program: {error}", span)
            return COMMAND
        self._programs += 1
        state.variables[_UNKNOWN_NAME] = None
        output = self.sequence(parsed.body, state, stdin)
        self._programs -= 1
        if lax:
            kept = [f for f in self.findings if f in before or f.family is not Family.OPAQUE]
            self.findings[:] = kept
            self._seen = set(kept)
        return output

    def feed(self, stdin: Stream | None, state: State, span: Span, language: str = "sh") -> Stream:
        """Judge a stream that becomes the program of an interpreter."""
        if stdin is None or stdin.source is Source.TERMINAL:
            return COMMAND
        if stdin.downloaded:
            self.report(
                Decision.DENY,
                Family.PIPE_TO_SHELL,
                "a download is run as a program",
                span,
                state,
            )
            return Stream(downloaded=True)
        if stdin.decoded:
            self.report(
                Decision.DENY, Family.ENCODED, "decoded data is run as a program", span, state
            )
        if stdin.text is not None:
            if language != "sh":
                self.code(language, stdin.text, state, span, None)
                return COMMAND
            if UNKNOWN in stdin.text:
                self.doubt("a part of the program on the input is computed", span)
            return self.program(stdin.text, state.copy(), span)
        if stdin.source is not Source.FILE and not stdin.decoded:
            self.doubt("the output of a command is run as a program", span)
        return COMMAND

    def code(
        self, language: str, text: str, state: State, span: Span, stdin: Stream | None
    ) -> None:
        """Judge an inline program in another language."""
        if self._programs >= limits.MAX_PROGRAMS:
            raise TooComplexError
        self.budget.compute(min(max(len(text), limits.LEAST_CODE), limits.MAX_CODE))
        self._programs += 1
        judge_code(language, text, Foreign(self, state, span, stdin))
        self._programs -= 1

    def assign(self, name: str, value: Value, field: Field, state: State) -> None:
        """Give a variable a value that a field holds."""
        store(self, name, value, [field], state)

    def call_function(self, body: Command, state: State, stdin: Stream | None) -> Stream:
        """Walk the body of a function."""
        return self._command(body, state, stdin)

    # The tree

    def _enter(self) -> None:
        self._depth += 1
        if self._depth > limits.MAX_DEPTH:
            raise TooComplexError

    def sequence(self, node: Sequence, state: State, stdin: Stream | None) -> Stream:
        """Walk a list."""
        self._enter()
        streams: list[Stream] = []
        start = 0
        for end, (_, operator) in enumerate(node.items, start=1):
            if operator not in ("&&", "||"):
                where = state.fork() if operator == "&" else state
                streams.extend(self._and_or(node.items[start:end], where, stdin))
                self._run_traps(where)
                start = end
        self._depth -= 1
        return joined(streams) if streams else EMPTY

    def _run_traps(self, state: State) -> None:
        """Walk what `trap` has set: it may run behind every command."""
        if not state.traps:
            return
        traps, state.traps = state.traps, ()
        inner = state.branch()
        for text, span in traps:
            self.program(text, inner, span)
        inner.leaves = False
        state.merge([inner])
        state.traps = traps

    def _and_or(
        self, items: tuple[tuple[Pipeline, str], ...], state: State, stdin: Stream | None
    ) -> Iterator[Stream]:
        """Walk pipelines with && and || between them; only the first is sure to run."""
        reached = [state]  # and behind each && so far, where all before it has run
        before = ""
        for pipeline, operator in items:
            if before == "||":
                _settle(reached)
            if before:
                reached.append(reached[-1].branch())
            yield self._pipeline(pipeline, reached[-1], stdin)
            if before == "||":
                _settle(reached)
            before = operator
        _settle(reached)

    def _pipeline(self, node: Pipeline, state: State, stdin: Stream | None) -> Stream:
        self.budget.step()
        if len(node.commands) == 1:
            return self._command(node.commands[0], state, stdin)
        stream = first = stdin if stdin is not None else TERMINAL
        for command in node.commands[:-1]:
            where = state.fork()
            where.descriptors.pop("1", None)  # it writes to the pipe
            with reading(stream, first, where):
                stream = self._alone(command, where, stream)
        if not node.commands:
            return EMPTY
        if "lastpipe" in state.settings:
            with reading(stream, first, state):
                return self._command(node.commands[-1], state, stream)
        where = state.fork()
        with reading(stream, first, where):
            return self._alone(node.commands[-1], where, stream)

    def _alone(self, node: Command, state: State, stdin: Stream | None) -> Stream:
        """Walk what a shell of its own runs, which ends behind it."""
        output = self._command(node, state, stdin)
        self._run_traps(state)
        return output

    def _command(self, node: Command, state: State, stdin: Stream | None) -> Stream:
        match node:
            case SimpleCommand():
                return self._simple(node, state, stdin)
            case Redirected():
                source = inputs(self, node.redirections, state, stdin)
                with redirected(node.redirections, state), reading(source, stdin, state):
                    output = self._command(node.command, state, source)
                return outputs(self, node.redirections, output, state, (node.start, node.end))
            case Subshell():
                return self.sequence(node.body, state.fork(), stdin)
            case Group():
                return self.sequence(node.body, state, stdin)
            case Coprocess():
                return self._coprocess(node, state)
            case Loop():
                return self._loop(node, state, stdin)
            case ForEach():
                return self._for_each(node, state, stdin)
            case ForArithmetic():
                return self._for_arithmetic(node, state, stdin)
            case If():
                return self._if(node, state, stdin)
            case Case():
                return self._case(node, state, stdin)
            case Function():
                return self._define(node, state)
            case ArithmeticCommand():
                self.expander.arithmetic_text(node.parts, state)
                return EMPTY
            case Test():
                for word in node.words:
                    text = self.expander.single(word, state).plain
                    judge_subscript(self, text, state, (word.start, word.end))
                return EMPTY

    def _simple(self, node: SimpleCommand, state: State, stdin: Stream | None) -> Stream:
        if not node.words:
            for assignment in node.assignments:
                assign(self, assignment, state)
            read = inputs(self, node.redirections, state, stdin)
            output = EMPTY if not node.redirections else text_stream("")
            if any(redirection.operator == "<" for redirection in node.redirections):
                output = read or Stream()  # `$(<file)`
            return outputs(self, node.redirections, output, state, (node.start, node.end))
        fields: list[Field] = []
        for word in node.words:
            fields.extend(self.expander.fields(word, state))
        # An assignment before a command does not reach the expansion of its words.
        with prefixed(self, node.assignments, fields, state) as where:
            before = standing_input(state, stdin)
            source = inputs(self, node.redirections, state, before)
            with reading(source, before, where):
                output = self.run(fields, where, source) if fields else EMPTY
        if len(fields) == 1 and fields[0].text == "exec":
            opened = None if source is before else source
            redirect_shell(self, node.redirections, opened, state)
        return outputs(self, node.redirections, output, state, (node.start, node.end))

    def _coprocess(self, node: Coprocess, state: State) -> Stream:
        where, written = state.fork(), Stream()  # whatever is written to it
        with reading(written, None, where):
            output = self._alone(node.body, where, written)
        state.variables[node.name] = _COPROCESS
        remember_descriptor(_COPROCESS[0], output, state)
        return EMPTY

    def _loop(self, node: Loop, state: State, stdin: Stream | None) -> Stream:
        if is_endless_spawner(node):
            self._bomb("an endless loop that starts background jobs", node.start, node.end, state)
        self._forget(node.condition, state)
        self._forget(node.body, state)
        for _ in range(limits.MAX_LOOP_VALUES):
            before, lines = state.copy(), state.reading.total
            self.sequence(node.condition, state, stdin)
            inner = state.branch()
            output = self.sequence(node.body, inner, stdin)
            state.merge([inner])
            if before.knows(state) and lines == state.reading.total:
                return Stream(downloaded=output.downloaded, decoded=output.decoded)
        raise TooComplexError

    def _for_each(self, node: ForEach, state: State, stdin: Stream | None) -> Stream:
        values: list[Field] | None = None
        if node.words is not None:
            values = []
            for word in node.words:
                values.extend(self.expander.fields(word, state))
        self._forget(node.body, state)
        if values is None or node.interactive or len(values) > limits.MAX_LOOP_VALUES:
            state.variables[node.name] = None
            for value in values or ():
                self.assign(node.name, None, value, state)
            return self._perhaps(node.body, state, stdin)
        streams: list[Stream] = []
        before = state.copy()
        inner = before if all(value.unknown for value in values) else state
        for value in values:
            given = None if value.unknown else value.text
            self.assign(node.name, given, value, inner)
            streams.append(self.sequence(node.body, inner, stdin))
        if inner is before or state.leaves:
            state.merge([before])
        state.variables[node.name] = None
        return joined(streams) if streams else EMPTY

    def _for_arithmetic(self, node: ForArithmetic, state: State, stdin: Stream | None) -> Stream:
        self.expander.arithmetic_text(node.parts, state)
        if is_endless_spawner(node):
            self._bomb("an endless loop that starts background jobs", node.start, node.end, state)
        self._forget(node.body, state)
        return self._perhaps(node.body, state, stdin)

    def _perhaps(self, body: Sequence, state: State, stdin: Stream | None) -> Stream:
        """Walk a body that may run as well not at all."""
        inner = state.copy()
        output = self.sequence(body, inner, stdin)
        state.merge([inner])
        return output

    def _if(self, node: If, state: State, stdin: Stream | None) -> Stream:
        streams: list[Stream] = []
        branches: list[State] = []
        for condition, body in node.branches:
            self.sequence(condition, state, stdin)
            branches.append(state.branch())
            streams.append(self.sequence(body, branches[-1], stdin))
        if node.otherwise is not None:
            branches.append(state.branch())
            streams.append(self.sequence(node.otherwise, branches[-1], stdin))
        state.merge(branches)
        return either(streams)

    def _case(self, node: Case, state: State, stdin: Stream | None) -> Stream:
        self.expander.single(node.subject, state)
        streams: list[Stream] = []
        branches: list[State] = []
        for patterns, body in node.items:
            for pattern in patterns:
                self.expander.single(pattern, state)
            branches.append(state.branch())
            streams.append(self.sequence(body, branches[-1], stdin))
        state.merge(branches)
        return either(streams)

    def _define(self, node: Function, state: State) -> Stream:
        """Judge the body where it is defined, since a later message may call the function."""
        state.functions[node.name] = node.body
        # One that defines itself anew has another body when it is called then.
        state.active = tuple("" if name == node.name else name for name in state.active)
        inner = state.copy()
        inner.positional = {}
        inner.active = (*state.active, node.name)
        if not state.active:
            inner.conditional, inner.forked = 0, False
        self._command(node.body, inner, TERMINAL)
        return EMPTY

    def _forget(self, body: Sequence, state: State) -> None:
        """Make unknown what a loop assigns, as it is in the second round."""
        for name in assigned_names(body):
            state.variables[name] = None

    def _bomb(self, reason: str, start: int, end: int, state: State) -> None:
        self.report(Decision.DENY, Family.BOMB, reason, (start, end), state)


def _settle(reached: list[State]) -> None:
    """Merge what may or may not have run into the state of what did."""
    while len(reached) > 1:
        inner = reached.pop()
        reached[-1].merge([inner])
