# SPDX-License-Identifier: MIT
"""Lists, pipelines and simple commands."""

import re

from tibet_nc_agent.safety.grammar.compound import RESERVED, CompoundParser
from tibet_nc_agent.safety.grammar.errors import Fault
from tibet_nc_agent.safety.grammar.nodes import (
    ArrayLiteral,
    Assignment,
    Command,
    Pipeline,
    Redirection,
    Sequence,
    SimpleCommand,
    Word,
)
from tibet_nc_agent.safety.grammar.scanner import META, Place
from tibet_nc_agent.safety.grammar.words import WordMode

_RESERVED_WORD = re.compile(r"[a-z]+|\{|\}|!|\[\[")
_CLOSERS = frozenset(["then", "else", "elif", "fi", "do", "done", "esac", "}"])
_END_OF_PIPELINE = frozenset(["", "\n", ";", "&", "|", ")"])
_EMPTY_PARENTHESES = re.compile(r"\([ \t]*\)")
_DECLARATIONS = frozenset(["declare", "typeset", "local", "export", "readonly", "alias"])


class Parser(CompoundParser):
    """The whole grammar."""

    def nested(self, text: str, place: Place) -> "Parser":
        """Return a parser for text inside this one, one level deeper already counted."""
        inner = Parser(text, budget=self.budget, depth=self.depth, place=place)
        inner.doubts = self.doubts
        return inner

    def program(self) -> Sequence:
        """Read the whole text."""
        body = self.sequence()
        self.skip_newlines()
        if self.position < self.length:
            self.fail(f"unexpected {self.text[self.position]!r}", Fault.SYNTAX)
        for document in self.pending:
            document.body = Word((), *self.place.span(self.length, self.length))
            self.doubts.append(
                (
                    f"a here-document without its end {document.delimiter}",
                    *self.place.span(0, self.length),
                )
            )
        return body

    def reserved_word(self) -> str:
        """Return the reserved word that begins here, or ""."""
        self.peek()
        found = _RESERVED_WORD.match(self.text, self.position)
        if found is None or found.group() not in RESERVED:
            return ""
        end = found.end()
        while self.text.startswith("\\\n", end):
            end += 2
        if end >= self.length or self.text[end] in META:
            return found.group()
        return ""

    def sequence(self, *, required: bool = False) -> Sequence:
        """Read commands up to a token that ends a list, which is left."""
        self.skip_newlines()
        start = self.position
        items: list[tuple[Pipeline, str]] = []
        while True:
            character = self.blanks()
            if character in ("", ")") or self._ends_case_item(character):
                break
            if character in ";&|" and not self._redirects_both(character):
                self.fail(f"unexpected {character}")
            if self.reserved_word() in _CLOSERS:
                break
            pipeline = self.pipeline()
            operator = self._list_operator()
            items.append((pipeline, operator))
            if operator == "":
                break
            if operator in ("&&", "||"):
                self.skip_newlines()
                character = self.blanks()
                if self._ends_pipeline(character) or self.reserved_word() in _CLOSERS:
                    self.fail(f"nothing after {operator}")
            elif operator == "\n" or self.blanks() == "\n":
                self.skip_newlines()
        if required and not items:
            self.fail("an empty list of commands")
        return Sequence(tuple(items), *self.place.span(start, self.position))

    def _redirects_both(self, character: str) -> bool:
        """`&>file` and `&>>file` begin a command."""
        return character == "&" and self.peek(1) == ">"

    def _ends_case_item(self, character: str) -> bool:
        return character == ";" and self.peek(1) in (";", "&")

    def _list_operator(self) -> str:
        character = self.blanks()
        following = self.peek(1) if character in ("&", "|", ";") else ""
        if character in ("&", "|") and following == character:
            self.advance(2)
            return character * 2
        if character == "&":
            self.advance()
            return "&"
        if character == ";" and following not in (";", "&"):
            self.advance()
            return ";"
        return "\n" if character == "\n" else ""

    def pipeline(self) -> Pipeline:
        """Read `! time command | command`."""
        self.blanks()
        start = self.position
        self.budget.token()
        self.enter()
        prefixed = self._pipeline_prefixes()
        commands: list[Command] = []
        if not (prefixed and self._ends_pipeline(self.blanks())):
            commands.append(self.command())
        elif self.peek() not in ("", "\n", ";") or self._ends_case_item(self.peek()):
            self.fail(f"unexpected {self.peek()}")
        while self.blanks() == "|" and self.peek(1) != "|":
            self.advance(2 if self.peek(1) == "&" else 1)
            self.skip_newlines()
            if self._ends_pipeline(self.blanks()):
                self.fail("nothing after |")
            if self.reserved_word() == "!":
                self.fail("unexpected !")
            commands.append(self.command(after_pipe=True))
        self.leave()
        return Pipeline(tuple(commands), *self.place.span(start, self.position))

    def _ends_pipeline(self, character: str) -> bool:
        return character in _END_OF_PIPELINE and not self._redirects_both(character)

    def _pipeline_prefixes(self) -> bool:
        prefixed = False
        while True:
            reserved = self.reserved_word()
            if reserved == "!":
                self.advance()
            elif reserved == "time":
                self.advance(4)
                self.blanks()
                while self.text.startswith(("-p", "--"), self.position) and (
                    self.text[self.position + 2 : self.position + 3] in ("", " ", "\t", "\n", ";")
                ):
                    self.position += 2
                    self.blanks()
            else:
                return prefixed
            prefixed = True
            self.blanks()

    def command(self, *, after_pipe: bool = False) -> Command:
        """Read one command; `time` behind a `|` is a program like any other."""
        character = self.blanks()
        if character == "(":
            return self.parenthesis_command()
        if self.text.startswith("]]", self.position) and self.peek(2) in ("", *META):
            self.fail("unexpected ]]")
        reserved = self.reserved_word()
        if reserved and not (after_pipe and reserved == "time"):
            return self.compound(reserved)
        return self._simple_command()

    def _simple_command(self) -> Command:
        start = self.position
        assignments: list[Assignment] = []
        words: list[Word] = []
        redirections: list[Redirection] = []
        declares = False
        while True:
            character = self.blanks()
            if character in ("", "\n", ";", "|", ")"):
                break
            if character in "&<>0123456789{":
                if character == "&" and self.peek(1) != ">":
                    break
                redirection = self.redirection()
                if redirection is not None:
                    redirections.append(redirection)
                    continue
            if character == "(":
                if len(words) == 1 and not assignments and not redirections:
                    return self._function(start, words[0])
                self.fail("unexpected (")
            word = self.word(WordMode.NORMAL if words else WordMode.FIRST)
            if not word.parts:
                self.fail(f"unexpected {character}")
            if not words or declares:
                assignment = self.assignment(word)
                if assignment is not None and not words:
                    assignments.append(assignment)
                    continue
                if assignment is not None and isinstance(assignment.value, tuple):
                    array = ArrayLiteral(assignment.value, assignment.start, assignment.end)
                    word = Word((*word.parts, array), word.start, assignment.end)
            words.append(word)
            if len(words) == 1:
                declares = word.plain in _DECLARATIONS
        if not (assignments or words or redirections):
            self.fail(f"unexpected {self.peek() or 'end'}")
        span = self.place.span(start, self.position)
        return SimpleCommand(tuple(assignments), tuple(words), tuple(redirections), *span)

    def _function(self, start: int, name: Word) -> Command:
        if _EMPTY_PARENTHESES.match(self.text, self.position) is None:
            self.fail("unexpected (")
        self.advance()
        self.blanks()
        self.advance()
        return self.function_body(start, name.plain or self.text[start : self.position])
