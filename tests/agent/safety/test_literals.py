# SPDX-License-Identifier: MIT
"""Strings of script languages are found however they are written."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tibet_nc_agent.safety.commands.literals import canonical, content

LANGUAGES = ("perl", "ruby", "php", "javascript", "lua", "tcl", "julia", "r", "lisp")


@pytest.mark.parametrize(
    ("language", "program", "expected"),
    [
        ("perl", "print 'a b'", 'print "a b"'),
        ("perl", "print q(a (b) c).'d'", 'print "a (b) cd"'),
        ("perl", r"print q{a\}b}, 1", 'print "a\\\\}b", 1'),
        ("perl", "exec qw/rm -rf x/;", 'exec "rm", "-rf", "x";'),
        ("perl", "qx{a}; `b`", 'system "a"; system "b"'),
        ("perl", "print qq<a $b>, 'a $b'", 'print "a $b", "a \\$b"'),
        ("perl", "$q = %q; $h{q}", "$q = %q; $h{q}"),
        ("ruby", "p %q(a), %(b), %w[c d], %x!e!", 'p "a", "b", "c", "d", system "e"'),
        ("ruby", "p '$a', \"$a\"", 'p "\\$a", "$a"'),
        ("php", "echo 'a$b' . \"c$d\";", 'echo "a\\$bc$d";'),
        ("php", "`a`;", 'system "a";'),
        ("javascript", "x(`a` + 'b' + \"$c\")", 'x("ab\\$c")'),
        ("julia", 'run(`a`); "$x"', 'run(system "a"); "$x"'),
        ("lua", "f[[a]] f[==[b]]]==] f('c'..\"d\")", 'f"a" f"b]]" f("cd")'),
        ("lua", "t[1] t[[", "t[1] t[["),
        ("javascript", "t[[1]]", "t[[1]]"),
        ("r", r"f('a\tb\x41')", 'f("a\tbA")'),
        ("r", r"f(\" \')", r"f(\" \')"),
        ("tcl", "puts 'a", "puts 'a"),
        ("perl", "print q(a", 'print "a"'),
    ],
)
def test_each_way_of_quoting_is_written_as_one(language: str, program: str, expected: str) -> None:
    """Quotes of one's choice, lists of words, joined strings and escapes become plain strings."""
    assert canonical(language, program) == expected


@given(language=st.sampled_from(LANGUAGES), text=st.text(max_size=30))
def test_a_text_that_is_quoted_is_found_again(language: str, text: str) -> None:
    """Whatever is in a string in single quotes, it is the content of one canonical string."""
    text = text.translate({ord(mark): None for mark in "\0\ue000\ue001\ue002\ue003\ue004"})
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    assert content(canonical(language, f"'{escaped}'")) == text


PIECES = ("'a'", '"b"', "'", '"', " + ", ".", "q(", "%w[", "]", "[[", ")", "`", "\\", "$x", "\0")


@given(language=st.sampled_from(LANGUAGES), text=st.lists(st.sampled_from(PIECES)).map("".join))
@example(language="perl", text="'a' + \"b\"\0")
def test_any_text_has_a_canonical_form(language: str, text: str) -> None:
    """No program, however broken, is too much, or has a mark of ours left in it."""
    assert "\0" not in canonical(language, text)
