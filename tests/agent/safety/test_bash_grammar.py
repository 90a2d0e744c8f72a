# SPDX-License-Identifier: MIT
"""The grammar against the shell itself: `bash -n` reads a text and runs nothing."""

import random
import subprocess

import pytest

from tests.agent.safety.corpora import commands
from tibet_nc_agent.safety import Decision, judge
from tibet_nc_agent.safety.budget import Budget
from tibet_nc_agent.safety.grammar import GrammarError, parse

VALID = [
    "!",
    "! ! ls",
    "! time ls",
    "time",
    "time -p",
    "time -p -- ls",
    "ls | time cat",
    "{ ls; } 2>&1 | cat",
    "3>x ls",
    "{x}>y ls",
    "ls |& cat",
    "ls &> x",
    "ls &>> x",
    "&>x ls",
    "ls && &>x",
    "2>&1>&2",
    "ls >&-x",
    "ls 2>& -x",
    "ls 03<&-x <&03",
    "ls >& x",
    "ls 2>&1-",
    "cat <<E\nx\nE",
    "cat <<-E\n\tx\n\tE",
    "cat <<'E F'\nx\nE F",
    "cat <<A <<B\na\nA\nb\nB",
    "echo $(cat <<E\nx\nE\n)",
    "cat <<E | sort\nx\nE",
    "x=( a [1]=b )",
    "a[1]=b",
    "a[$(ls) 1]=c",
    "a+=(b)",
    "export a=(1 2)",
    'echo "${x:-"y"}"',
    "echo \"${x:-'}'}\"",
    "echo ${x:-a'}'b}",
    "echo ${x/a b/c}",
    "echo ${#x} ${!x} ${x[@]} ${x[1]:2:3}",
    "echo ${x y}",
    "echo $'a\\'b'",
    'echo $"a"',
    "echo $((1+(2*3))) $[1+1]",
    "echo $( (ls) )",
    "echo $((ls) | cat)",
    "(( i++ )) && ls",
    "((ls) | cat)",
    "for i; do ls; done",
    "for i in a b; { ls; }",
    "for ((i=0;i<3;i++)); do ls; done",
    "for in in a; do ls; done",
    "select x in a; do :; done",
    "while a; do b; done < f > g",
    "until a\ndo b\ndone",
    "if a; then b; elif c; then d; else e; fi",
    "case x in esac",
    "case x in (a) ;; b|c) ls;; esac",
    "case x in a) ;& b) ;;& *) ls; esac",
    "case in in in) ls;; esac",
    "f() { ls; }",
    "f ( ) ( ls ) > x",
    "function f { ls; }",
    "function f () if a; then b; fi",
    "f'x'() { :; }",
    "coproc ls",
    "coproc X { ls; }",
    "[[ a ]]",
    "[[ -f x && ( a == b || ! c ) ]]",
    "[[ a =~ (x|y z) ]]",
    "[[ a < b ]]",
    "[[ a == @(x|y) ]]",
    "[[ a == b\n]]",
    "[[\n-f x\n&& b ]]",
    "ls <(a) >(b)",
    "echo a{b }c",
    "echo }",
    "a=1 if",
    "ls # c '",
    "ls\\\n -l",
    "re\\\nboot",
    "",
    "  \n\n ",
    "# only a comment",
    "let x=1",
    "echo a\\ b \\' \\\"",
    "`ls`",
    "`if`",
    "declare -A m=([a]=b)",
]
INVALID = [
    "&",
    "&& ls",
    "| ls",
    "ls |",
    "ls &&",
    "ls ||",
    "ls;;",
    "ls & & ls",
    "ls ; ; ls",
    "()",
    "( )",
    "{ }",
    "{ ls",
    "( ls",
    ") ls",
    "}",
    "]]",
    "then",
    "do",
    "done",
    "fi",
    "esac",
    "in",
    "if; then ls; fi",
    "if true; then fi",
    "if true; then ls",
    "while do done",
    "while a; do b",
    "for i in a; do",
    "for i in a; ls; done",
    "for ((;)); do a; done",
    "case x in a) ls",
    "case x in a ls;; esac",
    "f() ls",
    "f( { ls; }",
    "function { ls; }",
    "foo a=(1 2)",
    "a=1 b() { :; }",
    "echo a(b",
    "echo (a)",
    "echo @(a|b)",
    "ls <",
    "ls >",
    "ls <<<",
    "ls < > x",
    "> {x}>y",
    "> 2>&1",
    "echo $(",
    "echo $((1+",
    "echo $((1+1)",
    "echo ${",
    "echo ${x",
    'echo "',
    "echo '",
    "echo `",
    "echo $'",
    'echo "${x:-\'}"',
    "x=(a",
    "[[ a",
    "[[ a b ]]",
    "[[ a\n]]",
    "[[ ( a ]]",
    "[[ a == ]]",
    "! | ls",
    "time | ls",
    "! && ls",
    "time & ls",
    "ls | ! cat",
    "x[",
    "return[[ ",
    "coproc coproc ls",
    "cat <<",
    "ls ;& x",
    "{ ls; } x",
    "(ls) x",
]
PIECES = [
    "ls",
    "a",
    "b=1",
    "x=(1 2)",
    "a[1]=2",
    *([" "] * 5),
    "\n",
    ";",
    "&",
    "&&",
    "||",
    "|",
    "|&",
    "(",
    ")",
    "{ ",
    " }",
    "{",
    "}",
    "$(",
    "`",
    '"',
    "'",
    "\\",
    "$",
    "${x}",
    "${x:-",
    "$((",
    "))",
    "((",
    "<",
    ">",
    ">>",
    "<<E",
    "\nE\n",
    "<<<",
    "<&",
    ">&2",
    ">&-",
    "<&-",
    "2>&1",
    "&>f",
    "<(",
    ">(",
    "if ",
    "then ",
    "else ",
    "elif ",
    "fi",
    "for i in a b; do ",
    "for ((;;)); do ",
    "while ",
    "until ",
    "do ",
    "done",
    "case x in ",
    "esac",
    "a) ",
    ";;",
    ";&",
    "function f ",
    "f()",
    "!",
    " ! ",
    "time ",
    "coproc ",
    "[[ ",
    " ]]",
    "-f",
    "==",
    "=~",
    "#",
    "[",
    "]",
    "*",
    "?",
    "@(a|b)",
    "$'",
    '$"',
    "in ",
    "select x in y; do ",
    "~",
    "=",
    "+=",
    "$x",
    "$1",
    "1>",
    "{fd}>x ",
    "\t",
    "export y=(1)",
    "declare -a z=(q)",
    "<<-E\n\tx\n\tE\n",
    "$[1]",
    "-p",
    " -- ",
    "()",
]
SOUPS = 1_000


def bash_refuses(text: str) -> bool:
    """Whether bash reports anything but a warning about the text."""
    result = subprocess.run(
        ["bash", "-n"], input=text.encode("utf-8"), capture_output=True, check=False, timeout=10
    )
    messages = result.stderr.decode("utf-8", "replace").splitlines()
    return result.returncode != 0 or any("warning" not in message for message in messages)


def we_refuse(text: str) -> bool:
    """Whether our grammar raises."""
    try:
        parse(text, budget=Budget())
    except GrammarError:
        return True
    return False


@pytest.mark.parametrize("text", VALID)
def test_what_bash_reads_we_read(text: str) -> None:
    """Every hand-written form of the language parses here and in bash."""
    assert (bash_refuses(text), we_refuse(text)) == (False, False)


@pytest.mark.parametrize("text", INVALID)
def test_what_bash_refuses_is_never_allowed(text: str) -> None:
    """What bash can't parse isn't allowed; a syntax error is refused as such."""
    assert bash_refuses(text)
    assert judge(text).decision is not Decision.ALLOW


def test_corpus_agrees_with_bash() -> None:
    """Bash reads every line of both columns that we read, and refuses what we refuse."""
    lines = commands("dangerous") + commands("harmless")
    sample = random.Random(1).sample(lines, 300)
    assert [line for line in sample if bash_refuses(line) != we_refuse(line)] == []


def test_random_tokens_are_never_allowed_against_bash() -> None:
    """In a soup of shell tokens, nothing that bash refuses is allowed."""
    source = random.Random(20)
    wrong: list[str] = []
    for _ in range(SOUPS):
        text = "".join(source.choice(PIECES) for _ in range(source.randint(1, 9)))
        if judge(text).decision is Decision.ALLOW and bash_refuses(text):
            wrong.append(text)
    assert wrong == []
