# SPDX-License-Identifier: MIT
"""Vectors of what is kept on disk: records, chains, payloads, recordings."""

import json
from collections.abc import Callable, Iterator

import msgspec

from tests.vectors import samples
from tests.vectors.case import Case, Layer, Reads
from tests.vectors.every_kind import all_kinds
from tests.vectors.wire import SMALL_ORDER, beyond_order
from tibet_nc_protocol import note
from tibet_nc_protocol.layout import PAYLOADS_CODEC, Payload
from tibet_nc_protocol.recording import CastWriter
from tibet_nc_protocol.records import (
    RECORDS,
    Aborted,
    Checkpoint,
    Genesis,
    Refusal,
    Security,
    SecurityEvent,
    digest,
)
from tibet_nc_protocol.signing import Identity
from tibet_nc_protocol.terms import run_id


def cases() -> Iterator[Case]:
    """Yield every vector of the disk."""
    yield from _records()
    yield from _undecodable()
    yield from _good_chains()
    yield from _bad_chains()
    yield from _bad_checkpoints()
    yield from _changed_keys()
    yield from _cut_chains()
    yield from _payloads()
    yield from _good_recordings()
    yield from _bad_recordings()


def _record(name: str, fact: str, line: bytes, *, refused: bool = False) -> Case:
    return Case(
        name=f"record_{name}",
        fact=fact,
        reads=Reads.RECORD,
        files={"input.json": line},
        refused_by=Layer.DECODE if refused else None,
    )


def _records() -> Iterator[Case]:
    seen: set[str] = set()
    for line in all_kinds():
        kind = type(line.record).__name__.lower()
        if kind not in seen:
            yield _record(kind, f"A record of the kind `{kind}`.", line.line)
        elif isinstance(line.record, Refusal):
            fact = "A record of the kind `refusal`, without its optional fields."
            yield _record("refusal_short", fact, line.line)
        seen.add(kind)
    tricky = Security(
        seq=1,
        prev="0" * 64,
        time=samples.time(1),
        what=SecurityEvent.AGENT,
        detail="".join(map(chr, range(0xA1))) + "é€\u2028\ufeff\U0001f600",
    )
    yield _record("escapes", "Each character in its one form.", samples.signed(tricky).line)


def _undecodable() -> Iterator[Case]:
    line = all_kinds()[6].line
    value: dict[str, object] = json.loads(line)

    def with_(old: bytes, new: bytes) -> bytes:
        assert line.count(old) == 1, old
        return line.replace(old, new)

    def plain(value: object) -> bytes:
        return json.dumps(value, separators=(",", ":")).encode()

    assert plain(value) == line
    bad = {
        "spaces": ("A space after a comma.", json.dumps(value, separators=(", ", ":")).encode()),
        "space_before": ("A space before the record.", b" " + line),
        "line_end": ("A line end belongs to the file, not to the record.", line + b"\n"),
        "carriage_return": ("A carriage return after the record.", line + b"\r"),
        "byte_order_mark": ("A byte order mark before the record.", b"\xef\xbb\xbf" + line),
        "key_order": ("The keys in another order.", plain(dict(reversed(value.items())))),
        "duplicate_key": ("A key stands twice.", with_(b'"seq":6', b'"seq":6,"seq":6')),
        "unknown_key": ("A key that this kind doesn't have.", with_(b'"uid"', b'"uhd"')),
        "missing_key": (
            "`detail` is missing.",
            plain({k: value[k] for k in value if k != "detail"}),
        ),
        "default_written": (
            "An absent value, written as null.",
            with_(b'"sig"', b'"room":null,"sig"'),
        ),
        "unknown_kind": ("No kind is called `secret`.", with_(b'"security"', b'"secret"')),
        "missing_kind": ("There is no `kind`.", with_(b'"kind":"security",', b"")),
        "needless_escape": ("A letter, escaped.", with_(b'"peer"', b'"\\u0070eer"')),
        "escaped_solidus": ("A solidus, escaped.", with_(b"a process", b"a\\/process")),
        "escaped_unicode": ("A character beyond ASCII, escaped.", with_(b"a process", b"\\u00e9")),
        "long_escape": ("A line end as \\u000a.", with_(b"a process", b"\\u000a")),
        "upper_case_escape": ("An escape in upper case.", with_(b"a process", b"\\u001B")),
        "lone_surrogate": ("Half of a surrogate pair.", with_(b"a process", b"\\ud800")),
        "invalid_utf8": ("A text with the byte ff.", with_(b"a process", b"\xff")),
        "raw_control": ("A control character, not escaped.", with_(b"a process", b"\x1b")),
        "float_for_integer": ("6.0 for 6.", with_(b'"seq":6', b'"seq":6.0')),
        "exponent": ("6e0 for 6.", with_(b'"seq":6', b'"seq":6e0')),
        "leading_zero": ("06 for 6.", with_(b'"seq":6', b'"seq":06')),
        "negative_zero": ("-0 for 0.", with_(b'"uid":1000', b'"uid":-0')),
        "bool_for_integer": ("true for 1.", with_(b'"uid":1000', b'"uid":true')),
        "text_for_integer": ('"6" for 6.', with_(b'"seq":6', b'"seq":"6"')),
        "over_exact_integer": (
            "2^53 for a count.",
            with_(b'"uid":1000', b'"uid":9007199254740992'),
        ),
        "time_with_milliseconds": (
            "A time with three digits after its seconds.",
            with_(b'000000Z"', b'000Z"'),
        ),
        "time_without_zone": ("A time without its Z.", with_(b'000000Z"', b'000000"')),
        "time_with_other_digits": (
            "A time in Arabic-Indic digits.",
            with_(b"2026-", "٢٠٢٦-".encode()),
        ),
        "upper_case_signature": (
            "A signature in upper case.",
            with_(str(value["sig"]).encode(), str(value["sig"]).upper().encode()),
        ),
        "trailing_record": ("Two records in one line.", line + line),
        "truncated": ("The last byte is missing.", line[:-1]),
        "empty": ("An empty line.", b""),
        "array": ("An array for an object.", b"[" + line + b"]"),
        "deep_nesting": ("Arrays in arrays, 10,000 deep.", b"[" * 10_000 + b"]" * 10_000),
        "deep_unknown_key": (
            "An unknown key before the kind, with arrays in arrays, 20,000 deep.",
            line.replace(b"{", b'{"deep":' + b"[" * 20_000 + b"]" * 20_000 + b",", 1),
        ),
    }
    for name, (fact, data) in bad.items():
        yield _record(name, fact, data, refused=True)


def _chain(
    name: str,
    fact: str,
    lines: list[bytes],
    *,
    step: int | None = None,
    at: int | None = None,
    held: tuple[int, str] | None = None,
) -> Case:
    facts: dict[str, object] = {"key": samples.EXECUTOR.public_key.hex}
    if held is not None:
        facts["held"] = {"length": held[0], "head": held[1]}
    if step is not None:
        facts |= {"step": step, "at": at}
    return Case(
        name=f"chain_{name}",
        fact=fact,
        reads=Reads.CHAIN,
        files={"input.jsonl": b"".join(line + b"\n" for line in lines)},
        refused_by=None if step is None else Layer.CHAIN,
        facts=facts,
    )


def _left(times: int) -> list[bytes]:
    """Return a chain of a command that left something running, which ended so many times."""
    first, second, _ = samples.three_records()
    lines = [first, second, samples.signed(samples.outcome(2, second.digest, of=1, leftover=1))]
    for seq in range(3, 3 + times):
        lines.append(samples.signed(samples.remainder(seq, lines[-1].digest, of=1)))
    return [line.line for line in lines]


def _good_chains() -> Iterator[Case]:
    three = [line.line for line in samples.three_records()]
    every = all_kinds()
    yield _chain("empty", "A chain of no records.", [])
    yield _chain("of_the_specification", "The chain of SPEC.md.", three)
    yield _chain("of_every_kind", "Every kind of record.", [line.line for line in every])
    yield _chain("still_running", "A command that has not ended.", three[:2])
    yield _chain("left_running", "A command that ended and left something running.", _left(0))
    yield _chain("remainder", "What a command left running has ended.", _left(1))
    held = samples.three_records()[1]
    yield _chain("grown", "A chain that grew beyond a held head.", three, held=(2, held.digest))


def _bad_chains() -> Iterator[Case]:
    first, second, third = samples.three_records()
    a, b, c = first.line, second.line, third.line
    every = [line.line for line in all_kinds()]

    def bad(name: str, fact: str, lines: list[bytes], *, step: int, at: int) -> Case:
        return _chain(name, fact, lines, step=step, at=at)

    def after(make: Callable[[int, str], bytes]) -> list[bytes]:
        """Return the three records and a fourth."""
        return [a, b, c, make(3, third.digest)]

    yield bad("blank_line", "An empty line between records.", [a, b"", b, c], step=1, at=1)
    spaced = json.dumps(json.loads(b), separators=(", ", ":")).encode()
    yield bad("not_canonical", "A record with spaces in it.", [a, spaced, c], step=2, at=1)
    yield bad("dropped", "A record was taken out.", [a, c], step=3, at=1)
    yield bad("beginning_dropped", "The genesis was taken out.", [b, c], step=3, at=0)
    yield bad("doubled", "A record stands twice.", [a, b, b, c], step=3, at=2)
    yield bad("swapped", "Two records were exchanged.", [a, c, b], step=3, at=1)
    unlinked = samples.signed(samples.outcome(2, first.digest, of=1))
    yield bad("not_linked", "`prev` is an older record's.", [a, b, unlinked.line], step=4, at=2)
    other = samples.signed(samples.intent(1, first.digest, event=samples.OTHER_EVENT))
    yield bad(
        "replaced", "A record was made anew, not so the next.", [a, other.line, c], step=4, at=2
    )
    yield from _bad_genesis()
    forged = samples.signed(samples.intent(1, first.digest), samples.STRANGER)
    yield bad("forged", "A record signed with another key.", [a, forged.line], step=6, at=1)
    altered = b.replace(b'"session":"0', b'"session":"1')
    yield bad("altered", "A record was altered.", [a, altered, c], step=6, at=1)
    unsigned = RECORDS.encode(samples.intent(1, first.digest))
    yield bad("unsigned", "A record without a signature.", [a, unsigned], step=6, at=1)
    sig = json.loads(b)["sig"]
    beyond = b.replace(sig.encode(), beyond_order(bytes.fromhex(sig)).hex().encode())
    yield bad(
        "s_plus_l", "A signature's S is not below the group's order.", [a, beyond], step=6, at=1
    )
    orphan = samples.signed(samples.outcome(1, first.digest, of=0))
    yield bad("no_intent", "A command ends that never began.", [a, orphan.line], step=7, at=1)
    yield bad(
        "ended_twice",
        "A command has two outcomes.",
        after(lambda seq, prev: samples.signed(samples.outcome(seq, prev, of=1)).line),
        step=7,
        at=3,
    )
    yield bad(
        "aborted_after_outcome",
        "A command that ended is aborted.",
        after(
            lambda seq, prev: (
                samples.signed(
                    Aborted(
                        seq=seq,
                        prev=prev,
                        time=samples.time(3),
                        intent=1,
                        run=samples.RUN,
                        detail="",
                    )
                ).line
            )
        ),
        step=7,
        at=3,
    )
    crossed = samples.signed(samples.outcome(2, second.digest, of=1, event=samples.OTHER_EVENT))
    yield bad(
        "remainder_of_nothing",
        "A command that left nothing running has a remainder.",
        after(lambda seq, prev: samples.signed(samples.remainder(seq, prev, of=1)).line),
        step=7,
        at=3,
    )
    yield bad("remainder_twice", "What was left running ends twice.", _left(2), step=7, at=4)
    run = run_id(samples.ROOM, samples.OTHER_EVENT)
    strange = samples.signed(samples.remainder(3, digest(_left(0)[-1]), of=1, run=run)).line
    yield bad(
        "remainder_of_other_run",
        "A remainder names another run.",
        [*_left(0), strange],
        step=7,
        at=3,
    )
    yield bad("other_run", "An outcome names another run.", [a, b, crossed.line], step=7, at=2)
    later = every[:4] + every[5:]
    yield bad("first_of_many", "Only the first fault counts.", later, step=3, at=4)


def _changed_keys() -> Iterator[Case]:
    lines = [line.line for line in samples.three_records()]
    key = samples.new_key(3, samples.three_records()[2].digest)

    def after(line: samples.Line, identity: Identity) -> list[bytes]:
        """Return the three records, a key record, and a checkpoint signed by an identity."""
        begin = [*lines, line.line]
        checkpoint = samples.checkpoint(begin, identity)
        return [*begin, samples.signed(checkpoint, identity).line]

    good = samples.signed(key)
    fact = "The chain goes on with the key that a key record names."
    yield _chain("key_changed", fact, after(good, samples.NEXT))
    fact = "The old key signs after it was changed."
    yield _chain("old_key_after_change", fact, after(good, samples.EXECUTOR), step=6, at=4)
    forged = samples.signed(key, samples.NEXT)
    fact = "The new key signs its own key record."
    yield _chain("key_changed_by_itself", fact, [*lines, forged.line], step=6, at=3)
    weak = SMALL_ORDER["1"].to_bytes(32, "little").hex()
    changed = samples.signed(msgspec.structs.replace(key, key=weak))
    fact = "A key record names a key that anyone can sign for."
    yield _chain("key_changed_to_weak", fact, [*lines, changed.line], step=5, at=3)


def _bad_genesis() -> Iterator[Case]:
    first, second, third = samples.three_records()
    genesis = first.record
    assert isinstance(genesis, Genesis)

    def at_0(name: str, fact: str, line: bytes) -> Case:
        return _chain(name, fact, [line], step=5, at=0)

    again = msgspec.structs.replace(genesis, seq=3, prev=third.digest)
    lines = [first.line, second.line, third.line, samples.signed(again).line]
    yield _chain("second_genesis", "A genesis that is not the first.", lines, step=5, at=3)
    intent = samples.signed(samples.intent(0, "0" * 64))
    yield at_0("no_genesis", "The first record is no genesis.", intent.line)
    linked = samples.signed(msgspec.structs.replace(genesis, prev=third.digest)).line
    yield _chain("linked_genesis", "The genesis links to a record.", [linked], step=4, at=0)
    stranger = samples.genesis(samples.STRANGER)
    yield at_0("other_executor", "A good chain of another executor.", stranger.line)
    changed = samples.signed(msgspec.structs.replace(genesis, format=2))
    yield at_0("other_format", "A chain of a later format.", changed.line)
    weak = SMALL_ORDER["1"].to_bytes(32, "little").hex()
    changed = samples.signed(msgspec.structs.replace(genesis, key=weak))
    yield at_0("small_order_key", "The genesis names a key that anyone can sign for.", changed.line)


def _bad_checkpoints() -> Iterator[Case]:
    lines = [line.line for line in samples.three_records()]
    good = samples.checkpoint(lines)

    def case(name: str, fact: str, changed: Checkpoint) -> Case:
        line = samples.signed(changed).line
        return _chain(f"checkpoint_{name}", fact, [*lines, line], step=8, at=3)

    def noted(size: int) -> str:
        """Return a note that says the same root of another size."""
        said = note.Checkpoint(origin=samples.EXECUTOR.id, size=size, root=bytes.fromhex(good.root))
        return note.sign_note(said.text(), samples.EXECUTOR.id, samples.EXECUTOR)

    replace = msgspec.structs.replace
    fewer = samples.checkpoint(lines[:2])
    yield case("of_other_size", "A checkpoint over fewer records.", replace(good, size=2))
    yield case("of_more", "A checkpoint over more records.", replace(good, size=4, note=noted(4)))
    yield case("of_other_root", "Another root than the lines'.", replace(good, root="0" * 64))
    yield case("with_other_note", "The note speaks of 2 records.", replace(good, note=fewer.note))
    yield case(
        "with_other_size", "The note has the root, of 2 records.", replace(good, note=noted(2))
    )
    stranger = samples.checkpoint(lines, samples.STRANGER)
    yield case("of_a_stranger", "The note is signed with another key.", stranger)
    text = good.note.partition("\n\n")[0] + "\n"
    yield case("without_signature", "The note isn't signed.", replace(good, note=text))
    padded = good.note.replace("\n3\n", "\n03\n")
    yield case("not_canonical", "The note's size is 03.", replace(good, note=padded))


def _cut_chains() -> Iterator[Case]:
    first, second, third = samples.three_records()
    yield _chain(
        "cut",
        "Shorter than a head that someone holds.",
        [first.line, second.line],
        step=9,
        at=2,
        held=(3, third.digest),
    )
    other = samples.signed(samples.intent(1, first.digest, event=samples.OTHER_EVENT))
    yield _chain(
        "forked",
        "A good chain, signed with the right key, that is not the one whose head someone holds.",
        [first.line, other.line],
        step=9,
        at=1,
        held=(2, second.digest),
    )


def _payloads() -> Iterator[Case]:
    def case(name: str, fact: str, line: bytes, *, refused: bool = True) -> Case:
        return Case(
            name=f"payload_{name}",
            fact=fact,
            reads=Reads.PAYLOAD,
            files={"input.json": line},
            refused_by=Layer.DECODE if refused else None,
        )

    good = PAYLOADS_CODEC.encode(Payload(seq=1, salt=samples.SALT.hex(), command=samples.COMMAND))
    yield case("good", "The text that record 1 of SPEC.md commits to.", good, refused=False)
    yield case("spaces", "A space after a comma.", good.replace(b",", b", "))
    yield case("short_salt", "A salt of 15 bytes.", good.replace(b'"salt":"00', b'"salt":"'))
    yield case("empty_command", "A command without a character.", good.replace(b"uname", b""))
    yield case("unknown_key", "A key that a payload doesn't have.", good[:-1] + b',"x":1}')


def _good_recordings() -> Iterator[Case]:
    def case(name: str, fact: str, *pieces: bytes, mark: str | None = None) -> Case:
        writer = CastWriter()
        cast = writer.header(columns=80, rows=24, timestamp=1795564800, title="#1")
        for second, piece in enumerate(pieces):
            cast += writer.output(piece, second / 4)
        if mark is not None:
            cast += writer.mark(mark, len(pieces) / 4)
        cast += writer.finish(len(pieces) / 4, "0")
        return Case(
            name=f"recording_{name}",
            fact=fact,
            reads=Reads.RECORDING,
            files={"input.cast": cast, "output.bin": b"".join(pieces)},
        )

    yield case("text", "Text in two pieces.", b"hello\r\n", "grüße\r\n".encode())
    yield case("silent", "A command that printed nothing.")
    yield case("split_character", "A character in two pieces.", b"\xe2\x82", b"\xac")
    yield case("invalid_utf8", "Bytes that are no text.", b"a\xffb", b"\x00\x80\xfe")
    yield case("invalid_then_split", "Both.", b"\xff\xe2\x82", b"\xac!")
    yield case("cut_character", "The output ends inside a character.", b"ok \xf0\x9f\x98")
    yield case("replacement", "A real U+FFFD is text.", b"\xef\xbf\xbd")
    yield case("capped", "The limit was reached.", b"much", mark="recording limit reached")
    yield case("controls", "Control characters.", bytes(range(0x20)) + b"\x7f\x1b[31mred\x1b[0m")
    header = CastWriter().header(columns=80, rows=24, timestamp=1795564800, title="#1")

    def written(name: str, fact: str, *lines: bytes, output: bytes) -> Case:
        return Case(
            name=f"recording_{name}",
            fact=fact,
            reads=Reads.RECORDING,
            files={"input.cast": b"".join(lines), "output.bin": output},
        )

    more = header.replace(b"{", b'{"env":{"SHELL":null},', 1)
    text = b'[0,"o","x"]\n'
    yield written("further_keys", "A header with more keys.", more, text, output=b"x")
    code = b'[0,"z","\\u001b"]\n'
    yield written("other_code", "A code of its own.", header, code, text, output=b"x")
    loose = b'[0,"b","/x=="]\n', '[0,"o","\ufffd"]\n'.encode()
    fact = "Base64 with bits that no byte needs."
    yield written("loose_bits", fact, header, *loose, output=b"\xff")


def _bad_recordings() -> Iterator[Case]:
    header = CastWriter().header(columns=80, rows=24, timestamp=1795564800, title="#1")

    def case(name: str, fact: str, *lines: bytes) -> Case:
        return Case(
            name=f"recording_{name}",
            fact=fact,
            reads=Reads.RECORDING,
            files={"input.cast": b"".join(lines)},
            refused_by=Layer.RECORDING,
            facts={"at": len(lines) - 1},
        )

    raw = b'[0.0,"b","/w=="]\n'
    shown = '[0.0,"o","\ufffd"]\n'.encode()
    output = b'[0.0,"o","x"]\n'
    yield case("no_header", "The first line is an event.", output)
    yield case("version_2", "asciicast v2.", b'{"version":2,"width":80,"height":24}\n')
    yield case("version_4", "A version that we don't know.", header.replace(b":3,", b":4,"))
    yield case("no_title", "A header without its title.", header.replace(b"title", b"name"))
    yield case("not_json", "A line that is not JSON.", header, b"#\n")
    yield case("truncated", "A line without its end.", header, output[:-3])
    yield case("four_items", "An event of four items.", header, b'[0.0,"o","x",1]\n')
    yield case("negative_interval", "Time goes back.", header, b'[-1.0,"o","x"]\n')
    yield case("infinite_interval", "Beyond all numbers.", header, b'[1e999,"o","x"]\n')
    yield case("lone_surrogate", "Half of a surrogate pair.", header, b'[0.0,"o","\\ud800"]\n')
    yield case("not_base64", "Bytes that are not in base64.", header, b'[0.0,"b","/w="]\n')
    beyond = '[0.0,"b","é"]\n'.encode()
    yield case("base64_beyond_ascii", "Base64 has no accents.", header, beyond)
    yield case("bytes_not_shown", "Bytes without what they show.", header, raw, raw)
    yield case("bytes_not_shown_at_the_end", "It ends with bytes.", header, output, raw)
    yield case("base64_and_more", "A line end in base64.", header, b'[0.0,"b","/w==\\n"]\n')
    yield case("shows_other", "Bytes are followed by something else.", header, raw, output)
    deep = b"[" * 20_000 + b"]" * 20_000
    yield case("deep_nesting", "Arrays in arrays.", header, deep + b"\n")
    deep_header = header.replace(b"{", b'{"deep":' + deep + b",", 1)
    yield case("deep_header", "An unknown key of the header with arrays in arrays.", deep_header)
    assert shown != output
