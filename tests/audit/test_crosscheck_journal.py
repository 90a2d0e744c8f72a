# SPDX-License-Identifier: MIT
"""The chain against the journal: what is missing, extra or different there, each named."""

import json
import os
import stat
import struct
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.audit.chains import STRANGER, Chain, add, sample
from tests.audit.program import PROGRAM, Done, process, within
from tests.audit.verdicts import lines_of, put
from tests.mounts import mount_memory, private_mounts
from tibet_nc_audit.crosscheck.copy import journal_fields
from tibet_nc_audit.crosscheck.journal import DROPPED
from tibet_nc_audit.crosscheck.sources import journal
from tibet_nc_protocol.journal_ids import SYSLOG_IDENTIFIER
from tibet_nc_protocol.records import RECORDS, Security, SecurityEvent, digest

UID = 991
EXE = "/opt/tibet-nc/executor/bin/python3.13"

type Entry = dict[str, str]


def journal_of(chain: Chain) -> list[Entry]:
    """Return the journal that an executor leaves beside its chain."""
    found: list[dict[str, str]] = []
    for number, line in enumerate(chain.lines):
        record = RECORDS.decode(line)
        found.append(
            {
                "__REALTIME_TIMESTAMP": str(1_795_600_800_000_000 + number * 1_000_000),
                "_UID": str(UID),
                "_EXE": EXE,
                "_TRANSPORT": "journal",
                "SYSLOG_IDENTIFIER": SYSLOG_IDENTIFIER,
                "MESSAGE": f"#{number}",
                "TIBET_NC_SEQ": str(number),
                "TIBET_NC_HEAD": digest(line),
            }
            | journal_fields(record)
        )
    return found


def dropped(number: int, uid: int = UID) -> Entry:
    """Return journald's own note that it dropped so many messages."""
    return {
        "_UID": "0",
        "_TRANSPORT": "driver",
        "MESSAGE_ID": DROPPED,
        "MESSAGE": f"Suppressed {number} messages from tibet-nc-executor.service",
        "N_DROPPED": str(number),
        "OBJECT_UID": str(uid),
    }


def as_export(journal: Sequence[Entry]) -> bytes:
    """Write entries as ``journalctl -o export`` does."""
    out = bytearray()  # which grows in its place
    for entry in journal:
        for name, value in entry.items():
            data = value.encode()
            if "\n" in value:
                out += name.encode() + b"\n" + struct.pack("<Q", len(data)) + data + b"\n"
            else:
                out += name.encode() + b"=" + data + b"\n"
        out += b"\n"
    return bytes(out)


def as_json(journal: Sequence[Entry]) -> bytes:
    """Write entries as ``journalctl -o json`` does."""
    return b"".join(json.dumps(entry).encode() + b"\n" for entry in journal)


@pytest.fixture
def chain(tmp_path: Path) -> Chain:
    """Return a chain with a bit of everything."""
    return sample(tmp_path / "state")


def crosscheck(chain: Chain, journal: Sequence[Entry], *more: str) -> Done:
    """Compare a chain with a journal in a file."""
    path = chain.root.parent / "journal"
    path.write_bytes(as_export(journal))
    return within("--state", chain.root, "crosscheck", "--journal", path, "--uid", str(UID), *more)


def found_in(
    chain: Chain, journal: Sequence[Entry], *more: str
) -> list[tuple[str, int | None, str]]:
    """Return what a comparison finds: kind, record, reason."""
    (comparison,) = json.loads(crosscheck(chain, journal, "--json", *more).out)["comparisons"]
    return [(f["kind"], f["record"], f["reason"]) for f in comparison["discrepancies"]]


def test_few_of_many_gaps_are_named(tmp_path: Path) -> None:
    """However many gaps a journal has that are accounted for, few are named and all counted."""
    chain = Chain(tmp_path / "state")
    while chain.length < 301:
        chain.session()
    journal: list[Entry] = []
    for number, entry in enumerate(journal_of(chain)):
        journal.append(dropped(1) if number % 2 else entry)
    (comparison,) = json.loads(crosscheck(chain, journal, "--json").out)["comparisons"]
    assert (comparison["total"], len(comparison["notes"])) == (0, 101)
    assert comparison["notes"][-1] == "more gaps with such a reason: 50"


@pytest.mark.parametrize("form", [as_export, as_json])
def test_a_journal_that_agrees(
    chain: Chain, tmp_path: Path, form: Callable[[Sequence[Entry]], bytes]
) -> None:
    """A whole journal agrees, in either form of journalctl."""
    path = tmp_path / "journal"
    path.write_bytes(form(journal_of(chain)))
    done = within("--state", chain.root, "crosscheck", "--journal", path, "--uid", str(UID))
    assert (done.status, done.err) == (0, "")
    assert "compared     19 agree or differ as listed" in done.out
    assert done.out.splitlines()[-1] == "GOOD: nothing disagrees with the chain"


def test_a_journal_from_a_pipe(chain: Chain, tmp_path: Path) -> None:
    """A journal that comes through a pipe is there as a whole before the chain is read."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    written = as_export(journal_of(chain))
    with ThreadPoolExecutor() as threads:
        threads.submit(pipe.write_bytes, written)
        with journal(pipe, UID) as file:
            assert stat.S_ISREG(os.fstat(file.fileno()).st_mode)
            assert file.read() == written


def test_a_journal_that_grows(chain: Chain, tmp_path: Path) -> None:
    """Entries that come while the chain is read are newer than that, and not compared with it."""
    path = tmp_path / "journal"
    written = as_export(journal_of(chain))
    path.write_bytes(written)
    with journal(path, UID) as file:
        add(path, as_export([{"_UID": str(UID), "TIBET_NC_SEQ": "19", "TIBET_NC_HEAD": "0" * 64}]))
        assert file.read() == written


def test_a_journal_without_room_for_its_copy(chain: Chain, tmp_path: Path) -> None:
    """Where a journal from a pipe can't be taken in whole, it is said which place has no room."""
    small = tmp_path / "small"
    small.mkdir()
    with private_mounts():
        mount_memory(small, "size=16k")
        done = subprocess.run(
            [*PROGRAM, "--state", chain.root, "crosscheck", "--journal", "-", "--uid", "0"],
            input=bytes(100_000),
            env={"TMPDIR": str(small)},
            capture_output=True,
            check=False,
        )
    said = f"-: its copy in {small}: No space left on device; TMPDIR names another place"
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.decode() == f"tibet-nc-audit: {said}\n"


def test_standard_input_is_read_once(chain: Chain) -> None:
    """Standard input for two journals is wrong usage: the second would have lost every entry."""
    done = process("--state", chain.root, "crosscheck", *("--journal", "-") * 2, "--uid", "0")
    assert (done.status, done.out) == (2, "")
    assert "--journal - can't be repeated" in done.err


def test_what_is_missing_is_named(chain: Chain) -> None:
    """Entries that are gone without a word are a finding, each row of them one (I8)."""
    journal = journal_of(chain)
    assert found_in(chain, journal[:5] + journal[6:10] + journal[13:]) == [
        ("missing", 5, "not in the journal"),
        ("missing", 10, "not in the journal"),
    ]
    done = crosscheck(chain, journal[:10] + journal[13:])
    assert done.status == 1
    assert "  missing records 10 to 12: not in the journal" in done.out


def test_what_journald_dropped_is_told_apart(chain: Chain) -> None:
    """What journald itself says it dropped is no finding, as far as its number goes."""
    journal = journal_of(chain)
    gap = [*journal[:5], dropped(3), *journal[8:]]
    done = crosscheck(chain, gap)
    assert done.status == 0
    assert "records 5 to 7: dropped by journald's rate limit, which says so" in done.out
    few = [*journal[:5], dropped(2), *journal[8:]]
    assert found_in(chain, few) == [
        ("missing", 5, "not in the journal, which says that it dropped 2 there")
    ]
    elsewhere = [*journal[:5], *journal[8:12], dropped(3), *journal[12:]]
    assert found_in(chain, elsewhere) == [("missing", 5, "not in the journal")]
    of_others = [*journal[:5], dropped(3, uid=33), *journal[8:]]
    assert found_in(chain, of_others) == [("missing", 5, "not in the journal")]


@pytest.mark.parametrize(
    ("detail", "explained"),
    [
        ("journald did not take 3 entries, of records #5 to #7", True),
        ("journald did not take 2 entries, of records #5 to #6", False),
        ("journald did not take 1 entry, of records #5 to #5, and none from there on", True),
        ("journald was restarted", False),
    ],
)
def test_what_the_chain_says_it_could_not_send(chain: Chain, detail: str, explained: bool) -> None:
    """A gap that the executor put on record is told apart, as far as the record goes."""
    number = chain.unsent(5, detail)
    journal = journal_of(chain)
    done = crosscheck(chain, journal[:5] + journal[8:])
    assert done.status == (0 if explained else 1)
    said = f"records 5 to 7: journald did not take them, as record {number} says"
    assert (said in done.out) == explained


def test_only_the_executors_own_note_excuses_a_gap(chain: Chain) -> None:
    """The same words in a record of another kind, which an agent can have written, do not (I8)."""
    chain.append(
        lambda seq, prev, time: Security(
            seq=seq,
            prev=prev,
            time=time,
            what=SecurityEvent.AGENT,
            detail="journald did not take 3 entries, of records #5 to #7",
            number=5,
        )
    )
    journal = journal_of(chain)
    assert found_in(chain, journal[:5] + journal[8:]) == [("missing", 5, "not in the journal")]


def test_gaps_on_record_that_lie_within_one_another(tmp_path: Path) -> None:
    """Of several records of what journald didn't take, any that covers a gap explains it."""
    chain = Chain(tmp_path / "state")
    for _ in range(10):
        chain.security()
    wide = chain.unsent(2, "journald did not take the entries of #2 to #9")
    chain.unsent(4, "journald did not take the entries of #4 to #5")
    journal = journal_of(chain)
    done = crosscheck(chain, journal[:4] + journal[8:])
    assert done.status == 0
    assert f"records 4 to 7: journald did not take them, as record {wide} says" in done.out
    for gap in ((1, 8), (8, 11)):  # longer than what is on record
        done = crosscheck(chain, journal[: gap[0]] + journal[gap[1] :])
        assert done.status == 1
        assert f"missing records {gap[0]} to {gap[1] - 1}" in done.out


def test_no_record_excuses_what_comes_after_it(tmp_path: Path) -> None:
    """What journald didn't take is on record afterwards; nothing is excused beforehand."""
    chain = Chain(tmp_path / "state")
    number = chain.unsent(1, "journald did not take 99 entries, of records #1 to #99")
    for _ in range(3):
        chain.security()
    journal = journal_of(chain)
    assert found_in(chain, journal[: number + 1] + journal[-1:]) == [
        ("missing", number + 1, "not in the journal")
    ]


def test_strangers_are_told_apart_up_to_a_bound(chain: Chain) -> None:
    """However many uids a made-up journal has, few of them are kept."""
    entry = journal_of(chain)[3]
    made_up = [{**entry, "_UID": str(uid)} for uid in [*range(100_000, 101_500), *[7] * 3_000]]
    done = crosscheck(chain, journal_of(chain) + made_up)
    assert done.status == 0
    assert "others claim to be an executor, and are no evidence: others (3500)" in done.out


def test_a_process_can_not_speak_for_journald(chain: Chain) -> None:
    """A note that another process sent explains nothing."""
    journal = journal_of(chain)
    forged = dropped(3) | {"_TRANSPORT": "journal", "_UID": "1000"}
    assert found_in(chain, [*journal[:5], forged, *journal[8:]]) == [
        ("missing", 5, "not in the journal")
    ]


def test_a_chain_that_was_cut(chain: Chain) -> None:
    """Records that the journal has and the chain doesn't are each named (I8)."""
    journal = journal_of(chain)
    put(chain.root, lines_of(chain.root)[:16])
    reason = "the chain does not have this record: it was cut, or replaced"
    assert found_in(chain, journal) == [("extra", number, reason) for number in (16, 17, 18)]
    end = f"expected the end after 16 records, with head {journal[15]['TIBET_NC_HEAD']}"
    assert end in crosscheck(chain, journal).out


def test_a_chain_that_was_rolled_back_and_grew_on(chain: Chain, tmp_path: Path) -> None:
    """An older copy that grew on differs from the journal at its first other record (I8)."""
    other = sample(tmp_path / "other")
    chain.command("rm -rf /srv/data")
    other.command("true")
    assert found_in(other, journal_of(chain)) == [
        ("differs", 19, "another record"),
        ("differs", 20, "another record"),
    ]
    both = [*journal_of(chain), *journal_of(other)[19:]]
    assert [kind for kind, _, _ in found_in(other, both)] == ["differs", "differs"]


def test_entries_that_were_sent_again(chain: Chain) -> None:
    """What the executor sends again after a crash, the first entry too, is no other chain."""
    journal = journal_of(chain)
    done = crosscheck(chain, journal[:3] + journal)
    assert (done.status, done.err) == (0, "")
    assert "entries that are there more than once: 3" in done.out


def test_another_chain_before(chain: Chain, tmp_path: Path) -> None:
    """A chain that was begun anew is told by the entries of the one before, in one finding (I8)."""
    before = Chain(tmp_path / "before")
    before.command("rm -rf /srv/data")
    (found,) = found_in(chain, journal_of(before)[1:] + journal_of(chain))
    assert found[0] == "extra"
    assert found[2].startswith("2 entries of another chain, before this one began")


def test_another_chain_before_explains_nothing(chain: Chain, tmp_path: Path) -> None:
    """Neither its entries nor what was dropped of them stand for this chain's (I8)."""
    before = Chain(tmp_path / "before", identity=STRANGER)
    before.command("rm -rf /srv/data")
    first, *others = journal_of(before)
    begin, _, _, *rest = journal_of(chain)
    found = found_in(chain, [first, dropped(5), *others, begin, *rest])
    assert [(kind, record) for kind, record, _ in found] == [("extra", None), ("missing", 1)]
    assert found[1][2] == "not in the journal"


def test_what_is_no_entry_of_a_chain_is_passed_over(chain: Chain) -> None:
    """What else the executor logs, and what journald dropped before its first entry, is nothing."""
    log = {"_UID": str(UID), "_TRANSPORT": "journal", "MESSAGE": "listens"}
    assert found_in(chain, [dropped(3), log, *journal_of(chain), log]) == []


def test_a_journal_of_which_nothing_can_be_read(chain: Chain, tmp_path: Path) -> None:
    """What is no journal, or fails at its first byte, lacks nothing: it can't be judged."""
    other = tmp_path / "other"
    other.write_bytes(b"no entry\n")
    for path in (other, Path("/proc/self/mem")):
        command = ("--state", chain.root, "crosscheck", "--journal", path, "--uid", str(UID))
        done = within(*command)
        assert (done.status, done.out) == (2, "")
        assert done.err.startswith(f"tibet-nc-audit: {path}: ")


def test_a_journal_without_any_entry_of_the_chain(chain: Chain) -> None:
    """It lacks every record, and no other."""
    (comparison,) = json.loads(crosscheck(chain, [dropped(99)], "--json").out)["comparisons"]
    (found,) = comparison["discrepancies"]
    assert (found["kind"], found["record"], found["last"]) == ("missing", 0, chain.length - 1)


def test_a_longer_chain_before(chain: Chain) -> None:
    """Of one that was longer than this one the last entry tells as much (I8)."""
    last = journal_of(chain)[-1] | {"TIBET_NC_SEQ": "99"}
    (found,) = found_in(chain, [last, *journal_of(chain)])
    assert found[2].startswith("1 entry of another chain, before this one began")


def test_a_first_entry_that_differs_begins_nothing_anew(chain: Chain) -> None:
    """Neither another record 0 nor what comes after it makes a difference another chain's (I8)."""
    journal = journal_of(chain)
    forged = journal[0] | {"TIBET_NC_HEAD": "0" * 64}
    differs = ("differs", 0, "another record")
    assert found_in(chain, [forged, *journal[1:]]) == [differs]
    assert found_in(chain, [forged, forged, *journal[1:]]) == [differs, differs]


def test_an_entry_without_a_head(chain: Chain) -> None:
    """An entry that names a record and not its digest is of none that the chain has (I8)."""
    journal = journal_of(chain)
    del journal[7]["TIBET_NC_HEAD"]
    assert found_in(chain, journal) == [("differs", 7, "another record")]


@pytest.mark.parametrize("number", [None, "", "x", "-3"])
def test_a_note_that_names_no_number_explains_nothing(chain: Chain, number: str | None) -> None:
    """Journald's note of what it dropped counts for nothing without how many."""
    journal = journal_of(chain)
    note = {name: value for name, value in dropped(3).items() if name != "N_DROPPED"}
    if number is not None:
        note["N_DROPPED"] = number
    assert found_in(chain, [*journal[:5], note, *journal[8:]]) == [
        ("missing", 5, "not in the journal")
    ]


def test_another_note_of_journalds_explains_nothing(chain: Chain) -> None:
    """Only the note that it dropped messages does."""
    journal = journal_of(chain)
    other = dropped(3) | {"MESSAGE_ID": "f77379a8490b408bbe5f6940505a777b"}
    assert found_in(chain, [*journal[:5], other, *journal[8:]]) == [
        ("missing", 5, "not in the journal")
    ]


def test_entries_in_another_order(chain: Chain) -> None:
    """Newest first, or as a clock that was set back has them, entries are of no other chain."""
    journal = journal_of(chain)
    assert found_in(chain, journal[::-1]) == []
    assert found_in(chain, journal[3:] + journal[:3]) == []


@pytest.mark.parametrize(
    ("number", "field", "value"),
    [
        (2, "TIBET_NC_SENDER", "@mallory:example.org"),
        (2, "TIBET_NC_EVENT", "$other"),
        (2, "TIBET_NC_KIND", "session"),
        (2, "TIBET_NC_RUN", "0" * 32),
        (3, "TIBET_NC_EXIT", "1"),
        (14, "TIBET_NC_EXIT", "9"),
        (18, "TIBET_NC_CHECKPOINT", "another\n"),
        (0, "MESSAGE_ID", "0" * 32),
        (0, "TIBET_NC_EXIT", "0"),
    ],
)
def test_each_field_is_compared(chain: Chain, number: int, field: str, value: str) -> None:
    """A field that isn't what the record says is named with both values."""
    journal = journal_of(chain)
    journal[number] |= {field: value}
    assert found_in(chain, journal) == [("differs", number, f"{field} is not what the record says")]
    assert "expected" in crosscheck(chain, journal).out


@pytest.mark.parametrize("form", [as_export, as_json])
def test_what_can_not_be_read_hides_nothing(
    chain: Chain, tmp_path: Path, form: Callable[[Sequence[Entry]], bytes]
) -> None:
    """Neither the end of a journal that is none, nor another source, hides what is bad."""
    altered = tmp_path / "altered"
    journal = journal_of(chain)
    for differs in (True, False):
        if differs:
            journal[3]["TIBET_NC_HEAD"] = "0" * 64
        else:
            journal = journal_of(chain)
        altered.write_bytes(form(journal) + b"no entry\n")
        more = ["--journal", str(tmp_path / "nowhere"), "--room", "/dev/null"]
        for sources in ([], more):
            done = crosscheck(chain, journal_of(chain), "--journal", str(altered), *sources)
            assert done.status == (1 if differs else 2)
            assert "GOOD: nothing disagrees with the chain\n" in done.out
            assert "UNREADABLE, so that nobody can compare it: 1\n" in done.out
            assert ("another record" in done.out) == differs
            assert done.err.count("\n") == len(sources) / 2


@pytest.mark.parametrize("number", ["", "-1", "007", "7.0", "x", "9" * 16, None])
def test_an_entry_without_a_number(chain: Chain, number: str | None) -> None:
    """An entry of the executor's that names no record is named, and stands for none (I8)."""
    journal = journal_of(chain)
    journal[7] = {name: value for name, value in journal[7].items() if name != "TIBET_NC_SEQ"}
    if number is not None:
        journal[7]["TIBET_NC_SEQ"] = number
    assert found_in(chain, journal) == [
        ("extra", None, "an entry without a number"),
        ("missing", 7, "not in the journal"),
    ]


def test_only_the_executors_uid_counts(chain: Chain) -> None:
    """Entries of another uid are no evidence, whatever they say; they are counted (I8)."""
    journal = journal_of(chain)
    forged = [entry | {"_UID": "1000", "TIBET_NC_HEAD": "0" * 64} for entry in journal]
    done = crosscheck(chain, forged + journal)
    assert done.status == 0
    assert "others claim to be an executor, and are no evidence: uid 1000 (19)" in done.out
    alone = crosscheck(chain, forged)
    assert alone.status == 1
    assert "no entry with uid 991 is of this chain" in alone.out


def test_only_the_executors_program_counts(chain: Chain) -> None:
    """With --exe, what another program of that uid sent is a finding."""
    journal = journal_of(chain)
    journal[4] |= {"_EXE": "/usr/bin/logger"}
    assert crosscheck(chain, journal).status == 0
    kinds = [(kind, number) for kind, number, _ in found_in(chain, journal, "--exe", EXE)]
    assert kinds == [("extra", 4), ("missing", 4)]


def test_what_the_journal_does_not_cover(chain: Chain) -> None:
    """Entries that were deleted first or aren't there yet are said and held against nobody."""
    done = crosscheck(chain, journal_of(chain)[5:15])
    assert done.status == 0
    assert "the journal begins at record 5: older entries were deleted" in done.out
    assert "the journal ends at record 14, 4 before the chain" in done.out


def test_several_journals(chain: Chain, tmp_path: Path) -> None:
    """Several files are compared each for itself, in one run."""
    journal = journal_of(chain)
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.write_bytes(as_export(journal))
    bad.write_bytes(as_json(journal[:3] + journal[4:]))
    done = within(
        *("--state", chain.root, "crosscheck", "--uid", str(UID)),
        *("--journal", good, "--journal", bad, "--json"),
    )
    assert done.status == 1
    report = json.loads(done.out)
    assert report["good"] is False
    assert [comparison["total"] for comparison in report["comparisons"]] == [0, 1]


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--journal", "/nonexistent", "--uid", "991"],
        ["--journal", "/dev/null", "--uid", "no-such-user"],
        ["--journal", "/dev/null", "--uid", "99999999999"],
        ["--room", "/nonexistent"],
    ],
)
def test_wrong_usage(chain: Chain, arguments: list[str]) -> None:
    """Nothing to compare with, or with nobody, is wrong usage."""
    done = within("--state", chain.root, "crosscheck", *arguments)
    assert (done.status, done.out, len(done.err.splitlines())) == (2, "", 1)
