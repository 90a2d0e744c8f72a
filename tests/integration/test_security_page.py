# SPDX-License-Identifier: MIT
"""SECURITY.md names tests; they have to exist."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
INVARIANT = re.compile(r"^\| (I\d+) \|(.*)\|$", re.MULTILINE)
NAMED = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")


def test_every_test_that_the_page_names_exists() -> None:
    """A claim can't outlive the test that shows it."""
    named = NAMED.findall((ROOT / "SECURITY.md").read_text())
    assert len(named) > 20
    missing: list[str] = []
    for path, function in named:
        file = ROOT / path
        names: set[str] = set()
        if file.exists():
            tree = ast.parse(file.read_text())
            kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
            names = {node.name for node in ast.walk(tree) if isinstance(node, kinds)}
        if not file.exists() or (function and function not in names):
            missing.append(f"{path}::{function}")
    assert missing == []


def test_every_invariant_is_named_by_a_test_of_its_row() -> None:
    """A row points to at least one test that says in its own words that it shows the invariant."""
    rows = INVARIANT.findall((ROOT / "SECURITY.md").read_text())
    assert [invariant for invariant, _ in rows] == [f"I{n}" for n in (*range(1, 11), 12)]
    for invariant, shown in rows:
        told = "".join(_words(ROOT / path, function) for path, function in NAMED.findall(shown))
        assert re.search(rf"\b{invariant}\b", told), invariant


def _words(file: Path, function: str) -> str:
    """Return the docstring of a test, or all those of a file."""
    tree = ast.parse(file.read_text())
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    tests = [node for node in ast.walk(tree) if isinstance(node, kinds)]
    named = [node for node in tests if function in {"", node.name}]
    return " ".join(ast.get_docstring(node) or "" for node in named)
