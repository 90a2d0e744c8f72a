# SPDX-License-Identifier: MIT
"""The published vectors of chains, judged by the auditor (tests/vectors)."""

import json
from pathlib import Path

import pytest

from tibet_nc_audit.heads import Held
from tibet_nc_audit.reader import State
from tibet_nc_audit.verify import verify
from tibet_nc_protocol.layout import CHAIN, segment_name
from tibet_nc_protocol.signing import PublicKey

VECTORS = Path(__file__).parent.parent / "vectors"
# A chain of no records breaks no rule of the protocol; to the auditor, who came for evidence, an
# empty file says that there is none (test_the_end_is_cut_off).
CASES = [path for path in sorted(VECTORS.glob("chain_*")) if path.name != "chain_empty"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_chain_vectors(tmp_path: Path, case: Path) -> None:
    """The auditor accepts and refuses the same chains as the protocol, at the same record (I8)."""
    about = json.loads((case / "case.json").read_bytes())
    (tmp_path / CHAIN).mkdir()
    (tmp_path / CHAIN / segment_name(0)).write_bytes((case / "input.jsonl").read_bytes())
    heads = []
    if held := about.get("held"):
        heads = [Held(record=held["length"] - 1, head=held["head"], source="vector")]
    with State(tmp_path) as state:
        report = verify(state, key=PublicKey.from_hex(about["key"]), heads=heads)
    # The vectors have records only, none of what they speak of.
    found = [f for f in report.findings if f.file.startswith(CHAIN)]
    first = found[0].record if found else None
    assert first == about.get("at")
    assert case.name.endswith("_fail") == bool(found)
