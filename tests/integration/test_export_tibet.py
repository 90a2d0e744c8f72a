# SPDX-License-Identifier: MIT
"""Exported tokens in the hands of tibet-core and of tibet-trail."""

import subprocess
import sys
from pathlib import Path

from tibet_core import Chain as TibetChain
from tibet_core.store import FileStore

from tests.audit.chains import sample
from tests.audit.program import within


def test_tibet_core_reads_the_export(tmp_path: Path) -> None:
    """tibet-core's own store loads the exported tokens and finds every one intact."""
    sample(tmp_path / "state")
    output = tmp_path / "tokens.jsonl"
    done = within("export", "--state", tmp_path / "state", "--format", "tibet", "--output", output)
    assert (done.status, done.err) == (0, "")
    store = FileStore(str(output))
    assert store.verify_file() == {
        "valid": 5,
        "invalid": 0,
        "corrupted_ids": [],
        "integrity": True,
    }
    newest = store.all()[-1]
    assert newest.action == "nc.command.execute"
    assert len(TibetChain(store).trace(newest.token_id)) == 5


def _trail(path: Path) -> tuple[int, str]:
    program = Path(sys.executable).with_name("tibet-trail")
    done = subprocess.run(
        [program, "verify", path], capture_output=True, text=True, check=False, timeout=60
    )
    return done.returncode, done.stdout


def test_tibet_trail_verifies_the_export(tmp_path: Path) -> None:
    """``tibet-trail verify`` passes the exported tokens, and not an altered one."""
    sample(tmp_path / "state")
    output = tmp_path / "tokens.jsonl"
    within("export", "--state", tmp_path / "state", "--format", "tibet", "--output", output)
    status, said = _trail(output)
    assert status == 0
    assert "PASS" in said
    output.write_bytes(output.read_bytes().replace(b'"exit": 42', b'"exit": 0', 1))
    status, said = _trail(output)
    assert status != 0
    assert "PASS" not in said
