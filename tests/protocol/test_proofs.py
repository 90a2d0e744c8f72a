# SPDX-License-Identifier: MIT
"""Proofs of single records and of growth: only the truth passes (SPEC §7, Proofs)."""

import base64
import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.vectors import samples
from tests.vectors.trees import consistency_proof, inclusion_proof
from tibet_nc_protocol import proofs
from tibet_nc_protocol.errors import ProofError
from tibet_nc_protocol.layout import Payload
from tibet_nc_protocol.limits import PROOF_BYTES
from tibet_nc_protocol.merkle import (
    leaf_hash,
    tree_root,
    verify_inclusion,
)
from tibet_nc_protocol.note import Checkpoint, sign_note
from tibet_nc_protocol.signing import Identity, PublicKey

KEY = samples.EXECUTOR.public_key
LINES = [line.line for line in samples.three_records()]
LEAVES = [leaf_hash(line) for line in LINES]
NOTE = samples.checkpoint(LINES).note
OLD = samples.checkpoint(LINES[:2]).note
TEXT = Payload(seq=1, salt="000102030405060708090a0b0c0d0e0f", command="uname")


def command() -> proofs.CommandProof:
    """Return the proof of the example's command."""
    return proofs.CommandProof(
        format=1,
        genesis=LINES[0].decode(),
        keys=[],
        records=[
            proofs.Shown(
                line=LINES[number].decode(),
                proof=proofs.tlog_proof(number, inclusion_proof(LEAVES, number), NOTE),
            )
            for number in (1, 2)
        ],
        text=TEXT,
    )


def growth() -> proofs.GrowthProof:
    """Return the proof that the example's chain only grew."""
    path = [base64.b64encode(step).decode() for step in consistency_proof(LEAVES, 2)]
    return proofs.GrowthProof(
        format=1, genesis=LINES[0].decode(), keys=[], old=OLD, new=NOTE, path=path
    )


def test_a_command_is_shown() -> None:
    """The proof of a command shows its text, its records and whose they are, without the others."""
    shown = proofs.verify_command(command(), KEY)
    assert shown.text == "uname"
    assert [record.seq for record in shown.records] == [1, 2]
    assert (shown.keys.genesis.host, shown.checkpoint.size) == ("web1", 3)
    written = proofs.encode(command())
    assert proofs.decode(written) == command()


def test_growth_is_shown() -> None:
    """The proof of growth shows both checkpoints to be of one chain."""
    shown = proofs.verify_growth(growth(), KEY)
    assert (shown.old.size, shown.new.size) == (2, 3)
    assert proofs.decode(proofs.encode(growth())) == growth()


def test_the_public_form_holds_the_proof() -> None:
    """The tlog-proof in it is checked by its text alone, as the public specification has it."""
    head, _, note = command().records[0].proof.partition("\n\n")
    name, index, *steps = head.split("\n")
    assert (name, index) == ("c2sp.org/tlog-proof@v1", "index 1")
    path = [base64.b64decode(step) for step in steps]
    root = base64.b64decode(note.split("\n")[2])
    verify_inclusion(LEAVES[1], 1, 3, path, root)
    assert root == tree_root(LEAVES)


@pytest.mark.parametrize("proof", [command(), growth()])
@pytest.mark.parametrize(
    "changes",
    [
        {"format": 2},
        {"format": True},
        {"more": ""},
        {"proof": "other"},
        {"keys": None},
        {"records": []},
        {"records": [{"line": "", "proof": ""}] * 3},
        {"records": [{"line": "", "proof": "", "more": ""}]},
        {"records": [{"line": ""}]},
    ],
)
def test_what_is_no_file_of_a_proof(proof: proofs.Proof, changes: dict[str, object]) -> None:
    """A file with another format, other fields, or none or too many records is no proof."""
    whole = json.loads(proofs.encode(proof))
    assert proofs.decode(json.dumps(whole).encode()) == proof
    with pytest.raises(ProofError, match="not a proof of tibet-nc"):
        proofs.decode(json.dumps(whole | changes).encode())


def test_a_file_has_a_bound() -> None:
    """The longest file is read, and one byte more isn't looked at."""
    data = proofs.encode(command())
    longest = data + b" " * (PROOF_BYTES - len(data))
    assert proofs.decode(longest) == command()
    with pytest.raises(ProofError, match=f"at most {PROOF_BYTES}"):
        proofs.decode(longest + b" ")


STEP = base64.b64encode(bytes(32)).decode()


def _tlog_proof(index: str, steps: int = 1, extra: str = "") -> str:
    return f"{proofs.TLOG_PROOF}\n{extra}{index}\n{f'{STEP}\n' * steps}\n{NOTE}"


@pytest.mark.parametrize("index", [0, 1, 10, 2**53 - 1])
def test_every_index_is_read(index: int) -> None:
    """Every number that a record can have is read, whether something extra stands before or not."""
    for extra in ("", "extra AAAA\n"):
        read = proofs.read_tlog_proof(_tlog_proof(f"index {index}", extra=extra))
        assert read == (index, [bytes(32)], NOTE)


@pytest.mark.parametrize(
    "index",
    [
        "",
        "index",
        "index ",
        "index 01",
        "index -1",
        "index \u0661",
        "index 1 ",
        "index 1" + "0" * 16,
        "index " + "9" * 5000,
        "Index 1",
        "extra AAAA",
        STEP,
    ],
)
def test_what_is_no_index(index: str) -> None:
    """An index has one form, and a proof without one is none."""
    with pytest.raises(ProofError, match="names the index of its entry"):
        proofs.read_tlog_proof(_tlog_proof(index))


@pytest.mark.parametrize(
    "text",
    [
        "",
        _tlog_proof("index 1").replace(f"\n\n{NOTE}", ""),
        _tlog_proof("index 1").replace("@v1", "@v2"),
        f"\n{_tlog_proof('index 1')}",
        "\n\n" + NOTE,
    ],
)
def test_what_is_no_tlog_proof(text: str) -> None:
    """A proof begins with the name of its format, and its note is set apart by an empty line."""
    with pytest.raises(ProofError, match="not a tlog-proof"):
        proofs.read_tlog_proof(text)


def test_whose_chain_it_is_must_be_signed() -> None:
    """A genesis is the first record, of a known format, and signed by the key that it names."""
    genesis = samples.genesis().record
    assert proofs.read_keys(LINES[0].decode(), [], KEY).first == KEY
    for changes in ({"seq": 1}, {"format": 2}):
        wrong = samples.signed(msgspec.structs.replace(genesis, **changes)).line
        with pytest.raises(ProofError, match="no genesis record of a known format"):
            proofs.read_keys(wrong.decode(), [], None)
    for forged in (
        LINES[0].replace(b'"host":"web1"', b'"host":"web2"'),
        samples.signed(genesis, samples.STRANGER).line,
    ):
        assert forged != LINES[0]
        with pytest.raises(ProofError, match="genesis and key records: the signature"):
            proofs.read_keys(forged.decode(), [], KEY)


def test_digests_have_a_bound() -> None:
    """As many digests as the tallest tree has levels are read, and no more."""
    assert len(proofs.read_tlog_proof(_tlog_proof("index 1", steps=64))[1]) == 64
    with pytest.raises(ProofError, match="more digests than a tree has levels"):
        proofs.read_tlog_proof(_tlog_proof("index 1", steps=65))


@pytest.mark.parametrize("size", [1, 31, 33, 64])
def test_a_digest_has_one_length(size: int) -> None:
    """Nothing but digests stands in the place of digests."""
    step = base64.b64encode(bytes(size)).decode()
    with pytest.raises(ProofError, match="a digest has 32 bytes"):
        proofs.verify_growth(msgspec.structs.replace(growth(), path=[step]), KEY)
    with pytest.raises(ProofError, match="a digest has 32 bytes"):
        proofs.read_tlog_proof(f"{proofs.TLOG_PROOF}\nindex 1\n{step}\n\n{NOTE}")


def _forged(proof: proofs.CommandProof, **changes: object) -> proofs.CommandProof:
    return msgspec.structs.replace(proof, **changes)


@pytest.mark.parametrize(
    ("_name", "changed", "reason"),
    [
        ("another text", {"text": msgspec.structs.replace(TEXT, command="rm -rf /")}, "text"),
        ("another salt", {"text": msgspec.structs.replace(TEXT, salt="ff" * 16)}, "text"),
        ("the text of another", {"text": msgspec.structs.replace(TEXT, seq=2)}, "text"),
        ("records reversed", {"records": command().records[::-1]}, "not of the end"),
        ("the end twice", {"records": [command().records[1]] * 2}, "not of the end"),
        ("no genesis", {"genesis": LINES[1].decode()}, "genesis"),
        ("a key that isn't", {"keys": [LINES[1].decode()]}, "key records"),
    ],
)
def test_what_is_not_so_is_refused(_name: str, changed: dict[str, object], reason: str) -> None:
    """Text, records and keys are those of the chain, or the proof is none."""
    with pytest.raises(ProofError, match=reason):
        proofs.verify_command(_forged(command(), **changed), KEY)


def _under(lines: list[bytes], number: int, note: str | None = None) -> proofs.Shown:
    """Show a line by a checkpoint of the executor over these lines, whatever they are."""
    path = inclusion_proof([leaf_hash(line) for line in lines], number)
    note = note or samples.checkpoint(lines).note
    return proofs.Shown(line=lines[number].decode(), proof=proofs.tlog_proof(number, path, note))


def _another_origin() -> str:
    text = Checkpoint(origin="another", size=3, root=tree_root(LEAVES)).text()
    name = samples.EXECUTOR.id
    return sign_note(text, name, samples.EXECUTOR)


FORGED = samples.signed(samples.intent(1, samples.genesis().digest), samples.STRANGER).line
ALONE = _forged(command(), text=None)


@pytest.mark.parametrize(
    ("records", "reason"),
    [
        ([_under([LINES[0], LINES[2], LINES[1]], 2)], "record 1: the proof is for record 2"),
        ([_under([LINES[0], FORGED], 1)], "record 1: the signature does not verify"),
        ([_under(LINES[:2], 1), _under(LINES, 2)], "different checkpoints"),
        ([_under(LINES, 1, _another_origin())], "a checkpoint of another chain"),
    ],
)
def test_a_lie_of_the_executor_is_refused(records: list[proofs.Shown], reason: str) -> None:
    """What is under a good checkpoint, and still isn't a record of this chain, proves nothing."""
    with pytest.raises(ProofError, match=reason):
        proofs.verify_command(_forged(ALONE, records=records), KEY)


OTHER_END = samples.signed(samples.outcome(2, samples.genesis().digest, of=0)).line
OTHER_RUN = samples.signed(
    samples.outcome(2, samples.genesis().digest, of=1, event=samples.OTHER_EVENT)
).line
REMAINDER = samples.signed(samples.remainder(2, samples.genesis().digest, of=1)).line
CHANGE = samples.signed(samples.new_key(1, samples.genesis().digest)).line


@pytest.mark.parametrize(
    "lines",
    [
        [LINES[0], LINES[1], OTHER_END],
        [LINES[0], LINES[1], OTHER_RUN],
        [LINES[0], LINES[1], REMAINDER],
        [LINES[0], CHANGE, LINES[2]],
    ],
    ids=["of another number", "of another run", "no end", "no command"],
)
def test_only_its_own_end_is_shown_with_a_command(lines: list[bytes]) -> None:
    """Two records of a chain aren't a command and its end for that they follow one another."""
    records = [_under(lines, 1), _under(lines, 2)]
    with pytest.raises(ProofError, match="not of the end of the first's command"):
        proofs.verify_command(_forged(ALONE, records=records), KEY)


def test_a_record_of_another_history_is_refused() -> None:
    """What the executor signed once, and isn't under the checkpoint, didn't stand in this chain."""
    other = samples.signed(samples.intent(1, "0" * 64)).line
    shown = msgspec.structs.replace(command().records[0], line=other.decode())
    with pytest.raises(ProofError, match="the leaf is not in this tree"):
        proofs.verify_command(_forged(ALONE, records=[shown]), KEY)


def test_another_history_is_no_growth() -> None:
    """Two checkpoints that the executor signed aren't of one chain for that (I8)."""
    other = samples.checkpoint([LINES[0], FORGED]).note
    with pytest.raises(ProofError, match="the new tree does not begin with the old one"):
        proofs.verify_growth(msgspec.structs.replace(growth(), old=other), KEY)


def test_a_text_is_of_a_record_that_commits_to_one() -> None:
    """A text beside a record that has none is refused, as is a first record that is no genesis."""
    lines = [LINES[0], CHANGE]
    with pytest.raises(ProofError, match="not the one that the record commits to"):
        proofs.verify_command(_forged(command(), records=[_under(lines, 1)]), KEY)
    first = samples.signed(samples.new_key(0, "0" * 64)).line.decode()
    with pytest.raises(ProofError, match="no genesis record"):
        proofs.verify_command(_forged(command(), genesis=first), KEY)


def test_keys_follow_one_another() -> None:
    """Each key record is signed with the key before it, and stands after the one before."""
    third = samples.three_records()[2]
    first = samples.signed(samples.new_key(3, third.digest))
    proof = _forged(ALONE, keys=[first.line.decode()])
    assert proofs.verify_command(proof, KEY).keys.at(4) == samples.NEXT.public_key
    again = samples.signed(samples.new_key(4, first.digest), samples.NEXT)
    at_once = _forged(ALONE, keys=[first.line.decode(), again.line.decode()])
    assert len(proofs.verify_command(at_once, KEY).keys.changes) == 3
    by_itself = samples.signed(samples.new_key(3, third.digest), samples.NEXT)
    earlier = samples.signed(samples.new_key(2, third.digest), samples.NEXT)
    for keys, reason in (
        ([by_itself], "genesis and key records: the signature does not verify"),
        ([first, earlier], "in their order"),
        ([first, first], "in their order"),
    ):
        lines = [key.line.decode() for key in keys]
        with pytest.raises(ProofError, match=reason):
            proofs.verify_command(_forged(ALONE, keys=lines), KEY)


def test_one_record_alone_is_shown() -> None:
    """A command that still runs, or a record of another kind, has a proof of its own."""
    alone = proofs.verify_command(_forged(command(), records=command().records[:1]), KEY)
    assert [record.seq for record in alone.records] == [1]


def test_the_key_is_the_readers() -> None:
    """A proof that names another key than the reader holds is refused, good as it is in itself."""
    stranger = Identity(b"stranger".ljust(32, b".")).public_key
    proofs.verify_command(command())
    with pytest.raises(ProofError, match="another executor"):
        proofs.verify_command(command(), stranger)
    with pytest.raises(ProofError, match="another executor"):
        proofs.verify_growth(growth(), stranger)
    named = _forged(command(), keys=[f'{{"key":"{stranger.hex}"}}'])
    with pytest.raises(ProofError, match="that is a later one"):
        proofs.verify_command(named, stranger)


@given(data=st.data())
@settings(max_examples=300)
def test_no_character_of_a_proof_can_be_altered(data: st.DataObject) -> None:
    """Altered anywhere, a proof fails or still shows the very same (I8)."""
    proof: proofs.Proof = growth() if data.draw(st.booleans()) else command()
    text = proofs.encode(proof).decode()
    at = data.draw(st.integers(0, len(text) - 1))
    flip = data.draw(st.integers(1, 127))
    altered = text[:at] + chr(ord(text[at]) ^ flip) + text[at + 1 :]
    try:
        again = proofs.decode(altered.encode())
        shown = _shown(again)
    except ProofError:
        return
    assert shown == _shown(proof)


def _shown(proof: proofs.Proof) -> tuple[object, ...]:
    if isinstance(proof, proofs.CommandProof):
        command = proofs.verify_command(proof, KEY)
        return command.records, command.text, command.checkpoint
    growth = proofs.verify_growth(proof, KEY)
    return growth.old, growth.new


@given(st.binary(max_size=300))
def test_any_bytes_are_a_proof_or_our_error(data: bytes) -> None:
    """Reading is total."""
    with pytest.raises(ProofError):
        proofs.decode(data)


@given(data=st.data())
@settings(max_examples=200)
def test_any_parts_are_checked_or_our_error(data: st.DataObject) -> None:
    """Checking is total: a part that is any text at all gives our error or a proof."""
    plain = json.loads(proofs.encode(command()))
    text = st.text(max_size=80)
    match data.draw(st.sampled_from(["genesis", "keys", "line", "proof"])):
        case "genesis":
            plain["genesis"] = data.draw(text)
        case "keys":
            plain["keys"] = data.draw(st.lists(text, min_size=1, max_size=2))
        case part:
            plain["records"][0][part] = data.draw(text)
    with pytest.raises(ProofError):
        proofs.verify_command(_command(json.dumps(plain).encode()), KEY)


def _command(data: bytes) -> proofs.CommandProof:
    proof = proofs.decode(data)
    assert isinstance(proof, proofs.CommandProof)
    return proof


def test_the_longest_proof_fits() -> None:
    """A command and its end of the greatest length, all of it escaped, are within the limit."""
    longest = proofs.Shown(line='"' * 131072, proof=command().records[0].proof)
    proof = _forged(command(), records=[longest, longest], genesis='"' * 131072)
    assert len(proofs.encode(proof)) < 8 * 1024 * 1024


def test_another_kind_of_key_is_refused() -> None:
    """A genesis that names a key of small order proves nothing."""
    line = LINES[0].replace(KEY.hex.encode(), bytes(64).hex()[:64].encode())
    with pytest.raises(ProofError):
        proofs.verify_command(_forged(command(), genesis=line.decode()))
    assert PublicKey.from_hex(KEY.hex) == KEY
