# SPDX-License-Identifier: MIT
"""Words, assignments and redirections."""

import re
from enum import Enum, auto

from tibet_nc_agent.safety.budget import Budget
from tibet_nc_agent.safety.grammar.expansions import ExpansionLexer, LiteralBuffer
from tibet_nc_agent.safety.grammar.nodes import (
    Assignment,
    ExtendedGlob,
    HereDocument,
    Literal,
    Part,
    Redirection,
    Subscript,
    Word,
)
from tibet_nc_agent.safety.grammar.scanner import META, NAME, Place

_PLAIN_RUN = re.compile(r"""[^ \t\n|&;()<>'"\\$`\[]+""")
_EMPTY_LINES = re.compile(r"[ \t\n]*")
_REDIRECTION = re.compile(
    r"(?:0*([0-9]+)|(\{[A-Za-z_][A-Za-z0-9_]*\}))?(&>>|&>|<<<|<<-|<<|<>|<&|>>|>&|>\||<|>)"
)
_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(\+?=)")
_SPECIAL = re.compile(r"[\s|&;()<>'\"\\$`]")
_ASSIGNMENT_TAIL = re.compile(r"\+?=")
_QUOTE = re.compile(r"['\"]|\\(.)", re.DOTALL)
_NO_TARGET = frozenset(["", "\n", ";", "|", "&", ")"])


class WordMode(Enum):
    """What surrounds a word and changes which characters end it."""

    NORMAL = auto()
    FIRST = auto()  # where an assignment may stand, so that `name[…]` is a subscript
    PATTERN = auto()  # right of `==` in [[ ]], where extended globs are always on
    REGULAR_EXPRESSION = auto()  # right of `=~` in [[ ]]


_SUBSCRIPTED = frozenset([WordMode.NORMAL, WordMode.FIRST])


class WordLexer(ExpansionLexer):
    """Reads words; notes what other bash settings would read differently."""

    def __init__(self, text: str, *, budget: Budget, depth: int, place: Place) -> None:
        super().__init__(text, budget=budget, depth=depth, place=place)
        self.pending: list[HereDocument] = []
        self.doubts: list[tuple[str, int, int]] = []

    def blanks(self) -> str:
        """Skip blanks and a comment; return the next character."""
        while True:
            character = self.peek()
            if character in (" ", "\t"):
                self.position += 1
            elif character == "#":
                end = self.text.find("\n", self.position)
                self.position = self.length if end < 0 else end
            else:
                return character

    def skip_newlines(self) -> None:
        """Skip blanks, comments and newlines, reading here-documents that wait for one."""
        while self.blanks() == "\n":
            self.newline()

    def newline(self) -> None:
        """Step over a newline; the bodies of pending here-documents follow it."""
        self.position += 1
        if self.pending:
            waiting, self.pending = self.pending, []
            for document in waiting:
                self._read_document(document)
        empty = _EMPTY_LINES.match(self.text, self.position)
        if empty is not None:
            self.position = empty.end()

    def word(self, mode: WordMode = WordMode.NORMAL) -> Word:
        """Read one word; it has no parts if none begins here."""
        self.peek()
        self.budget.token()
        start, text = self.position, self.text
        buffer = LiteralBuffer(self, quoted=False)
        while True:
            run = _PLAIN_RUN.match(text, self.position)
            if run is not None:
                buffer.add(run.group())
                self.position = run.end()
                continue
            character = self.peek()
            if character == "":
                break
            if character in META:
                if not self._meta_inside_word(character, mode, buffer):
                    break
            elif character in "'\"\\":
                self._quoted_piece(character, buffer)
            elif character in "$`":
                self.expansion(buffer, quoted=False)
            elif character == "[" and mode in _SUBSCRIPTED and self._begins_subscript(buffer, mode):
                self._read_subscript(buffer)
            else:
                buffer.add(character)
                self.position += 1
        buffer.flush()
        return Word(tuple(buffer.parts), *self.place.span(start, self.position))

    def _meta_inside_word(self, character: str, mode: WordMode, buffer: LiteralBuffer) -> bool:
        """Read a construct that begins with a metacharacter; False if it ends the word."""
        if character in "<>" and self.peek(1) == "(":
            buffer.flush()
            buffer.parts.append(self.process_substitution())
            return True
        if mode is WordMode.REGULAR_EXPRESSION and character in "(|":
            if character == "|":
                buffer.add(character)
                self.position += 1
            else:
                self._bracketed_text(buffer, self.position + 1)
            return True
        if character == "(" and buffer.pieces and buffer.pieces[-1][-1] in "?*+@!":
            if mode is WordMode.FIRST and self._is_not_extended_glob(buffer):
                return False
            start = self.position
            self._bracketed_text(buffer, start + 1)
            if mode in _SUBSCRIPTED:
                span = self.place.span(start, self.position)
                self.doubts.append(("an extended glob, which bash refuses by default", *span))
            return True
        return False

    def _is_not_extended_glob(self, buffer: LiteralBuffer) -> bool:
        whole = "".join(buffer.pieces)
        return (whole == "!" and not buffer.parts) or self.peek(1) == ")"

    def _bracketed_text(self, buffer: LiteralBuffer, start: int) -> None:
        close = self.matching(start, "()")
        if close < 0:
            self.unterminated("(")
        buffer.flush()
        parts = self.inner_parts(start, close)
        buffer.parts.append(ExtendedGlob(parts, *self.place.span(start, close)))
        self.position = close + 1

    def _quoted_piece(self, quote: str, buffer: LiteralBuffer) -> None:
        buffer.flush()
        self.budget.token()
        start, text = self.position, self.text
        if quote == "\\":
            end = min(start + 2, self.length)
            content = text[start + 1 : end] or "\\"
            if end == start + 1:
                self.doubts.append(
                    (
                        "a backslash at the end, which joins the next line",
                        *self.place.span(start, end),
                    )
                )
            buffer.parts.append(self.literal(content, start, end))
            self.position = end
        elif quote == "'":
            close = text.find("'", start + 1)
            if close < 0:
                self.unterminated("'")
            self.position = close + 1
            buffer.parts.append(self.literal(text[start + 1 : close], start, close + 1))
        else:
            self.position += 1
            parts = self.double_quoted()
            self.position += 1
            buffer.parts.extend(parts or (self.literal("", start, self.position),))

    def _begins_subscript(self, buffer: LiteralBuffer, mode: WordMode) -> bool:
        """`name[…]=`: the subscript may hold blanks and expansions."""
        if buffer.parts or "[" in buffer.pieces or not NAME.fullmatch("".join(buffer.pieces)):
            return False
        close = self.matching(self.position + 1, "[]")
        if close < 0:
            if mode is WordMode.FIRST:
                self.unterminated("[")
            return False
        if _ASSIGNMENT_TAIL.match(self.text, close + 1) is not None:
            return True
        inside = self.text[self.position + 1 : close]
        return mode is WordMode.FIRST and _SPECIAL.search(inside) is not None

    def _read_subscript(self, buffer: LiteralBuffer) -> None:
        start = self.position
        close = self.matching(start + 1, "[]")
        buffer.flush()
        parts = self.inner_parts(start + 1, close)
        self.position = close + 1
        buffer.parts.append(Subscript(parts, *self.place.span(start, self.position)))

    # Assignments

    def assignment(self, word: Word) -> Assignment | None:
        """Return the assignment that a word is, with the array literal behind it; or None."""
        parts = word.parts
        if not parts:
            return None
        first = parts[0]
        if not isinstance(first, Literal) or first.quoted:
            return None
        subscript: tuple[Part, ...] | None = None
        whole = _ASSIGNMENT.match(first.text)
        if whole is not None:
            name, append = whole.group(1), whole.group(2) == "+="
            rest, following = first.text[whole.end() :], parts[1:]
        elif (
            len(parts) >= 3
            and isinstance(parts[1], Subscript)
            and isinstance(parts[2], Literal)
            and not parts[2].quoted
            and (tail := _ASSIGNMENT_TAIL.match(parts[2].text)) is not None
        ):
            name, append, subscript = first.text, tail.group() == "+=", parts[1].parts
            rest, following = parts[2].text[tail.end() :], parts[3:]
        else:
            return None
        if not rest and not following and self.peek() == "(":
            values = self._array_values()
            self._after_array()
            end = self.place.span(self.position, self.position)[1]
            return Assignment(name, values, append, subscript, word.start, end)
        kept = (Literal(rest, False, first.start, first.end), *following) if rest else following
        value = Word(kept, word.start, word.end)
        return Assignment(name, value, append, subscript, word.start, word.end)

    def _after_array(self) -> None:
        """Text right behind `name=(…)` belongs to the word, whatever bash makes of it."""
        start = self.position
        if self.peek() not in ("", *META):
            self.word()
            span = self.place.span(start, self.position)
            self.doubts.append(("text behind an array", *span))

    def _array_values(self) -> tuple[Word, ...]:
        self.advance()
        values: list[Word] = []
        while True:
            self.skip_newlines()
            character = self.peek()
            if character == ")":
                self.advance()
                return tuple(values)
            if character == "":
                self.unterminated("(")
            if character in ";&|(" or (character in "<>" and self.peek(1) != "("):
                self.fail(f"unexpected {character} in an array")
            values.append(self.word())

    # Redirections

    def redirection(self) -> Redirection | None:
        """Read a redirection if one begins here."""
        self.peek()
        start, text = self.position, self.text
        found = _REDIRECTION.match(text, start)
        if found is None:
            return None
        descriptor, operator = found.group(1) or found.group(2) or "", found.group(3)
        if operator.startswith("&") and descriptor:
            return None
        end = found.end()
        if operator in ("<", ">") and not descriptor and text.startswith("(", end):
            return None  # a process substitution
        self.position = end
        following = self.blanks()
        nested = _REDIRECTION.match(text, self.position)
        if nested is not None and (
            nested.group(2) or (nested.group(1) and operator not in (">&", "<&"))
        ):
            self.fail(f"unexpected {nested.group(1) or nested.group(2)}")
        if following in _NO_TARGET or (following in "<>" and self.peek(1) != "("):
            self.fail("a redirection without a target")
        begin = self.position
        closes = operator in (">&", "<&") and following == "-"
        target = self._hyphen() if closes else self.word()
        if not target.parts:
            self.fail(f"unexpected {following}")
        span = self.place.span(start, self.position)
        if operator not in ("<<", "<<-"):
            return Redirection(operator, descriptor, target, None, *span)
        written = self.text[begin : self.position]
        document = self._announce_document(target, written, strip_tabs=operator == "<<-")
        return Redirection(operator, descriptor, target, document, *span)

    def _hyphen(self) -> Word:
        """Read the hyphen that closes a descriptor: in `>&-x` the `x` is a word of its own."""
        self.advance()
        span = self.place.span(self.position - 1, self.position)
        return Word((Literal("-", False, *span),), *span)

    def _announce_document(self, target: Word, written: str, *, strip_tabs: bool) -> HereDocument:
        literals = [part for part in target.parts if isinstance(part, Literal)]
        if len(literals) == len(target.parts):
            delimiter = "".join(part.text for part in literals)
            quoted = any(part.quoted for part in literals)
        else:  # nothing is expanded in it
            delimiter = _QUOTE.sub(r"\1", written)
            quoted = delimiter != written
        document = HereDocument(delimiter, quoted, strip_tabs)
        self.pending.append(document)
        return document

    def _read_document(self, document: HereDocument) -> None:
        start, closed = self.position, False
        lines: list[str] = []
        verbatim = not document.strip_tabs
        while self.position < self.length:
            line, ended = self._document_line(document)
            if "\\\n" in line:
                verbatim = False
            if document.strip_tabs:
                line = line.lstrip("\t")
            if line == document.delimiter:
                closed = True
                break
            lines.append(line + "\n" if ended else line)
        if not closed:
            self.doubts.append(
                (f"a here-document without its end {document.delimiter}", *self._span_from(start))
            )
        body, span = "".join(lines), self._span_from(start)
        if document.quoted:
            parts: tuple[Part, ...] = (Literal(body, True, *span),)
        else:
            verbatim = verbatim and self.text.startswith(body, start)
            place = self.place.within(start) if verbatim else Place(fixed=span)
            parts = self.nested(body, place).double_quoted("", document=True)
        document.body = Word(parts, *span)

    def _span_from(self, start: int) -> tuple[int, int]:
        return self.place.span(start, min(self.position, self.length))

    def _document_line(self, document: HereDocument) -> tuple[str, bool]:
        """Return one line and whether a newline ended it; unquoted bodies join continued lines."""
        line = ""
        while True:
            end = self.text.find("\n", self.position)
            if end < 0:
                line += self.text[self.position :]
                self.position = self.length
                return line, False
            line += self.text[self.position : end]
            self.position = end + 1
            backslashes = len(line) - len(line.rstrip("\\"))
            if document.quoted or backslashes % 2 == 0:
                return line, True
            line = line[:-1]
