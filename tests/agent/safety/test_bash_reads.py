# SPDX-License-Identifier: MIT
"""The grammar against the shell itself: bash prints a line as it has read it, and runs nothing.

A line becomes the body of a function, which `declare -f` prints in bash's own spelling: each word,
list, redirection and here-document in its place. Its tree is the tree of the line, or one of us has
read it wrongly.
"""

import os
import random
import subprocess
import tempfile

from tests.agent.safety.corpora import commands
from tests.agent.safety.shape import shape
from tests.agent.safety.test_against_bash import LIMITS, NOBODY
from tests.agent.safety.test_bash_grammar import PIECES
from tibet_nc_agent.safety.budget import Budget
from tibet_nc_agent.safety.grammar import GrammarError, nodes, parse

# A text that ends the function early runs what follows, without a program and as nobody.
PRINT = r"""
while IFS= read -r -d '' line; do
    ( eval "the_line() {
$line
}" && declare -f the_line ) </dev/null 2>/dev/null
    printf '\0'
done
"""
SOUPS = 6_000


def printed(lines: list[str]) -> list[str]:
    """Return what bash prints of each line, "" if it refuses it."""
    with tempfile.TemporaryFile() as given:
        given.write(b"".join(line.encode() + b"\0" for line in lines))
        given.seek(0)
        uid = NOBODY if os.geteuid() == 0 else None
        result = subprocess.run(
            [*LIMITS, "/bin/bash", "--norc", "-c", PRINT],
            stdin=given,
            capture_output=True,
            check=True,
            cwd="/",
            env={"PATH": "/nonexistent"},
            user=uid,
            group=uid,
            extra_groups=None if uid is None else [],
        )
    texts = result.stdout.decode().split("\0")[:-1]
    assert len(texts) == len(lines)
    return texts


def tree(text: str) -> nodes.Sequence | None:
    """Return what we read, None if we refuse it."""
    try:
        return parse(text, budget=Budget()).body
    except GrammarError:
        return None


def read_otherwise(lines: list[str]) -> tuple[int, list[str]]:
    """Return how many of the lines both read, and those that they read in two ways."""
    both, wrong = 0, list[str]()
    for line, text in zip(lines, printed(lines), strict=True):
        ours, function = tree(line), tree(text) if text else None
        # Of `|&` and `coproc` bash prints something else than it does.
        if ours is None or function is None or "|&" in line or "coproc" in line:
            continue
        both += 1
        definition = function.items[0][0].commands[0]
        assert isinstance(definition, nodes.Function)
        assert isinstance(definition.body, nodes.Group)
        if shape(ours) != shape(definition.body.body):
            wrong.append(line)
    return both, wrong


def test_bash_reads_every_sample_as_we_do() -> None:
    """Of every sample line, dangerous or harmless, bash has the same tree."""
    lines = sorted({*commands("dangerous"), *commands("harmless"), *commands("stand-in")})
    both, wrong = read_otherwise(lines)
    assert wrong == []
    assert both > 0.98 * len(lines)


def test_bash_reads_random_tokens_as_we_do() -> None:
    """What bash accepts of a soup of shell tokens, it reads as we do."""
    source = random.Random(7)
    soups = ["".join(source.choices(PIECES, k=source.randint(1, 9))) for _ in range(SOUPS)]
    both, wrong = read_otherwise(soups)
    assert wrong == []
    assert both > 0.1 * len(soups)
