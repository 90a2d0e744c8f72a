# SPDX-License-Identifier: MIT
"""The chain: what a record costs, how fast all of them are verified, how long a start takes."""

import hashlib
import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import msgspec

from tests.audit.chains import Chain
from tests.bench import journal_files, long_chain
from tests.bench.debian import MissingError
from tests.bench.lone_executor import LoneExecutor
from tests.bench.process import peak_mb, resident_mb
from tests.bench.report import OURS, TIMES, Report
from tests.bench.settings import Settings
from tests.bench.stats import milliseconds
from tests.harness import recheck
from tests.harness.host import ROOT
from tibet_nc_executor.config import read_key
from tibet_nc_executor.durable import open_append, write_all
from tibet_nc_executor.ledger import Ledger, Place, Salted
from tibet_nc_protocol.layout import CHAIN, PAYLOADS_CODEC, Payload
from tibet_nc_protocol.merkle import Frontier
from tibet_nc_protocol.records import RECORDS, Record, sign
from tibet_nc_protocol.signing import Identity

GROUP = "chain"
BARE = "write + fdatasync"
SHORT_RECORDS = 1_000
SIGNED_COMMANDS = 5_000
SPARSE_CHECKPOINT_RECORDS = 1_000
JOURNAL_ENTRIES = 50_000
APPENDS = 300
STARTS = 10
SAMPLE_SECONDS = 0.02
SEGMENT_BYTES = 64 * 1024 * 1024
TOKEN_BYTES = 900
RECORDING_BYTES = 300


class _Link(msgspec.Struct):
    seq: int
    prev: str


async def run(report: Report, settings: Settings) -> None:
    """Measure the chain."""
    await _append(report, settings)
    with (
        LoneExecutor(settings.place("chain-short")) as short,
        LoneExecutor(settings.place("chain-long")) as executor,
    ):
        _lengthen(short, SHORT_RECORDS)
        _long(report, settings, executor)
        _starts(report, settings, short, executor)
        _verify(report, settings, executor)
    with LoneExecutor(settings.place("chain-sparse")) as executor:
        executor.stop()
        _verify_sparse(report, settings, executor)
    _verify_signed(report, settings)
    _verify_journal(report, settings)


async def _append(report: Report, settings: Settings) -> None:
    """Measure a record beside the same bytes, written to as many files in the same order."""
    directory = settings.place("chain-append")
    identity = Identity(os.urandom(32))
    ledger = Ledger(
        directory, identity, clock=time.time, segment_bytes=SEGMENT_BYTES, after=_ignore
    )
    salt, command, run = os.urandom(16), "df -h", "0" * 32
    with ExitStack() as stack:
        files = [open_append(directory / f"bare-{number}") for number in range(3)]
        others = [open_append(directory / f"other-{number}") for number in range(2)]
        for descriptor in (*files, *others):
            stack.callback(os.close, descriptor)

        def intent(place: Place) -> Record:
            return long_chain.intent(place.seq, place.prev, run)

        def outcome(place: Place) -> Record:
            return long_chain.outcome(place.seq, place.prev, run, place.seq)

        payload = PAYLOADS_CODEC.encode(Payload(seq=1, salt=salt.hex(), command=command))
        lines = [
            RECORDS.encode(sign(long_chain.intent(1, "0" * 64, run), identity)),
            RECORDS.encode(sign(long_chain.outcome(1, "0" * 64, run, 1), identity)),
        ]
        token, recording = b"t" * TOKEN_BYTES, b"r" * RECORDING_BYTES
        series: dict[str, tuple[list[float], list[float]]] = {
            "record, 1 file": ([], []),
            "intent with its text, 2 files": ([], []),
            "outcome with token and recording, 3 files": ([], []),
        }
        for _ in range(min(APPENDS, 3 * settings.n)):
            ours, bare = series["record, 1 file"]
            begin = time.perf_counter()
            await ledger.append(outcome)
            ours.append(milliseconds(begin))
            bare.append(_bare(files, [lines[1]]))
            ours, bare = series["intent with its text, 2 files"]
            begin = time.perf_counter()
            await ledger.append(intent, text=Salted(salt=salt, command=command))
            ours.append(milliseconds(begin))
            bare.append(_bare(files, [payload, lines[0]]))
            ours, bare = series["outcome with token and recording, 3 files"]
            begin = time.perf_counter()
            write_all(others[0], token)
            write_all(others[1], recording)
            await ledger.append(outcome, before=others)
            ours.append(milliseconds(begin))
            bare.append(_bare(files, [token, recording, lines[1]]))
        for what, (ours, bare) in series.items():
            found = report.add(GROUP, f"append: {what}", OURS, ours)
            beside = report.add(GROUP, f"append: {what}", BARE, bare)
            report.at_most(GROUP, f"append over bare, {what}", found.p50 / beside.p50, 1.5, TIMES)
    await ledger.close()


def _ignore(_record: Record, _head: str) -> None:
    """Take no notice of a record: index and journal are not what is measured."""


def _bare(files: Sequence[int], parts: Sequence[bytes]) -> float:
    begin = time.perf_counter()
    for descriptor, data in zip(files, parts, strict=False):
        os.write(descriptor, data + b"\n")
    for descriptor, _ in zip(files, parts, strict=False):
        os.fdatasync(descriptor)
    return milliseconds(begin)


def _lengthen(executor: LoneExecutor, records: int) -> None:
    """Stop an executor and make its chain longer, and its index as well."""
    executor.stop()
    identity = Identity(read_key(executor.state / "executor.key"))
    long_chain.extend(executor.state, identity, records)
    long_chain.index(executor.state)


def _long(report: Report, settings: Settings, executor: LoneExecutor) -> None:
    begin = time.perf_counter()
    _lengthen(executor, settings.records)
    seconds = time.perf_counter() - begin
    report.add(
        GROUP, "index made anew from the chain", OURS, settings.records / seconds,
        unit="rec./s", note="with making the chain; only after the index was lost",
    )  # fmt: skip


def _starts(report: Report, settings: Settings, short: LoneExecutor, long: LoneExecutor) -> None:
    """Start both executors in turns; they are stopped before and afterwards."""
    series: dict[LoneExecutor, list[float]] = {short: [], long: []}
    memory: dict[LoneExecutor, float] = {}
    for _ in range(STARTS):
        for executor, starts in series.items():
            begin = time.perf_counter()
            executor.start()
            starts.append(milliseconds(begin))
            memory[executor] = resident_mb(executor.pid)
            executor.stop()
    found: list[float] = []
    for executor, records in ((short, SHORT_RECORDS), (long, settings.records)):
        who = f"{records:,} records"
        found.append(report.add(GROUP, "executor: start to ready", who, series[executor]).p50)
        report.add(GROUP, "executor: memory after a start", who, memory[executor], unit="MB")
    report.at_most(
        GROUP, "start-up with the long chain over the short one", found[1] / found[0], 1.2, TIMES
    )


def _verify(report: Report, settings: Settings, executor: LoneExecutor) -> None:
    seconds, megabytes = _audit(executor.state, executor.key.hex, "--chain-only")
    what = f"verify --chain-only, {settings.records:,} records"
    rate = settings.records / seconds
    bare = settings.records / _bare_walk(executor.state / CHAIN)
    report.add(
        GROUP, what, OURS, rate, unit="rec./s", note=f"per processor second; {megabytes:.0f} MB"
    )
    note = "number and link, both SHA-256 and the tree of the same lines; no checkpoint"
    report.add(GROUP, what, "bare loop", bare, unit="rec./s", note=note)
    _verify_again(report, settings, executor)
    report.at_least(GROUP, "verify numbers, links, roots and checkpoints", rate, 500_000, "rec./s")
    report.at_least(GROUP, "verify over the bare loop", rate / bare, 0.7, TIMES)


def _verify_again(report: Report, settings: Settings, executor: LoneExecutor) -> None:
    """Measure the second verifier on the same chain."""
    program = recheck.build(settings.place("recheck"))
    for options, checked in (
        (["--chain-only"], f"a checkpoint each {long_chain.CHECKPOINT_RECORDS} records"),
        ([], "the form of each record, too"),
    ):
        seconds, megabytes = _measured(
            program, "--state", executor.state, "--key", executor.key.hex, *options
        )
        report.add(
            GROUP, " ".join(["verify", *options]) + f", {settings.records:,} records",
            "the second verifier, one core", settings.records / seconds, unit="rec./s",
            note=f"{checked}; {megabytes:.0f} MB",
        )  # fmt: skip


def _verify_sparse(report: Report, settings: Settings, executor: LoneExecutor) -> None:
    """Measure the second verifier where a signature stands for many records."""
    identity = Identity(read_key(executor.state / "executor.key"))
    each = SPARSE_CHECKPOINT_RECORDS
    long_chain.extend(executor.state, identity, settings.records, checkpoint_records=each)
    program = recheck.build(settings.place("recheck-sparse"))
    seconds, megabytes = _measured(
        program, "--state", executor.state, "--key", executor.key.hex, "--chain-only"
    )
    rate = settings.records / seconds
    report.add(
        GROUP, f"verify --chain-only, {settings.records:,} records",
        "the second verifier, one core", rate, unit="rec./s",
        note=f"a checkpoint each {each:,} records; {megabytes:.0f} MB",
    )  # fmt: skip
    report.at_least(
        GROUP, f"second verifier, with roots and a checkpoint each {each:,} records", rate, 500_000,
        "rec./s",
    )  # fmt: skip


def _bare_walk(chain: Path) -> float:
    """Return the processor seconds of the least that a walk over links and tree can do."""
    decode, sha256 = msgspec.json.Decoder(_Link).decode, hashlib.sha256
    begin = time.process_time()
    tree = Frontier()
    for path in sorted(chain.iterdir()):
        leaves: list[bytes] = []
        for line in path.read_bytes().splitlines():
            decode(line)
            sha256(line).hexdigest()
            leaves.append(sha256(b"\0" + line).digest())
        tree.extend(leaves)
    return time.process_time() - begin


def _verify_signed(report: Report, settings: Settings) -> None:
    directory = settings.place("chain-signed")
    chain = Chain(directory)
    commands = SIGNED_COMMANDS // 10 if settings.quick else SIGNED_COMMANDS
    for number in range(commands):
        chain.command("df -h", b"output\n" if number % 2 else b"")
    key = chain.identity.public_key.hex
    for option, note in (
        (["--deep", "--jobs", "1"], "every signature"),
        ([], "anchors' signatures"),
    ):
        seconds, megabytes = _audit(directory, key, *option)
        report.add(
            GROUP, " ".join(["verify", *option[:1], f"{chain.length:,} records"]), OURS,
            chain.length / seconds, unit="rec./s",
            note=f"{note}, texts, recordings, tokens; one core; {megabytes:.0f} MB",
        )  # fmt: skip
    begin = time.perf_counter()
    _audit(directory, key, "--deep")
    seconds = time.perf_counter() - begin
    report.add(
        GROUP, f"verify --deep {chain.length:,} records, all cores", OURS, chain.length / seconds,
        unit="rec./s", note=f"{os.process_cpu_count()} cores, by the clock, with the start",
    )  # fmt: skip


def _verify_journal(report: Report, settings: Settings) -> None:
    directory = settings.place("journal")
    entries = JOURNAL_ENTRIES // 10 if settings.quick else JOURNAL_ENTRIES
    try:
        journal_files.write(directory, entries)
    except MissingError as error:
        report.lack(f"journalctl --verify: {error}")
        return
    rate = entries / journal_files.verify(directory)
    report.add(
        GROUP, f"verify --chain-only, {settings.records:,} records", "journalctl --verify", rate,
        unit="rec./s", note=f"on {entries:,} entries; unsealed",
    )  # fmt: skip


def _audit(state: Path, key: str, *options: str) -> tuple[float, float]:
    """Verify a chain with the auditor's program; return what it took."""
    program = ROOT / ".venv/audit/bin/tibet-nc-audit"
    return _measured(program, "verify", "--state", state, "--key", key, *options)


def _measured(program: Path, *arguments: str | Path) -> tuple[float, float]:
    """Run a verifier in a process of its own; return processor seconds and the most memory in MB.

    Processor time is what one core needs, whatever else the machine does meanwhile.
    """
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            [program, *arguments], stdout=said, stderr=said, env={**os.environ, "GOMAXPROCS": "1"}
        )
        megabytes = 0.0
        while (ended := os.wait4(process.pid, os.WNOHANG))[0] == 0:
            # The kernel's own figure for an ended child would count our memory before its exec.
            with suppress(ProcessLookupError):
                megabytes = peak_mb(process.pid)
            time.sleep(SAMPLE_SECONDS)
        _, status, usage = ended
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            said.seek(0)
            raise ChildProcessError(f"{program.name}: {said.read().decode()}")
    return usage.ru_utime + usage.ru_stime, megabytes
