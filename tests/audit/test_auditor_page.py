# SPDX-License-Identifier: MIT
"""docs/auditor.md shows what really happens, with our tool and without it."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.audit.chains import EXECUTOR, sample
from tests.audit.program import within
from tests.audit.verdicts import lines_of, put
from tibet_nc_audit.crosscheck.journal import DROPPED
from tibet_nc_protocol.journal_ids import MESSAGE_IDS
from tibet_nc_protocol.layout import RECORDINGS

PAGE = (Path(__file__).parents[2] / "docs" / "auditor.md").read_text()
STATE = "/var/lib/tibet-nc"
BY_HAND = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return the chain of which the page speaks."""
    return sample(tmp_path / "state").root


@pytest.mark.parametrize(
    ("altered", "command", "output"),
    re.findall(r"```console( altered)?\n\$ tibet-nc-audit (.*?)\n(.*?)```", PAGE, re.DOTALL),
)
def test_the_output_shown_is_real(
    root: Path, monkeypatch: pytest.MonkeyPatch, altered: str, command: str, output: str
) -> None:
    """Every output on the page is what the command prints, but for the time it takes."""
    monkeypatch.chdir(root.parent)
    within("--state", root, "checkpoint", "--prove", "2", "--output", "proof.json")
    if altered:
        recording = root / RECORDINGS / "000000000002.cast"
        recording.write_bytes(recording.read_bytes().replace(b"20G", b"30G"))
        lines = lines_of(root)
        put(root, lines[:12] + lines[13:])
    done = within("--state", root, *shlex.split(command))
    shown = (done.out + done.err).replace(str(root), STATE)
    assert re.sub(r"in \d+\.\d s", "in 0.0 s", shown) == output


def test_by_hand(root: Path) -> None:
    """What needs no program of ours finds a good chain good, and the same head as ours."""
    script = "set -euo pipefail\n" + "".join(BY_HAND).replace(STATE, shlex.quote(str(root)))
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    first, second, *digests = done.stdout.splitlines()
    head = re.search(r"^head +(.*)$", within("verify", "--state", root).out, re.MULTILINE)
    assert head is not None
    assert first == f"19 records, head {head[1]}"
    assert second == "Signature Verified Successfully"
    # The rest are pairs: what the record says, and what was computed from the file.
    assert digests[::2] == digests[1::2]
    assert len(digests) == 6


def test_by_hand_on_an_altered_chain(root: Path) -> None:
    """What needs no program of ours finds an altered record, by its link and its signature."""
    lines = lines_of(root)
    lines[3] = lines[3].replace(b'"duration_ms":38', b'"duration_ms":39')
    put(root, lines)
    script = "".join(block for block in BY_HAND if "jq " not in block)
    script = script.replace(STATE, shlex.quote(str(root)))
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert "record 4 does not follow" in done.stdout
    assert "Signature Verification Failure" in done.stdout + done.stderr


def test_the_names_on_the_page() -> None:
    """Keys and message ids on the page are the real ones."""
    assert EXECUTOR.public_key.hex in PAGE
    for identifier in re.findall(r"MESSAGE_ID=([0-9a-f]{32})", PAGE):
        assert identifier in {*MESSAGE_IDS.values(), DROPPED}
    for kind in MESSAGE_IDS:
        assert f"`{kind}`" in PAGE
