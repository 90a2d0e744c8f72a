# SPDX-License-Identifier: MIT
"""Any text gets a verdict, in bounded work."""

import random
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.agent.safety.corpora import commands
from tests.agent.safety.test_bash_grammar import PIECES
from tests.agent.safety.test_metamorphic import DENIED
from tibet_nc_agent.safety import Decision, Family, Verdict, judge, limits

FIXED = settings(derandomize=True, max_examples=300, deadline=None, database=None)
SEPARATORS = [";", "\n", "&", "&&", "||", "|"]
HOSTILE = {
    "parentheses": "(" * 10_000,
    "substitutions": "$(" * 10_000,
    "balanced substitutions": "$(echo " * 10_000 + ")" * 10_000,
    "backquotes": "`" * 10_001,
    "groups": "{ " * 10_000,
    "conditions": "if " * 10_000,
    "arithmetic": "((a " * 16_000,
    "arithmetic expansions": "$((a " * 12_000,
    "subscripts": "a[x " * 16_000,
    "parameters": "${a:-" * 10_000,
    "process substitutions": "<(" * 10_000,
    "tests": "[[ " + "( " * 5_000,
    "redirections": "<" * 60_000,
    "here-documents": "<<A " * 15_000 + "\nx\n",
    "words": "a " * 32_000,
    "one word": "a" * 65_000,
    "double quotes": '"a$b' * 16_000,
    "empty quotes": "''" * 32_000,
    "escapes": "\\a" * 32_000,
    "continued lines": "\\\n" * 32_000,
    "pipes": "a|" * 30_000 + "a",
    "lists": "a;" * 30_000,
    "newlines": "\n" * 65_000,
    "braces": "echo " + "{a,b}" * 39,
    "nested braces": "{a," * 38 + "}" * 38,
    "doubling values": "a=xxxxxxxx;" + "a=$a$a;" * 30,
    "doubling functions": "".join(f"f{i}(){{ f{i + 1}; f{i + 1}; }};" for i in range(30)) + "f0",
    "doubling aliases": "".join(f"alias a{i}='a{i + 1};a{i + 1}';" for i in range(30)) + "a0",
    "wrappers": "sudo " * 12_000 + "ls",
    "programs in programs": "eval " * 10_000 + "ls",
    "long loops": "for a in {1..20}; do for b in {1..20}; do for c in {1..20}; do ls; "
    + "done; done; done",
    "patterns": "rm -rf /" + "*a" * 5_000,
    "a pattern as a name": "/" + "*?" * 4_000,
    "python brackets": "python3 -c '" + "(" * 5_000 + "'",
    "python signs": "python3 -c '" + "-" * 5_000 + "1'",
    "perl calls": "perl -e '" + "open(F," * 800 + "'",
    "statements": "mysql -e '" + "delete from a " * 4_000 + "'",
    "arguments": "iptables " + "-A INPUT " * 6_000,
    "decoded data": "echo '" + "A" * 60_000 + "' | base64 -d | sh",
    "parents": "rm -rf " + "../" * 20_000,
    "open brackets": "[" * 30_000,
    "brackets in brackets": "rm " + "[[]]" * 9_000,
    "words of ranges": "echo " + "{1..64} " * 1_900,
    "options of aws": "aws " + "-o " * 60,
    "long options of aws": "aws " + "--x=y " * 60,
    "a long mode": "chmod -" + "r" * 60_000 + "! x",
    "letters of an option": "tar -" + "r" * 60_000 + "!",
    "a deep script": "bash " + "/a" * 30_000,
    "blanks of a slice": "x=a; echo ${x:" + " " * 15_000 + "x}",
    "rules of a firewall": "ipfw '" + "deny add " * 7_000 + "'",
    "a text that a rule searches": "kubectl " + "delete " * 1_900,
    "an array again and again": "a=(" + "b " * 1_500 + ");" + "echo ${a[@]};" * 200,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_is_answered_or_refused(name: str) -> None:
    """Deep nesting, long lists and doubling values end in a verdict, without an error inside."""
    verdict = judge(HOSTILE[name])
    assert not any("cannot be decided" in finding.reason for finding in verdict.findings)


GROWING = {
    "a filter": "echo aaaaaaaa" + " | sed s/a/aa/g" * 23 + " | sh",
    "one substitution": f"echo {'a' * 4_000} | sed s/a/{'b' * 16_000}/g | sh",
    "a file that is appended to itself": f"echo {'a' * 99} > f;" + "cat f >> f;" * 19 + "sh f",
    "a group": f"echo {'a' * 99} > f;" + "{ cat f; cat f; cat f; } > g; cat g > f;" * 12,
    "files in loops": "for i in {1..24}; do for j in {1..9}; do "
    + f"echo {'a' * 9_000} >> f; cat f >> g; done; done",
    "xargs": f"echo {'a' * 3_900} | xargs -I{{}} echo '{'{}' * 15_000}'",
    "parallel": f"parallel '{'{}' * 9_000}' ::: {'a' * 9_000}",
    "find": f"find /var/log/{'a' * 9_000} -exec echo '{'{}' * 9_000}' ';'",
    "printf": f"printf '{'a' * 30_000}%s' {'b ' * 1_900} | sh",
    "python": f"python3 -c 'a=\"{'a' * 99}\"\n{'a=a+a\n' * 20}'",
    "a parameter": f"x={'a' * 9_000}; echo ${{x//a/{'b' * 9_000}}}",
}


@pytest.mark.parametrize("name", GROWING)
def test_text_that_grows_does_not_fill_the_memory(name: str) -> None:
    """No line makes the stage keep more than some megabytes, however its output would grow."""
    judge("true")  # the rules are loaded once
    tracemalloc.start()
    try:
        judge(GROWING[name])
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 16 * 1024 * 1024


def test_more_than_the_limit_is_refused() -> None:
    """A command of more than 64 KiB is denied, whatever it says; bytes count, not characters."""
    assert Decision.ALLOW is judge("#" * limits.MAX_BYTES).decision
    for text in ("#" * (limits.MAX_BYTES + 1), "#" + "ä" * (limits.MAX_BYTES // 2)):
        worst = judge(text).worst
        assert worst is not None
        assert (worst.decision, worst.family) == (Decision.DENY, Family.TEXT)


@pytest.mark.parametrize(
    "text",
    [
        "ls\x00",
        "ls\x03",
        "ls\x1b[2K",
        "ls\r",
        "ls\x7f",
        "ls\x9b",
        "ls\ud800",
        "ls\ue000",
        "ls\uffff",
    ],
)
def test_control_characters_are_refused(text: str) -> None:
    """A terminal would obey these, so the text isn't what would run."""
    worst = judge(text).worst
    assert worst is not None
    assert (worst.decision, worst.family) == (Decision.DENY, Family.TEXT)
    assert worst.span == (2, 3)


@pytest.mark.parametrize("text", ["ls \u202e-l", "l\u200bs", "ls\u00a0-l", "ls\ufeff"])
def test_invisible_characters_need_approval(text: str) -> None:
    """What people read isn't what would run."""
    assert judge(text).decision is Decision.NEEDS_APPROVAL


@pytest.mark.parametrize("text", ["ls \\", "cat <<E\nx", "echo $(cat <<E)", "rm !(x)"])
def test_text_that_goes_on_needs_approval(text: str) -> None:
    """The next line, or a setting of the shell, would change what runs."""
    assert judge(text).decision is Decision.NEEDS_APPROVAL


@pytest.mark.parametrize("text", ["grüße", "echo '日本語'", "echo “quoted”", "echo 🙂"])
def test_other_languages_are_ordinary(text: str) -> None:
    """Letters, quotes and symbols of any language are allowed."""
    assert judge(text).decision is Decision.ALLOW


@FIXED
@given(st.text())
def test_any_text_has_a_verdict(text: str) -> None:
    """`judge` never raises and never finds an error of its own."""
    verdict = judge(text)
    assert isinstance(verdict, Verdict)
    assert not any("cannot be decided" in finding.reason for finding in verdict.findings)


@FIXED
@given(st.lists(st.sampled_from(PIECES), max_size=12))
def test_any_tokens_have_a_verdict(pieces: list[str]) -> None:
    """Neither do shell tokens in any order make it raise."""
    verdict = judge("".join(pieces))
    assert not any("cannot be decided" in finding.reason for finding in verdict.findings)


@FIXED
@given(
    st.lists(st.sampled_from(PIECES), max_size=5),
    st.sampled_from(SEPARATORS),
    st.sampled_from(DENIED),
    st.sampled_from(["", " ", "\n", "; ls", " # x"]),
)
def test_a_denied_command_in_command_position_is_never_allowed(
    before: list[str], separator: str, denied: list[str], after: str
) -> None:
    """Whatever stands before it on the line, a denied command that would run isn't allowed."""
    prefix = "".join(before)
    quotes = any(character in prefix for character in "'\"\\`#$<([")
    keyword = any(word in prefix for word in ("case", "for", "select", "function", "coproc", "f()"))
    if quotes or keyword or prefix.rstrip().endswith((">", "<", "&", "|", "=")):
        prefix = "ls"
    text = f"{prefix}{separator}{' '.join(denied)}{after}"
    assert judge(text).decision is not Decision.ALLOW


def test_mutated_lines_have_a_verdict() -> None:
    """Lines of both columns with characters dropped, doubled and swapped never make it raise."""
    source = random.Random(7)
    lines = commands("dangerous") + commands("harmless")
    for line in lines:
        characters = list(line)
        for _ in range(3):
            at = source.randrange(len(characters)) if characters else 0
            action = source.randrange(3)
            if action == 0 and characters:
                del characters[at]
            elif action == 1:
                characters.insert(at, source.choice("'\"\\$(){}[]<>|&;`*?~#=! \n"))
            elif characters:
                other = source.randrange(len(characters))
                characters[at], characters[other] = characters[other], characters[at]
        verdict = judge("".join(characters))
        assert not any("cannot be decided" in finding.reason for finding in verdict.findings)
