# SPDX-License-Identifier: MIT
"""Random changes to known inputs: enough of a fuzzer to need no other."""

import random
from collections.abc import Iterator

from tests.vectors import samples
from tests.vectors.generate import cases
from tibet_nc_protocol.note import Verifier

_TRICKY = (
    b"\0", b"\xff", b"\n", b'"', b"\\", b"\\u0000", b"\\ud800", b"\xc1", b"\xed\xa0\x80",
    b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff", b"[" * 40,
    b"9" * 5000, b"\x91" * 40, b"1e999", b"-0", b"18446744073709551616", b"null",
    b"\x7f\xff\xff\xff",
)  # fmt: skip


def seeds() -> list[bytes]:
    """Return the inputs of all vectors; every decoder gets all of them, also those of others."""
    checkpoint = samples.checkpoint([line.line for line in samples.three_records()])
    own = Verifier(name=samples.EXECUTOR.id, key=samples.EXECUTOR.public_key)
    notes = [checkpoint.note, checkpoint.note.partition("\n\n")[0] + "\n", own.vkey]
    return [note.encode() for note in notes] + [
        data
        for case in cases()
        for name, data in case.files.items()
        if name.startswith("input.") and len(data) < 4096
    ]


def mutations(source: random.Random, known: list[bytes]) -> Iterator[bytes]:
    """Yield changed inputs without end; the same ones for the same source."""
    while True:
        data = bytearray(source.choice(known))
        for _ in range(source.randint(0, 4)):
            _change(source, data, known)
        yield bytes(data)


def _change(source: random.Random, data: bytearray, known: list[bytes]) -> None:
    begin = source.randint(0, len(data))
    end = min(len(data), begin + source.choice((0, 1, 1, 2, 8, 64)))
    match source.randrange(6):
        case 0:
            data[begin:end] = b""
        case 1:
            data[begin:end] = source.randbytes(end - begin)
        case 2:
            data[begin:end] = source.choice(_TRICKY)
        case 3:
            data[begin:begin] = data[begin:end] * source.randint(1, 3)
        case 4 if begin < len(data):
            data[begin] ^= 1 << source.randrange(8)
        case _:
            other = source.choice(known)
            cut = source.randint(0, len(other))
            data[begin:end] = other[cut : cut + source.randint(1, 100)]
