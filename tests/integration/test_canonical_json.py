# SPDX-License-Identifier: MIT
"""Our canonical JSON is RFC 8785's, according to an implementation that knows nothing of us."""

import json

import rfc8785
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.protocol.strategies import RECORD_TYPES, struct_of
from tests.vectors import generate, samples
from tibet_nc_protocol.layout import PAYLOADS_CODEC, Payload
from tibet_nc_protocol.records import RECORDS, Record, sign

PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""For as long as it needs, on a machine that others use too."""


@PATIENT
@given(record=st.one_of(*(struct_of(cls) for cls in RECORD_TYPES)))
def test_records_are_canonical(record: Record) -> None:
    """Every record, with any text in it, is written as RFC 8785 says, signed or not."""
    for one in (record, sign(record, samples.EXECUTOR)):
        line = RECORDS.encode(one)
        assert rfc8785.dumps(json.loads(line)) == line


@PATIENT
@given(payload=struct_of(Payload))
def test_payloads_are_canonical(payload: Payload) -> None:
    """Every payload, with any command in it, is written as RFC 8785 says."""
    line = PAYLOADS_CODEC.encode(payload)
    assert rfc8785.dumps(json.loads(line)) == line


def test_the_vectors_are_canonical() -> None:
    """Each line of a good vector is what the other implementation makes of its values."""
    directories = (path.parent for path in generate.HERE.glob("record_*/case.json"))
    good = [
        (directory / "input.json").read_bytes()
        for directory in directories
        if not directory.name.endswith("_fail")
    ]
    assert len(good) >= len(RECORD_TYPES)
    assert [rfc8785.dumps(json.loads(line)) for line in good] == good
