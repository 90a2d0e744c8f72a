# SPDX-License-Identifier: MIT
"""`$` and backquotes: parameters, substitutions, arithmetic and `$'…'`."""

import re
from abc import abstractmethod

from tibet_nc_agent.safety.grammar.errors import Fault, GrammarError
from tibet_nc_agent.safety.grammar.nodes import (
    Arithmetic,
    CommandSubstitution,
    Literal,
    Parameter,
    Part,
    ProcessSubstitution,
    Sequence,
)
from tibet_nc_agent.safety.grammar.scanner import NAME, Place, Scanner

_ANSI_ESCAPE = re.compile(
    r"\\(?:x([0-9A-Fa-f]{1,2})|u([0-9A-Fa-f]{1,4})|U([0-9A-Fa-f]{1,8})|([0-7]{1,3})|c(.)"
    r"|x\{([0-9A-Fa-f]{1,8})\}?|(.))",
    re.DOTALL,
)
_ANSI_LETTERS = {
    "a": "\a",
    "b": "\b",
    "e": "\x1b",
    "E": "\x1b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "v": "\v",
    "\\": "\\",
    "'": "'",
    '"': '"',
    "?": "?",
}
_PARAMETER_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|[0-9]+|[@*#?$!-]")
_OPERATOR = re.compile(r":?[-=?+]|:|##?|%%?|//|/#|/%|/|\^\^?|,,?|@|\*|~~?")
_DOUBLE_QUOTED_RUN = re.compile(r'[^"\\$`]+')
_AFTER_LENGTH_SIGN = frozenset("}:-=+?%/#")
_AFTER_INDIRECTION = frozenset("}:-=+?%/")
_SPECIAL_PARAMETERS = frozenset("0123456789@*#?$!-")
_TAKES_PATTERN = frozenset("#%/^,")  # behind which quotes around `${…}` quote nothing
_LAST_CODE_POINT = 0x10FFFF


def decode_ansi(match: re.Match[str]) -> str:
    """Return the character that one escape of `$'…'` stands for."""
    for digits in match.group(1, 2, 3, 6):
        if digits is not None:
            value = int(digits, 16)
            return chr(value) if value <= _LAST_CODE_POINT else "?"
    octal, control, letter = match.group(4, 5, 7)
    if octal is not None:
        return chr(int(octal, 8) & 0xFF)
    if control is not None:
        return chr(ord(control) & 0x1F)
    return _ANSI_LETTERS.get(letter, "\\" + letter)


class LiteralBuffer:
    """Collects neighbouring characters into one literal part."""

    __slots__ = ("_quoted", "_scanner", "_start", "parts", "pieces")

    def __init__(self, scanner: Scanner, *, quoted: bool) -> None:
        self._scanner = scanner
        self._quoted = quoted
        self._start = 0
        self.pieces: list[str] = []
        self.parts: list[Part] = []

    def add(self, text: str) -> None:
        """Append text that begins at the scanner's position."""
        if not self.pieces:
            self._start = self._scanner.position
        self.pieces.append(text)

    def flush(self) -> None:
        """End the literal at the scanner's position."""
        if self.pieces:
            span = self._scanner.place.span(self._start, self._scanner.position)
            self.parts.append(Literal("".join(self.pieces), self._quoted, *span))
            self.pieces = []


class ExpansionLexer(Scanner):
    """Reads what stands after `$`, a backquote, `<(` or `>(`."""

    @abstractmethod
    def sequence(self, *, required: bool = False) -> Sequence:
        """Read commands up to a token that ends a list."""

    @abstractmethod
    def skip_newlines(self) -> None:
        """Skip blanks, comments and newlines, reading here-documents that wait for one."""

    @abstractmethod
    def nested(self, text: str, place: Place) -> "ExpansionLexer":
        """Return a parser of this kind for text inside this one."""

    @abstractmethod
    def program(self) -> Sequence:
        """Read the whole text."""

    def literal(self, text: str, start: int, end: int, *, quoted: bool = True) -> Literal:
        """Return a literal part."""
        return Literal(text, quoted, *self.place.span(start, end))

    def double_quoted(self, end: str = '"', *, document: bool = False) -> tuple[Part, ...]:
        """Read up to `end`, which is left; with "" the whole text (here-documents, arithmetic)."""
        buffer, text = LiteralBuffer(self, quoted=True), self.text
        escapable = '$`"\\' if end else "$`\\"
        while True:
            if self.position >= self.length:
                if not end:
                    break
                self.unterminated('"')
            run = _DOUBLE_QUOTED_RUN.match(text, self.position)
            if run is not None:
                buffer.add(run.group())
                self.position = run.end()
                continue
            character = text[self.position]
            if character == '"':
                if end:
                    break
                buffer.add(character)
                self.position += 1
            elif character == "\\":
                following = text[self.position + 1 : self.position + 2]
                if following == "\n":
                    self.position += 2
                elif following and following in escapable:
                    buffer.add(following)
                    self.position += 2
                else:
                    buffer.add("\\")
                    self.position += 1
            else:
                self.expansion(buffer, quoted=True, document=document)
        buffer.flush()
        return tuple(buffer.parts)

    def expansion(self, buffer: LiteralBuffer, *, quoted: bool, document: bool = False) -> None:
        """Read one `$…` or backquote at the position; a lone `$` is a literal."""
        self.budget.token()
        if self.text[self.position] == "`":
            buffer.flush()
            buffer.parts.append(self.backquoted(quoted=quoted, document=document))
            return
        start = self.position
        following = self.peek(1)
        if not quoted and following == "'":
            buffer.flush()
            buffer.parts.append(self._ansi_quoted())
        elif not quoted and following == '"':
            buffer.flush()
            self.advance(2)
            parts = self.double_quoted()
            self.position += 1
            buffer.parts.extend(parts or (self.literal("", start, self.position),))
        elif following and (following in "({[" or following in _SPECIAL_PARAMETERS):
            self._braced_or_special(following, buffer, quoted=quoted)
        elif following == "_" or (following.isascii() and following.isalpha()):
            buffer.flush()
            self.advance()
            name = NAME.match(self.text, self.position)
            self.position = name.end() if name else self.position + 1
            text = name.group() if name else ""
            span = self.place.span(start, self.position)
            buffer.parts.append(Parameter(text, "", (), quoted, *span))
        else:
            buffer.add("$")
            self.position = start + 1

    def _braced_or_special(self, following: str, buffer: LiteralBuffer, *, quoted: bool) -> None:
        start = self.position
        if following == "(":
            buffer.flush()
            buffer.parts.append(self._parenthesised(quoted=quoted))
        elif following == "{":
            buffer.flush()
            buffer.parts.append(self._braced(quoted=quoted))
        elif following == "[":
            close = self.matching(start + 2, "[]")
            if close < 0:
                self.unterminated("$[")
            buffer.flush()
            buffer.parts.append(self.arithmetic_text(start + 2, close, close + 1, quoted=quoted))
        else:
            buffer.flush()
            self.advance(2)
            span = self.place.span(start, self.position)
            buffer.parts.append(Parameter(following, "", (), quoted, *span))

    def inner_parts(self, start: int, end: int) -> tuple[Part, ...]:
        """Read a stretch of this text as if it stood in double quotes; the position stays."""
        self.enter()
        parts = self.nested(self.text[start:end], self.place.within(start)).double_quoted("")
        self.leave()
        return parts

    def arithmetic_text(self, start: int, end: int, after: int, *, quoted: bool) -> Arithmetic:
        """Read the text of an arithmetic expansion and go on behind it."""
        begin = self.position
        parts = self.inner_parts(start, end)
        self.position = after
        return Arithmetic(parts, quoted, *self.place.span(begin, after))

    def _parenthesised(self, *, quoted: bool) -> Part:
        start = self.position
        if self.peek(2) == "(":
            self.advance(3)
            inside = self.position
            close = self.matching(inside, "()")
            self.position = start
            if close >= 0 and self.text.startswith(")", close + 1):
                return self.arithmetic_text(inside, close, close + 2, quoted=quoted)
        self.advance(2)
        body = self._substituted_list()
        return CommandSubstitution(body, quoted, *self.place.span(start, self.position))

    def _substituted_list(self) -> Sequence:
        self.enter()
        body = self.sequence()
        self.leave()
        self.skip_newlines()
        if self.peek() != ")":
            self.fail("expected )")
        self.advance()
        return body

    def process_substitution(self) -> ProcessSubstitution:
        """Read `<(…)` or `>(…)`."""
        start, direction = self.position, self.peek()
        self.advance(2)
        body = self._substituted_list()
        return ProcessSubstitution(direction, body, *self.place.span(start, self.position))

    def backquoted(self, *, quoted: bool, document: bool) -> CommandSubstitution:
        """Read `` `…` ``; bash parses the text only when it runs it, so bad text is no error.

        In a here-document, around which there are no quotes, a backslash before one stays.
        """
        start, text = self.position, self.text
        pieces: list[str] = []
        self.position += 1
        escapable = '$`\\"' if quoted and not document else "$`\\"
        while True:
            if self.position >= self.length:
                self.unterminated("`")
            character = text[self.position]
            self.position += 1
            if character == "`":
                break
            following = text[self.position : self.position + 1]
            if character == "\\" and following and following in escapable:
                pieces.append(following)
                self.position += 1
            else:
                pieces.append(character)
        inside = "".join(pieces)
        span = self.place.span(start, self.position)
        verbatim = inside == text[start + 1 : self.position - 1]
        self.enter()
        body: Sequence | None
        try:
            place = self.place.within(start + 1) if verbatim else Place(fixed=span)
            body = self.nested(inside, place).program()
        except GrammarError as error:
            if error.fault is Fault.DEPTH:
                raise
            body = None
        self.leave()
        return CommandSubstitution(body, quoted, *span)

    def _ansi_quoted(self) -> Literal:
        start, text = self.position, self.text
        self.advance(2)
        begin = index = self.position
        while True:
            if index >= self.length:
                self.unterminated("$'")
            if text[index] == "'":
                break
            index += 2 if text[index] == "\\" else 1
        decoded = _ANSI_ESCAPE.sub(decode_ansi, text[begin:index])
        self.position = index + 1
        return self.literal(decoded.split("\0", 1)[0], start, self.position)

    def _braced(self, *, quoted: bool) -> Part:
        start, text = self.position, self.text
        self.advance(2)
        if text.startswith((" ", "\t", "\n", "|"), self.position):
            return self._brace_substitution(start, quoted=quoted)
        first, second = text[self.position : self.position + 1], self.peek(1)
        length = first == "#" and second not in _AFTER_LENGTH_SIGN and second != ""
        indirect = first == "!" and second not in _AFTER_INDIRECTION and second != ""
        if length or indirect:
            self.position += 1
        self.peek()
        found = _PARAMETER_NAME.match(text, self.position)
        name = found.group() if found else ""  # a bad substitution fails only when it runs
        if found:
            self.position = found.end()
        subscript = ""
        inner: tuple[Part, ...] = ()
        if self.peek() == "[":
            close = self.matching(self.position + 1, "[]")
            if close >= 0:
                subscript = text[self.position + 1 : close]
                inner = self.inner_parts(self.position + 1, close)
                self.position = close + 1
        operator = _OPERATOR.match(text, self.position)
        if operator:
            self.position = operator.end()
        self.enter()
        is_pattern = operator is not None and operator.group()[0] in _TAKES_PATTERN
        argument = self._argument(quoted=quoted and not is_pattern)
        self.leave()
        return Parameter(
            name,
            operator.group() if operator else "",
            argument,
            quoted,
            *self.place.span(start, self.position),
            subscript,
            inner,
            indirect,
            length,
        )

    def _brace_substitution(self, start: int, *, quoted: bool) -> CommandSubstitution:
        """Read `${ …; }`, which bash 5.3 runs in the current shell."""
        self.enter()
        self.position += 1
        body = self.sequence()
        self.leave()
        if self.peek() != "}":
            self.fail("expected }")
        self.advance()
        return CommandSubstitution(body, quoted, *self.place.span(start, self.position))

    def _argument(self, *, quoted: bool) -> tuple[Part, ...]:
        buffer, text = LiteralBuffer(self, quoted=quoted), self.text
        while True:
            if self.position >= self.length:
                self.unterminated("${")
            character = text[self.position]
            if character == "}":
                buffer.flush()
                self.position += 1
                return tuple(buffer.parts)
            if character == "\\":
                self._escaped_in_argument(buffer)
            elif character == "'":
                self._single_quotes_in_argument(buffer, quoted=quoted)
            elif character == '"':
                buffer.flush()
                self.position += 1
                buffer.parts.extend(self.double_quoted())
                self.position += 1
            elif character in "$`":
                self.expansion(buffer, quoted=quoted)
            elif character in "<>" and text.startswith("(", self.position + 1) and not quoted:
                buffer.flush()
                buffer.parts.append(self.process_substitution())
            else:
                buffer.add(character)
                self.position += 1

    def _escaped_in_argument(self, buffer: LiteralBuffer) -> None:
        start = self.position
        following = self.text[start + 1 : start + 2]
        if following != "\n":
            buffer.flush()
            buffer.parts.append(self.literal(following or "\\", start, start + 2))
        self.position += 2

    def _single_quotes_in_argument(self, buffer: LiteralBuffer, *, quoted: bool) -> None:
        """Inside double quotes the quotes must pair, but are literal and do not stop expansion."""
        start = self.position
        close = self.text.find("'", start + 1)
        if close < 0:
            self.unterminated("'")
        buffer.flush()
        if quoted:
            buffer.parts.append(self.literal("'", start, start + 1))
            buffer.parts.extend(self.inner_parts(start + 1, close))
            buffer.parts.append(self.literal("'", close, close + 1))
        else:
            buffer.parts.append(self.literal(self.text[start + 1 : close], start, close + 1))
        self.position = close + 1
