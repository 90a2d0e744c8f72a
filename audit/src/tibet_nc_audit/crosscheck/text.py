# SPDX-License-Identifier: MIT
"""A comparison as lines for people."""

from collections.abc import Iterator, Sequence
from typing import Final

from tibet_nc_audit.crosscheck.discrepancies import Comparison, Discrepancy
from tibet_nc_audit.visible import visible

PRINTED: Final = 20
"""Most that are printed of one source; all that are kept are in the JSON form."""


def lines(comparisons: Sequence[Comparison]) -> Iterator[str]:
    """Yield the lines, safe for a terminal."""
    for comparison in comparisons:
        yield f"{'source':12} {visible(comparison.source)}"
        yield f"{'compared':12} {comparison.compared} agree or differ as listed"
        for note in comparison.notes:
            yield f"{'note':12} {visible(note)}"
        for found in comparison.discrepancies[:PRINTED]:
            yield from _discrepancy(found)
        if comparison.total > PRINTED:
            yield f"  … and {comparison.total - PRINTED} more"
        yield ""
        if comparison.total:
            counted = ", ".join(f"{n} {kind}" for kind, n in comparison.counts.items() if n)
            yield f"BAD: {counted}"
        elif not comparison.unread:
            yield "GOOD: nothing disagrees with the chain"
        if comparison.unread:
            yield f"UNREADABLE, so that nobody can compare it: {len(comparison.unread)}"
            for why in comparison.unread[:PRINTED]:
                yield f"  {visible(why)}"


def _discrepancy(found: Discrepancy) -> Iterator[str]:
    which = "" if found.record is None else f" record {found.record}"
    if found.last is not None and found.record is not None and found.last > found.record:
        which = f" records {found.record} to {found.last}"
    place = f" ({visible(found.place)})" if found.place else ""
    yield f"  {found.kind}{which}: {visible(found.reason)}{place}"
    if found.expected:
        yield f"    expected {visible(found.expected)}"
    if found.found:
        yield f"    found    {visible(found.found)}"
