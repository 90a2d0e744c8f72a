# SPDX-License-Identifier: MIT
"""Compound commands: groups, conditions, loops, functions and tests."""

import re
from abc import abstractmethod

from tibet_nc_agent.safety.grammar.nodes import (
    Arithmetic,
    ArithmeticCommand,
    Case,
    Command,
    Compound,
    Coprocess,
    ForArithmetic,
    ForEach,
    Function,
    Group,
    If,
    Loop,
    LoopKind,
    Redirected,
    Redirection,
    Sequence,
    SimpleCommand,
    Subshell,
    Word,
)
from tibet_nc_agent.safety.grammar.nodes import Test as TestCommand
from tibet_nc_agent.safety.grammar.scanner import META
from tibet_nc_agent.safety.grammar.words import WordLexer, WordMode

RESERVED = frozenset(
    [
        "if",
        "then",
        "elif",
        "else",
        "fi",
        "do",
        "done",
        "case",
        "esac",
        "while",
        "until",
        "for",
        "select",
        "function",
        "{",
        "}",
        "!",
        "[[",
        "in",
        "time",
        "coproc",
    ]
)
_COMPOUND_WORDS = frozenset(["{", "[[", "case", "for", "if", "select", "until", "while"])
_EMPTY_PARENTHESES = re.compile(r"\([ \t]*\)")
_UNARY_TEST = re.compile(r"-[a-zA-Z]")
_COMPARES_NUMBERS = frozenset(["-eq", "-ne", "-lt", "-le", "-gt", "-ge"])
_BINARY_TEST = _COMPARES_NUMBERS | {"=", "==", "!=", "=~", "-nt", "-ot", "-ef"}


def _evaluated(word: Word) -> Word:
    """Return what a word is where bash evaluates it as arithmetic."""
    number = Arithmetic(word.parts, True, word.start, word.end)
    return Word((number,), word.start, word.end)


class CompoundParser(WordLexer):
    """Reads every command that is not a simple one."""

    @abstractmethod
    def reserved_word(self) -> str:
        """Return the reserved word that begins here, or ""."""

    @abstractmethod
    def command(self, *, after_pipe: bool = False) -> Command:
        """Read one command."""

    def compound(self, reserved: str) -> Command:
        """Read the compound command that begins with a reserved word."""
        self.enter()
        start = self.position
        self.advance(len(reserved))
        command: Compound
        match reserved:
            case "{":
                body = self.sequence(required=True)
                self._expect("}")
                command = Group(body, *self._span(start))
            case "[[":
                command = self._test(start)
            case "if":
                command = self._if(start)
            case "while" | "until":
                command = self._loop(start, LoopKind(reserved))
            case "for" | "select":
                command = self._for(start, interactive=reserved == "select")
            case "case":
                command = self._case(start)
            case "function":
                command = self._function_keyword(start)
            case "coproc":
                command = self._coprocess(start)
            case _:
                self.fail(f"unexpected {reserved}")
        self.leave()
        return self._with_redirections(command)

    def parenthesis_command(self) -> Command:
        """Read `((…))` or `( … )`."""
        start = self.position
        if self.peek(1) == "(":
            self.advance(2)
            inside = self.position
            close = self.matching(inside, "()")
            if close >= 0 and self.text.startswith(")", close + 1):
                parts = self.inner_parts(inside, close)
                self.position = close + 2
                return self._with_redirections(ArithmeticCommand(parts, *self._span(start)))
            self.position = start
            self.peek()
        self.advance()
        self.enter()
        body = self.sequence(required=True)
        self.leave()
        self.skip_newlines()
        if self.peek() != ")":
            self.fail("expected )")
        self.advance()
        return self._with_redirections(Subshell(body, *self._span(start)))

    def function_body(self, start: int, name: str) -> Function:
        """Read the compound command behind `name()`; its redirections belong to it."""
        self.skip_newlines()
        self.enter()
        body = self.command()
        self.leave()
        if isinstance(body, SimpleCommand):
            self.fail("a function body must be a compound command")
        return Function(name, body, *self._span(start))

    def _span(self, start: int) -> tuple[int, int]:
        return self.place.span(start, self.position)

    def _expect(self, reserved: str) -> None:
        self.skip_newlines()
        if self.reserved_word() != reserved:
            self.fail(f"expected {reserved}")
        self.advance(len(reserved))

    def _with_redirections(self, command: Compound) -> Command:
        redirections: list[Redirection] = []
        while True:
            self.blanks()
            redirection = self.redirection()
            if redirection is None:
                break
            redirections.append(redirection)
        if not redirections:
            return command
        span = (command.start, self.place.span(self.position, self.position)[1])
        return Redirected(command, tuple(redirections), *span)

    def _if(self, start: int) -> If:
        branches: list[tuple[Sequence, Sequence]] = []
        otherwise = None
        while True:
            condition = self.sequence(required=True)
            self._expect("then")
            branches.append((condition, self.sequence(required=True)))
            self.skip_newlines()
            following = self.reserved_word()
            if following == "elif":
                self.advance(4)
                continue
            if following == "else":
                self.advance(4)
                otherwise = self.sequence(required=True)
            self._expect("fi")
            return If(tuple(branches), otherwise, *self._span(start))

    def _loop(self, start: int, kind: LoopKind) -> Loop:
        condition = self.sequence(required=True)
        self._expect("do")
        body = self.sequence(required=True)
        self._expect("done")
        return Loop(kind, condition, body, *self._span(start))

    def _for(self, start: int, *, interactive: bool) -> ForEach | ForArithmetic:
        self.blanks()
        if not interactive and self.peek() == "(" and self.peek(1) == "(":
            return self._for_arithmetic(start)
        variable = self.word()
        if not variable.parts:
            self.fail("a loop without a variable")
        name = variable.plain or ""  # a bad name fails only when it runs
        words: list[Word] | None = None
        self.skip_newlines()
        if self.reserved_word() == "in":
            self.advance(2)
            words = self._loop_words()
        elif self.peek() == ";":
            self.advance()
        self.skip_newlines()
        body = self._loop_body()
        values = None if words is None else tuple(words)
        return ForEach(name, values, interactive, body, *self._span(start))

    def _loop_words(self) -> list[Word]:
        words: list[Word] = []
        while True:
            character = self.blanks()
            if character in ("", "\n", ";"):
                break
            if character in "&|()<>" and not (character in "<>" and self.peek(1) == "("):
                self.fail(f"unexpected {character}")
            words.append(self.word())
        if self.peek() == ";":
            self.advance()
        return words

    def _for_arithmetic(self, start: int) -> ForArithmetic:
        self.advance(2)
        inside = self.position
        close = self.matching(inside, "()")
        if close < 0 or not self.text.startswith(")", close + 1):
            self.fail("expected ))")
        parts = self.inner_parts(inside, close)
        if self.text[inside:close].count(";") != 2:
            self.fail("expected two ; in for ((")
        self.position = close + 2
        if self.blanks() == ";":
            self.advance()
        self.skip_newlines()
        return ForArithmetic(parts, self._loop_body(), *self._span(start))

    def _loop_body(self) -> Sequence:
        braces = self.reserved_word() == "{"
        self._expect("{" if braces else "do")
        body = self.sequence(required=True)
        self._expect("}" if braces else "done")
        return body

    def _case(self, start: int) -> Case:
        self.blanks()
        subject = self.word()
        if not subject.parts:
            self.fail("case without a word")
        self._expect("in")
        items: list[tuple[tuple[Word, ...], Sequence]] = []
        while True:
            self.skip_newlines()
            if self.reserved_word() == "esac":
                break
            patterns = self._case_patterns()
            body = self.sequence()
            items.append((patterns, body))
            self.skip_newlines()
            if self.peek() != ";":
                break
            self.advance()
            if self.peek() not in (";", "&"):
                self.fail("expected ;;")
            if self.peek() == ";" and self.peek(1) == "&":
                self.advance()
            self.advance()
        self._expect("esac")
        return Case(subject, tuple(items), *self._span(start))

    def _case_patterns(self) -> tuple[Word, ...]:
        if self.peek() == "(":
            self.advance()
        patterns: list[Word] = []
        while True:
            self.blanks()
            pattern = self.word()
            if not pattern.parts:
                self.fail("case without a pattern")
            patterns.append(pattern)
            if self.blanks() != "|":
                break
            self.advance()
        if self.peek() != ")":
            self.fail("expected ) in case")
        self.advance()
        return tuple(patterns)

    def _function_keyword(self, start: int) -> Function:
        self.blanks()
        begin = self.position
        word = self.word()
        if not word.parts:
            self.fail("a function without a name")
        name = word.plain or self.text[begin : self.position]
        self.blanks()
        empty = _EMPTY_PARENTHESES.match(self.text, self.position)
        if empty is not None:
            self.position = empty.end()
        return self.function_body(start, name)

    def _coprocess(self, start: int) -> Coprocess:
        self.blanks()
        name, before = "COPROC", self.position
        if self.reserved_word() == "coproc":
            self.fail("unexpected coproc")
        if self.peek() not in ("", "(", "{") and not self.reserved_word():
            word = self.word()
            self.blanks()
            if self.reserved_word() in RESERVED - _COMPOUND_WORDS - {"in"}:
                self.fail(f"unexpected {self.reserved_word()}")
            if word.parts and (self.peek() == "(" or self.reserved_word() in _COMPOUND_WORDS):
                name = word.plain or name
            else:
                self.position = before
        return Coprocess(name, self.command(), *self._span(start))

    # [[ … ]]

    def _test(self, start: int) -> TestCommand:
        words: list[Word] = []
        self._test_or(words)
        self.skip_newlines()
        if not self._at_test_end():
            self.fail("expected ]]")
        self.position += 2
        return TestCommand(tuple(words), *self._span(start))

    def _at_test_end(self) -> bool:
        end = self.position + 2
        return self.text.startswith("]]", self.position) and (
            end >= self.length or self.text[end] in META or self.text[end] == "\\"
        )

    def _test_or(self, words: list[Word]) -> None:
        while True:
            self._test_primary(words)
            self.skip_newlines()
            character = self.peek()
            if character not in ("&", "|"):
                return
            if self.peek(1) != character:
                self.fail(f"unexpected {character} in [[")
            self.advance(2)

    def _test_primary(self, words: list[Word]) -> None:
        self.skip_newlines()
        while self.peek() == "!" and self.peek(1) in (" ", "\t", "\n", "("):
            self.budget.token()
            self.advance()
            self.skip_newlines()
        character = self.peek()
        if character == "":
            self.unterminated("[[")
        if character == "(":
            self.enter()
            self.advance()
            self._test_or(words)
            self.skip_newlines()
            if self.peek() != ")":
                self.fail("expected ) in [[")
            self.advance()
            self.leave()
            return
        if self._at_test_end():
            self.fail("expected an operand in [[")
        first = self._test_word(words, WordMode.NORMAL)
        if self._at_test_operand_end():
            return
        if _UNARY_TEST.fullmatch(first.plain or "") and self._test_operator() == "":
            self._test_word(words, WordMode.NORMAL)
            return
        operator = self._test_operator()
        if operator == "":
            self.fail("expected an operator in [[")
        self.advance(len(operator))
        self.blanks()
        mode = WordMode.REGULAR_EXPRESSION if operator == "=~" else WordMode.PATTERN
        self._test_word(words, mode)
        if operator in _COMPARES_NUMBERS:
            words[-2:] = [_evaluated(word) for word in words[-2:]]

    def _test_word(self, words: list[Word], mode: WordMode) -> Word:
        word = self.word(mode)
        if not word.parts:
            self.fail("expected a word in [[")
        words.append(word)
        return word

    def _at_test_operand_end(self) -> bool:
        self.blanks()
        return self.peek() in ("", ")", "&", "|") or self._at_test_end()

    def _test_operator(self) -> str:
        """Return the binary operator that begins here, or ""."""
        if self.blanks() in ("<", ">") and self.peek(1) != "(":
            return self.peek()
        end = self.position
        while end < self.length and self.text[end] not in META:
            end += 1
        token = self.text[self.position : end]
        return token if token in _BINARY_TEST else ""
