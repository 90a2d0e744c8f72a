# SPDX-License-Identifier: MIT
"""A verification's report as lines for people."""

from collections.abc import Iterator
from typing import Final

from tibet_nc_audit.findings import Finding
from tibet_nc_audit.heads import Depth, SavedHead
from tibet_nc_audit.report import Pinned, Report
from tibet_nc_audit.visible import visible
from tibet_nc_protocol.counts import counted

PRINTED: Final = 20
"""Most findings in the text; all that are kept are in the JSON form."""

_KEY: Final = {
    Pinned.GIVEN: "yes, by --key",
    Pinned.HEAD: "yes, by the head file",
    Pinned.NOT: "NO: the key is from the chain itself, which so only agrees with itself; pin it"
    " with --key",
}


def lines(report: Report) -> Iterator[str]:
    """Yield the lines, safe for a terminal."""
    yield _line("state", visible(report.state))
    if report.host or report.executor:
        yield _line("host", f"{visible(report.host)}, executor {visible(report.executor)}")
    yield _line("key", report.key or "none")
    if report.last_key and report.last_key != report.key:
        yield _line("later key", f"{report.last_key}, by a record that the key before it signed")
    yield _line("pinned", _KEY[report.pinned])
    if report.resumed is not None:
        yield _line("before", _before(report.resumed))
    yield _line("records", _records(report))
    if report.ended:
        yield _line("time", f"{visible(report.begun)} to {visible(report.ended)}")
    yield _line("head", f"{report.length - 1}:{report.head}" if report.length else "none")
    yield from _checked(report)
    if report.open_total:
        shown = ", ".join(f"#{number}" for number in report.open)
        more = report.open_total - len(report.open)
        yield _line(
            "open", f"{shown}{f' and {more} more' if more else ''}: still running, or interrupted"
        )
    for note in report.notes:
        yield _line("note", visible(note))
    yield ""
    yield from verdict(report)


def _before(resumed: SavedHead) -> str:
    return (
        f"record 0 to {resumed.record} were verified earlier ({resumed.depth}), not again: a change"
        " there since is not seen"
    )


def _records(report: Report) -> str:
    kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(report.counts.kinds.items()))
    files = counted(report.segments, "file")
    return f"{report.records} in {files}" + (f": {kinds}" if kinds else "")


def _checked(report: Report) -> Iterator[str]:
    counts = report.counts
    if report.depth is Depth.CHAIN:
        yield _line("checked", "every number, link, root and checkpoint")
        yield _line("not checked", "each record by itself, command texts, recordings, tokens")
        return
    if report.depth is Depth.DEEP:
        yield _line("checked", "every number, link, root, checkpoint and signature")
    else:
        yield _line("checked", "every number, link, root and checkpoint; those vouch for the rest")
    yield _line("texts", f"{counts.texts} agree, {counts.missing_texts} [erased] or never kept")
    yield _line(
        "recordings",
        f"{counts.recordings} agree, {counts.capped} capped (only their length can be checked),"
        f" {counts.silent} printed nothing, {counts.erased_recordings} [erased]"
        + (f", {counts.expired_recordings} deleted by retention" * bool(counts.expired_recordings)),
    )
    yield _line("tokens", f"{counts.tokens} agree")
    if counts.erasures:
        yield _line("erasures", f"{counts.erasures} on record (log --kind security)")
    if counts.undone_erasures:
        yield _line("note", f"texts on record as erased, and still there: {counts.undone_erasures}")
    for what, number in (("texts", counts.unclaimed_texts), ("tokens", counts.unclaimed_tokens)):
        if number:
            yield _line("note", f"{what} that no record speaks of, as a crash leaves: {number}")


def verdict(report: Report) -> Iterator[str]:
    """Yield the verdict alone, with its findings and the notes that contradict each other."""
    if report.good:
        yield f"GOOD: {counted(report.records, 'record')} in {report.seconds:.1f} s"
    if report.first_bad is not None:
        yield from _bad(report, report.first_bad)
    if report.unread_total:
        rest = "" if report.first_bad else "; what could be read is good"
        yield f"UNREADABLE, so that nobody can judge it: {report.unread_total}{rest}"
        for text in report.unread[:PRINTED]:
            yield f"  {visible(text)}"
        if report.unread_total > PRINTED:
            yield f"  … and {report.unread_total - PRINTED} more"


def _bad(report: Report, first_bad: Finding) -> Iterator[str]:
    total = report.findings_total
    yield f"BAD: {counted(total, 'finding')}, first bad record {first_bad.record}"
    others = [finding for finding in report.findings if finding != first_bad]
    for finding in [first_bad, *others][:PRINTED]:
        yield from _finding(finding)
    if total > PRINTED:
        yield f"  … and {total - PRINTED} more"
    for dispute in report.disputes:
        yield "  this checkpoint is held, and is signed:"
        yield from _note(dispute.held)
        yield "  this is the latest that the chain has:" if dispute.now else "  the chain has none"
        yield from _note(dispute.now)


def _note(note: str) -> Iterator[str]:
    for line in note.splitlines():
        yield f"    {visible(line)}".rstrip()


def _finding(finding: Finding) -> Iterator[str]:
    place = visible(finding.file) + (f", line {finding.line}" if finding.line else "")
    yield f"  record {finding.record}: {visible(finding.reason)} ({place})"
    if finding.expected:
        yield f"    expected {visible(finding.expected)}"
    if finding.found:
        yield f"    found    {visible(finding.found)}"


def _line(name: str, value: str) -> str:
    return f"{name:12} {value}"
