# SPDX-License-Identifier: MIT
"""The pinned operators' file: one meaning, or none at all (I5)."""

import base64
import stat
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import hypothesis.strategies as st
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given

from tests.protocol.test_signing import WEAK
from tibet_nc_protocol.errors import PinsError
from tibet_nc_protocol.limits import IDENTIFIER_CHARACTERS
from tibet_nc_protocol.pins import (
    PINS,
    PINS_BYTES,
    How,
    Pin,
    check_file,
    check_master_key,
    parse,
    render,
)

KEY = base64.b64encode(
    Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key().public_bytes_raw()
).decode()[:-1]
WHEN = datetime(2026, 11, 25, 19, 10, 0, tzinfo=UTC)
PIN = Pin(user="@op:example.org", master_key=KEY, pinned=WHEN, how=How.COMPARED)
GOOD = f"""
[[operator]]
user = "@op:example.org"
master_key = "{KEY}"
pinned = 2026-11-25T19:10:00Z
how = "compared"
"""

SEEDS = st.binary(min_size=32, max_size=32)
KEYS = SEEDS.map(
    lambda seed: base64.b64encode(
        Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    ).decode()[:-1]
)
USERS = st.from_regex(r"\A@[^\s\x00-\x20\x7f-\x9f\ud800-\udfff]{1,80}\Z")
TIMES = st.datetimes(
    min_value=datetime(1970, 1, 2),
    max_value=datetime(9999, 12, 30),
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))]),
).map(lambda time: time.replace(microsecond=0))


@given(
    st.lists(
        st.builds(Pin, user=USERS, master_key=KEYS, pinned=TIMES, how=st.sampled_from(How)),
        unique_by=lambda pin: pin.user,
        max_size=5,
    )
)
def test_what_is_written_is_read(pins: list[Pin]) -> None:
    """Every set of pins comes back from the file that it was written to."""
    assert parse(render(pins)) == {pin.user: pin for pin in pins}


def test_examples_are_read() -> None:
    """The form that the documentation shows is the form that is read."""
    assert parse(GOOD.encode()) == {PIN.user: PIN}
    assert parse(b"") == {}
    text = (Path(__file__).parents[2] / "docs/adr/0006-pinned-operators.md").read_text("utf-8")
    (example,) = parse(text.split("```toml\n")[1].split("```")[0].encode()).values()
    assert (example.user, example.how) == ("@you:example.org", How.COMPARED)


def test_pins_have_a_bound() -> None:
    """As many pins as a host may have are read, and none of one more; so with the file's length."""
    text = "".join(GOOD.replace("@op:", f"@op{number}:") for number in range(PINS))
    assert len(parse(text.encode())) == PINS == 256
    with pytest.raises(PinsError, match="length <= 256"):
        parse((text + GOOD).encode())
    longest = GOOD + "#" * (PINS_BYTES - len(GOOD))
    assert parse(longest.encode()) == {PIN.user: PIN}
    with pytest.raises(PinsError, match=f"at most {PINS_BYTES} are permitted"):
        parse((longest + "#").encode())


def test_the_longest_pins_fit_in_a_file() -> None:
    """As many pins as a host may have can be written, with the longest names that Matrix has."""
    users = [f"@{number:03d}:".ljust(IDENTIFIER_CHARACTERS, "x") for number in range(PINS)]
    pins = [Pin(user=user, master_key=KEY, pinned=WHEN, how=How.FINGERPRINT) for user in users]
    assert len(parse(render(pins))) == PINS


@given(st.one_of(st.binary(), st.text().map(str.encode), st.just(b"[[" * 5000 + b"]]")))
def test_any_bytes_give_pins_or_our_error(data: bytes) -> None:
    """Whatever stands in the file, there is an answer or PinsError, and never pins by accident."""
    with suppress(PinsError):
        assert parse(data) == {}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("[[operator]]", "[operator]"),
        ("[[operator]]", "[[operators]]"),
        ('"@op:example.org"', '"op"'),
        ('"@op:example.org"', '"@op example"'),
        ('"@op:example.org"', '"@op\\n:example.org"'),
        (KEY, KEY + "="),
        (KEY, KEY[:-1]),
        (KEY, KEY[:-1] + "+/"),
        (KEY, "-" + KEY[1:]),
        (KEY, KEY[:-1] + chr(ord(KEY[-1]) + 1)),
        ("2026-11-25T19:10:00Z", "2026-11-25T19:10:00"),
        ("2026-11-25T19:10:00Z", "2026-11-25"),
        ('"compared"', '"guessed"'),
        ('how = "compared"', ""),
        ('how = "compared"', 'how = "compared"\nnote = "x"'),
        ("\n[[operator]]", "\nversion = 1\n[[operator]]"),
    ],
)
def test_anything_else_is_refused(old: str, new: str) -> None:
    """A file with one thing wrong pins nobody."""
    assert old in GOOD
    with pytest.raises(PinsError):
        parse(GOOD.replace(old, new, 1).encode())


@pytest.mark.parametrize(
    ("data", "what"),
    [(b"a = \xff", "not UTF-8"), (b"a = [", "not TOML"), (b"a = " + 5_000 * b"9", "not TOML")],
)
def test_what_is_no_table_is_called_that(data: bytes, what: str) -> None:
    """Bytes that are no text, a text that isn't TOML, a number with too many digits."""
    with pytest.raises(PinsError, match=what):
        parse(data)


def test_nobody_is_pinned_twice() -> None:
    """Of two keys for one user neither counts."""
    with pytest.raises(PinsError, match="twice"):
        parse((GOOD + GOOD).encode())


@pytest.mark.parametrize("key", WEAK)
def test_a_key_that_fits_every_signature_is_refused(key: bytes) -> None:
    """A master key of small order, with which anybody could sign, is no master key (I5)."""
    text = base64.b64encode(key).decode()[:-1]
    with pytest.raises(PinsError, match="small order"):
        parse(GOOD.replace(KEY, text).encode())


@pytest.mark.parametrize("key", ["", "abc", "abcd", KEY[:-1], KEY + "A", "~" * 43])
def test_what_is_no_key_is_called_that(key: str) -> None:
    """Of a key that was copied in part it is said how long one is, not how many bytes it has."""
    with pytest.raises(PinsError, match="43 characters"):
        check_master_key(key)


def test_what_nobody_could_read_is_not_written() -> None:
    """A pin that its own format forbids is refused when it is written, not when it is read."""
    with pytest.raises(PinsError):
        render([Pin(user="op", master_key=KEY, pinned=WHEN, how=How.EMOJI)])
    with pytest.raises(PinsError):
        render([PIN, PIN])


def test_limits() -> None:
    """A file with more operators, or longer, than permitted pins nobody."""
    many = "".join(GOOD.replace("@op", f"@op{number}") for number in range(PINS + 1))
    with pytest.raises(PinsError):
        parse(many.encode())
    with pytest.raises(PinsError, match="at most"):
        parse(b"#" * (PINS_BYTES + 1))


@pytest.mark.parametrize(
    ("owner", "mode", "reader", "good"),
    [
        (0, 0o644, 1000, True),
        (0, 0o600, 0, True),
        (1000, 0o644, 1000, True),
        (1001, 0o644, 1000, False),
        (1000, 0o644, 0, False),
        (0, 0o664, 1000, False),
        (0, 0o646, 1000, False),
        (1000, 0o666, 1000, False),
    ],
)
def test_only_root_or_the_reader_may_write_it(
    owner: int, mode: int, reader: int, *, good: bool
) -> None:
    """A file that somebody else could have written pins nobody (I5)."""
    if good:
        check_file(owner=owner, mode=stat.S_IFREG | mode, reader=reader)
        return
    with pytest.raises(PinsError):
        check_file(owner=owner, mode=stat.S_IFREG | mode, reader=reader)


@pytest.mark.parametrize("kind", [stat.S_IFDIR, stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFLNK, 0])
def test_what_is_no_file(kind: int) -> None:
    """A directory, a pipe or a link in the file's place is none, whoever it belongs to."""
    check_file(owner=0, mode=stat.S_IFREG | 0o644, reader=0)
    with pytest.raises(PinsError, match="it is not a file"):
        check_file(owner=0, mode=kind | 0o644, reader=0)
