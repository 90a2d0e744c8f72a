# SPDX-License-Identifier: MIT
"""SECURITY.md names tests; they have to exist."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NAMED = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")


def test_every_test_that_the_page_names_exists() -> None:
    """A claim can't outlive the test that shows it."""
    named = NAMED.findall((ROOT / "SECURITY.md").read_text())
    assert len(named) > 20
    missing = []
    for path, function in named:
        file = ROOT / path
        names: set[str] = set()
        if file.exists():
            tree = ast.parse(file.read_text())
            kinds = ast.FunctionDef | ast.AsyncFunctionDef
            names = {node.name for node in ast.walk(tree) if isinstance(node, kinds)}
        if not file.exists() or (function and function not in names):
            missing.append(f"{path}::{function}")
    assert missing == []
