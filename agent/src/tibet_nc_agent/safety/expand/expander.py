# SPDX-License-Identifier: MIT
"""Expands words in the abstract state; what only a run would tell becomes a marked unknown."""

import re
from enum import Enum, auto
from typing import Protocol

from msgspec.structs import replace

from tibet_nc_agent.safety import limits
from tibet_nc_agent.safety.budget import Budget
from tibet_nc_agent.safety.expand.arithmetic import assigned, evaluate, evaluated
from tibet_nc_agent.safety.expand.braces import Atom, alternatives
from tibet_nc_agent.safety.expand.parameters import replaced, transform
from tibet_nc_agent.safety.expand.texts import as_document, as_prompt
from tibet_nc_agent.safety.grammar.nodes import (
    Arithmetic,
    ArrayLiteral,
    CommandSubstitution,
    ExtendedGlob,
    Literal,
    Parameter,
    Part,
    ProcessSubstitution,
    Sequence,
    Subscript,
    Word,
)
from tibet_nc_agent.safety.marks import UNKNOWN, activate, plain, settle, without_marks
from tibet_nc_agent.safety.state import State
from tibet_nc_agent.safety.values import COUNTED, TERMINAL, Field, Stream, Value, integer

_SPECIAL = re.compile(r"[{*?\[\]~]")
_TILDE = re.compile(r"~([A-Za-z0-9_.+-]*)(?=/|$)")
_BLANKS = re.compile(r"[ \t\n]+")
_SUBSCRIPTED = re.compile(r"\[([^\]]*)\]=(.*)", re.DOTALL)
_COUNTS = re.compile(r"\{-?\d+\.\.-?\d")
_CALCULATES = re.compile(r"\w\s*[-+*]")
_EXTENDED = re.compile(r"[?*+@!]\(")
_DEFAULTS = frozenset([":-", "-", ":=", "="])
_ALTERNATES = frozenset([":+", "+"])


class Mode(Enum):
    """How a run of text takes part in the building of fields."""

    UNQUOTED = auto()
    QUOTED = auto()
    SPLIT = auto()
    BREAK = auto()


class Programs(Protocol):
    """What the expander needs from the walk: running a list, and text as a program."""

    def capture(self, body: Sequence | None, state: State, stdin: Stream | None) -> Stream:
        """Walk a substitution, a process of its own, and return its output."""
        raise NotImplementedError

    def program(self, text: str, state: State, span: tuple[int, int]) -> Stream:
        """Walk text as a shell program."""
        raise NotImplementedError

    def doubt(self, reason: str, span: tuple[int, int]) -> None:
        """Report something that cannot be decided."""

    def assign(self, name: str, value: Value, field: Field, state: State) -> None:
        """Give a variable a value that a field holds."""


class _Builder:
    """Collects the runs of one word and how they taint it."""

    __slots__ = (
        "decoded",
        "downloaded",
        "elements",
        "producer",
        "quoted",
        "runs",
        "stream",
        "uncertain",
    )

    def __init__(self) -> None:
        self.runs: list[tuple[Mode, str]] = []
        self.quoted = self.downloaded = self.decoded = self.uncertain = False
        self.stream: Stream | None = None
        self.producer = ""
        self.elements: tuple[str, ...] | None = None


class Expander:
    """Expands words; `programs` walks the substitutions inside them."""

    def __init__(self, programs: Programs, budget: Budget) -> None:
        self._programs = programs
        self._budget = budget

    def fields(self, word: Word, state: State) -> list[Field]:
        """Return the fields that a word becomes as an argument."""
        if len(word.parts) == 1:
            part = word.parts[0]
            if isinstance(part, Literal):
                if part.quoted:
                    text = without_marks(part.text)
                    return [Field(text, word.start, word.end, quoted=True)]
                if not _SPECIAL.search(part.text):
                    return [Field(part.text, word.start, word.end)]
        fields: list[Field] = []
        words = alternatives(word.parts)
        for atoms in words:
            if len(words) > 1:
                self._budget.compute(limits.WORD_COST)
            fields.extend(self._expand(atoms, word, state, split=True))
        if len(words) > 1 and any(_is_range(part) for part in word.parts):
            return [replace(field, producer=COUNTED) for field in fields]
        return fields

    def single(self, word: Word, state: State) -> Field:
        """Return the one field of an assignment, a redirection target or a here-document."""
        fields = self._expand(list(word.parts), word, state, split=False)
        return fields[0] if fields else Field("", word.start, word.end)

    def array(
        self, words: tuple[Word, ...], state: State
    ) -> tuple[list[Field], tuple[str, ...] | None]:
        """Return what stands between the parentheses of an array, and its elements if known."""
        fields: list[Field] = []
        elsewhere = False
        for position, word in enumerate(words):
            whole = self.single(word, state) if _is_subscripted(word) else None
            found = _SUBSCRIPTED.fullmatch(whole.plain) if whole is not None else None
            if whole is None or found is None:
                fields.extend(self.fields(word, state))
            else:
                fields.append(whole.with_text(found.group(2)))
                elsewhere = elsewhere or found.group(1) != str(position)
        known = not elsewhere and not any(field.unknown for field in fields)
        return fields, tuple(field.plain for field in fields) if known else None

    def run_inside(self, parts: tuple[Part, ...], state: State) -> None:
        """Walk every substitution inside parts whose text does not matter."""
        for part in parts:
            match part:
                case CommandSubstitution() | ProcessSubstitution():
                    self._programs.capture(part.body, state, TERMINAL)
                case Parameter():
                    self.run_inside(part.inner, state)
                    self.run_inside(part.argument, state)
                case Arithmetic() | ExtendedGlob() | Subscript():
                    self.run_inside(part.parts, state)
                case ArrayLiteral():
                    for word in part.words:
                        self.fields(word, state)
                case Literal():
                    pass

    def arithmetic_text(self, parts: tuple[Part, ...], state: State) -> str:
        """Walk arithmetic and return its text, with expansions replaced by their values."""
        pieces: list[str] = []
        for part in parts:
            if isinstance(part, Literal):
                pieces.append(part.text)
                continue
            builder = _Builder()
            self._part(part, builder, state, split=False)
            pieces.extend(text for _, text in builder.runs)
        text = "".join(pieces)
        self._evaluated_names(text, state, parts)
        return text

    def _evaluated_names(self, text: str, state: State, parts: tuple[Part, ...]) -> None:
        """Walk what bash evaluates as arithmetic: it runs substitutions, and assigns."""
        for value in evaluated(text, state.value):
            if "$(" in value or "`" in value:
                span = (parts[0].start, parts[-1].end)
                self._programs.program(as_document(value), state.copy(), span)
            for name in assigned(value):
                state.calculate(name)

    # One word without braces

    def _expand(self, atoms: list[Atom], word: Word, state: State, *, split: bool) -> list[Field]:
        builder = _Builder()
        for index, atom in enumerate(atoms):
            if isinstance(atom, str):
                self._unquoted(atom, index, builder, state)
            elif isinstance(atom, Literal):
                if atom.quoted:
                    builder.quoted = True
                    builder.runs.append((Mode.QUOTED, without_marks(atom.text)))
                else:
                    self._unquoted(atom.text, index, builder, state)
            else:
                self._part(atom, builder, state, split=split)
        self._budget.compute(sum(len(text) + 1 for _, text in builder.runs))
        separators = state.value("IFS") if split else ""
        texts = _assemble(builder, separators if isinstance(separators, str) else " \t\n")
        return [
            Field(
                settle(text),
                word.start,
                word.end,
                builder.quoted,
                builder.downloaded,
                builder.decoded,
                builder.uncertain,
                builder.stream,
                builder.producer,
                builder.elements,
            )
            for text in texts
        ]

    def _unquoted(self, text: str, index: int, builder: _Builder, state: State) -> None:
        if index == 0 and text.startswith("~"):
            found = _TILDE.match(text)
            if found is not None:
                builder.runs.append((Mode.QUOTED, self._home_of(found.group(1), state)))
                text = text[found.end() :]
        if text:
            builder.runs.append((Mode.UNQUOTED, text))

    def _home_of(self, user: str, state: State) -> str:
        match user:
            case "":
                value = state.value("HOME")
                return value if isinstance(value, str) else UNKNOWN
            case "+":
                return state.cwd or UNKNOWN
            case "-":
                return UNKNOWN
            case "root":
                return "/root"
            case _:
                return f"/home/{user}"

    def _part(self, part: Part, builder: _Builder, state: State, *, split: bool) -> None:
        match part:
            case Parameter():
                self._parameter(part, builder, state, split=split)
            case CommandSubstitution():
                if part.body is None:
                    span = (part.start, part.end)
                    self._programs.doubt("text in backquotes that does not parse", span)
                output = self._programs.capture(part.body, state, TERMINAL)
                builder.downloaded |= output.downloaded
                builder.decoded |= output.decoded
                builder.producer = output.producer
                builder.quoted |= part.quoted
                self._output(output, builder, quoted=part.quoted, split=split)
            case Arithmetic():
                text = self.arithmetic_text(part.parts, state)
                value = evaluate(text, lambda name: integer(state.value(name)))
                builder.runs.append((Mode.QUOTED, UNKNOWN if value is None else str(value)))
                if _CALCULATES.search(text) or assigned(text):
                    builder.producer = builder.producer or COUNTED
            case ProcessSubstitution():
                stdin = Stream() if part.direction == ">" else TERMINAL
                output = self._programs.capture(part.body, state, stdin)
                builder.stream = output
                builder.downloaded |= output.downloaded
                builder.decoded |= output.decoded
                builder.runs.append((Mode.QUOTED, "/dev/fd/63"))
            case ExtendedGlob():
                self.run_inside(part.parts, state)
                builder.runs.append((Mode.UNQUOTED, "*"))
            case Subscript():
                self.run_inside(part.parts, state)
                builder.runs.append((Mode.QUOTED, "[]"))
            case ArrayLiteral():
                fields, builder.elements = self.array(part.words, state)
                builder.downloaded |= any(field.downloaded for field in fields)
                builder.decoded |= any(field.decoded for field in fields)
                if builder.elements is None:
                    texts = " ".join(field.plain for field in fields)
                    builder.runs.append((Mode.QUOTED, f"{UNKNOWN} {texts}"))
            case Literal():
                builder.runs.append((Mode.QUOTED, part.text))

    @staticmethod
    def _output(output: Stream, builder: _Builder, *, quoted: bool, split: bool) -> None:
        if output.text is None and output.roots and split and not quoted:
            for index, path in enumerate(output.found):
                if index:
                    builder.runs.append((Mode.BREAK, " "))
                builder.runs.append((Mode.QUOTED, path))
            return
        text = UNKNOWN if output.text is None else output.text.rstrip("\n")
        builder.runs.append((Mode.QUOTED if quoted else Mode.SPLIT, text))

    # Parameters

    def _parameter(self, part: Parameter, builder: _Builder, state: State, *, split: bool) -> None:
        self.run_inside(part.inner, state)
        if part.subscript:
            self._evaluated_names(part.subscript, state, part.inner)
        value, uncertain = self._parameter_value(part, state)
        builder.uncertain |= uncertain
        builder.quoted |= part.quoted
        name = f"${state.target(part.name)}"
        builder.downloaded |= name in state.downloaded
        builder.decoded |= name in state.decoded
        if name[1:] in state.counted and not part.operator:
            builder.producer = builder.producer or COUNTED
        mode = Mode.QUOTED if part.quoted else Mode.SPLIT
        if isinstance(value, tuple):
            for index, element in enumerate(value):
                if index:
                    builder.runs.append((Mode.BREAK if split else Mode.QUOTED, " "))
                builder.runs.append((mode, element))
        else:
            builder.runs.append((mode, UNKNOWN if value is None else value))

    def _parameter_value(self, part: Parameter, state: State) -> tuple[Value, bool]:
        """Return the value, and whether it is a default that may not be used."""
        elements = value = state.value(part.name, part.subscript)
        if "*" in (part.name, part.subscript) and "IFS" in state.variables:
            value = None  # joined with what isn't looked at here
        if part.length:
            return (str(len(value)) if isinstance(value, str) else None), False
        operator = part.operator
        if part.indirect:
            value = self._indirect(part, value, state)
        if not operator:
            return value, False
        if operator in _DEFAULTS:
            return self._default(part, value, state)
        if operator in _ALTERNATES:
            text = self._argument(part, state)
            return ("", False) if value == "" else (text, value is None)
        if operator in (":?", "?"):
            self.run_inside(part.argument, state)
            return value, False
        if operator[0] == "/":
            pattern, replacement = self._halves(part, state)
            if not isinstance(value, str) or self._reads_otherwise(operator, pattern, state):
                return None, False
            return replaced(operator, value, pattern, replacement), False
        argument = self._argument(part, state)
        if operator == ":":
            self._evaluated_names(plain(argument), state, part.argument)
        if operator == "@" and plain(argument) == "P":
            self._prompt(value if part.indirect else elements, part, state)
            return None, False
        if isinstance(value, tuple):
            return (value if operator == ":" and argument.strip() == "0" else None), False
        if value is None or self._reads_otherwise(operator, argument, state):
            return None, False
        return transform(operator, value, argument), False

    def _indirect(self, part: Parameter, value: Value, state: State) -> Value:
        """Return the value of the variable that the value of another one names."""
        names = part.operator == "*" or (part.operator == "@" and not part.argument)
        is_reference = "n" in state.attributes.get(part.name, "")  # of which it is the name
        if names or is_reference or not isinstance(value, str) or not value or UNKNOWN in value:
            return None
        name, _, subscript = value.partition("[")
        return state.value(name, subscript.rstrip("]"))

    @staticmethod
    def _reads_otherwise(operator: str, pattern: str, state: State) -> bool:
        """Whether a setting of the shell makes another pattern of this one."""
        if operator[0] == "/" and "nocasematch" in state.settings:
            return True
        return "extglob" in state.settings and _EXTENDED.search(plain(pattern)) is not None

    def _default(self, part: Parameter, value: Value, state: State) -> tuple[Value, bool]:
        operator = part.operator
        text = self._argument(part, state)
        if isinstance(value, tuple) or value:
            return value, False
        if "=" in operator:
            certain = operator == ":=" or part.name not in state.variables
            name = f"{part.name}[]" if part.subscript else part.name
            field = Field(text, part.start, part.end)
            given = text if certain else None
            self._programs.assign(name, given, field, state)
        return text, value is None or operator in ("-", "=")  # empty, or not set at all

    def _halves(self, part: Parameter, state: State) -> tuple[str, str]:
        """Return what stands before and behind the first `/` that no quotes hide."""
        for index, piece in enumerate(part.argument):
            if isinstance(piece, Literal) and not piece.quoted and "/" in piece.text:
                before, _, behind = piece.text.partition("/")
                halves = (
                    (*part.argument[:index], Literal(before, False, piece.start, piece.end)),
                    (Literal(behind, False, piece.start, piece.end), *part.argument[index + 1 :]),
                )
                break
        else:
            halves = (part.argument, ())
        pattern, replacement = (
            self.single(Word(parts, part.start, part.end), state).text for parts in halves
        )
        return pattern, replacement

    def _argument(self, part: Parameter, state: State) -> str:
        if not part.argument:
            return ""
        return self.single(Word(part.argument, part.start, part.end), state).text

    def _prompt(self, value: Value, part: Parameter, state: State) -> None:
        """`${name@P}` expands the value like a prompt, which runs substitutions in it."""
        span = (part.start, part.end)
        for text in value if isinstance(value, tuple) else (value,):
            if text is None or UNKNOWN in text:
                reason = "a value that is not in the command is expanded as a prompt"
                self._programs.doubt(reason, span)
            if text is not None:
                self._programs.program(as_prompt(text), state.copy(), span)


def _is_range(part: Part) -> bool:
    return isinstance(part, Literal) and not part.quoted and _COUNTS.search(part.text) is not None


def _is_subscripted(word: Word) -> bool:
    first = word.parts[0] if word.parts else None
    return isinstance(first, Literal) and not first.quoted and first.text.startswith("[")


def _assemble(builder: _Builder, separators: str) -> list[str]:
    """Build fields from runs: only unquoted expansions are split."""
    fields: list[str] = []
    current: list[str] = []
    present = False
    for mode, text in builder.runs:
        if mode is Mode.QUOTED:
            current.append(text)
            present = True
        elif mode is Mode.UNQUOTED:
            current.append(activate(text))
            present = True
        elif mode is Mode.BREAK:
            fields.append("".join(current))
            current, present = [], False
        else:
            for index, piece in enumerate(_split(text, separators)):
                if index and present:
                    fields.append("".join(current))
                    current, present = [], False
                if piece:
                    current.append(activate(piece))
                    present = True
    if present or (builder.quoted and not fields):
        fields.append("".join(current))
    return fields


def _split(text: str, separators: str) -> list[str]:
    if not separators:
        return [text]
    if separators == " \t\n":
        return _BLANKS.split(text)
    return re.split(f"[{re.escape(separators)}]+", text)
