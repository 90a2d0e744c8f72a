# SPDX-License-Identifier: MIT
"""The syntax tree of the bash command language.

Facts:

* `start` and `end` are character offsets into the command as the operator typed it. A node inside a
  text whose characters no longer line up with the source (backquotes with escapes, a here-document
  with removed tabs) carries the span of the whole construct.
* Quotes and escapes are already removed: a word is a tuple of parts that say what bash will see,
  and whether the part was quoted (and so is neither split nor treated as a pattern).
"""

from enum import StrEnum

from msgspec import Struct


class Literal(Struct, frozen=True):
    """Text that stands for itself."""

    text: str
    quoted: bool
    start: int
    end: int


class Parameter(Struct, frozen=True):
    """`$name`, `${name}`, `${name[subscript]}` and `${name operator argument}`."""

    name: str
    operator: str
    argument: "tuple[Part, ...]"
    quoted: bool
    start: int
    end: int
    subscript: str = ""
    inner: "tuple[Part, ...]" = ()  # expansions inside the subscript
    indirect: bool = False
    length: bool = False


class CommandSubstitution(Struct, frozen=True):
    """`$(…)`, `` `…` `` or `${ …; }`; `body` is None if backquoted text does not parse."""

    body: "Sequence | None"
    quoted: bool
    start: int
    end: int


class ProcessSubstitution(Struct, frozen=True):
    """`<(…)` or `>(…)`."""

    direction: str
    body: "Sequence"
    start: int
    end: int


class Arithmetic(Struct, frozen=True):
    """`$((…))` or `$[…]`, as text in which expansions are parts."""

    parts: "tuple[Part, ...]"
    quoted: bool
    start: int
    end: int


class ExtendedGlob(Struct, frozen=True):
    """`@(…)` and its kind: any text, but expansions inside run."""

    parts: "tuple[Part, ...]"
    start: int
    end: int


class Subscript(Struct, frozen=True):
    """`[…]` of an assignment to an array element."""

    parts: "tuple[Part, ...]"
    start: int
    end: int


class ArrayLiteral(Struct, frozen=True):
    """`(…)` on the right of an assignment that is an argument: `declare a=(…)`."""

    words: "tuple[Word, ...]"
    start: int
    end: int


Part = (
    Literal
    | Parameter
    | CommandSubstitution
    | ProcessSubstitution
    | Arithmetic
    | ExtendedGlob
    | Subscript
    | ArrayLiteral
)


class Word(Struct, frozen=True):
    """One word before expansion."""

    parts: tuple[Part, ...]
    start: int
    end: int

    @property
    def plain(self) -> str | None:
        """The text of a word that is one unquoted literal (reserved words, function names)."""
        if len(self.parts) == 1:
            part = self.parts[0]
            if isinstance(part, Literal) and not part.quoted:
                return part.text
        return None


class Assignment(Struct, frozen=True):
    """`name=value`, `name+=value`, `name[subscript]=value`, `name=(values)`."""

    name: str
    value: Word | tuple[Word, ...]
    append: bool
    subscript: tuple[Part, ...] | None
    start: int
    end: int


class HereDocument(Struct):
    """A body that is read when the line has ended, so it is filled in later."""

    delimiter: str
    quoted: bool
    strip_tabs: bool
    body: Word | None = None


class Redirection(Struct, frozen=True):
    """`3>&1`, `<<EOF`, `&>file`: `target` is the delimiter's word for a here-document."""

    operator: str
    descriptor: str
    target: Word
    document: HereDocument | None
    start: int
    end: int


class SimpleCommand(Struct, frozen=True):
    """Assignments, words and redirections, each in the order of the source."""

    assignments: tuple[Assignment, ...]
    words: tuple[Word, ...]
    redirections: tuple[Redirection, ...]
    start: int
    end: int


class Pipeline(Struct, frozen=True):
    """One or more commands joined by `|`."""

    commands: "tuple[Command, ...]"
    start: int
    end: int


class Sequence(Struct, frozen=True):
    """Pipelines, each with the operator that follows it: `;`, `&`, `&&`, `||`, newline or none."""

    items: tuple[tuple[Pipeline, str], ...]
    start: int
    end: int


class Subshell(Struct, frozen=True):
    """`( … )`."""

    body: Sequence
    start: int
    end: int


class Group(Struct, frozen=True):
    """`{ …; }`."""

    body: Sequence
    start: int
    end: int


class If(Struct, frozen=True):
    """Conditions with their branches, and the branch of `else`."""

    branches: tuple[tuple[Sequence, Sequence], ...]
    otherwise: Sequence | None
    start: int
    end: int


class LoopKind(StrEnum):
    """How a conditional loop reads its condition."""

    WHILE = "while"
    UNTIL = "until"


class Loop(Struct, frozen=True):
    """`while` and `until`."""

    kind: LoopKind
    condition: Sequence
    body: Sequence
    start: int
    end: int


class ForEach(Struct, frozen=True):
    """`for name in words` (`words` is None without `in`) and `select`."""

    name: str
    words: tuple[Word, ...] | None
    interactive: bool
    body: Sequence
    start: int
    end: int


class ForArithmetic(Struct, frozen=True):
    """`for ((;;))`."""

    parts: tuple[Part, ...]
    body: Sequence
    start: int
    end: int


class Case(Struct, frozen=True):
    """`case word in pattern) … ;; esac`."""

    subject: Word
    items: tuple[tuple[tuple[Word, ...], Sequence], ...]
    start: int
    end: int


class Function(Struct, frozen=True):
    """A definition; nothing runs until the name is called."""

    name: str
    body: "Command"
    start: int
    end: int


class ArithmeticCommand(Struct, frozen=True):
    """`((…))`."""

    parts: tuple[Part, ...]
    start: int
    end: int


class Test(Struct, frozen=True):
    """`[[ … ]]`: only its words matter, since they are expanded."""

    words: tuple[Word, ...]
    start: int
    end: int


class Coprocess(Struct, frozen=True):
    """`coproc`; its descriptors are in an array with the name."""

    name: str
    body: "Command"
    start: int
    end: int


class Redirected(Struct, frozen=True):
    """A compound command with redirections of its own."""

    command: "Compound"
    redirections: tuple[Redirection, ...]
    start: int
    end: int


Compound = (
    Subshell
    | Group
    | If
    | Loop
    | ForEach
    | ForArithmetic
    | Case
    | Function
    | ArithmeticCommand
    | Test
    | Coprocess
)
Command = SimpleCommand | Compound | Redirected
