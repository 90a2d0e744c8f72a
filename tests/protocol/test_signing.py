# SPDX-License-Identifier: MIT
"""Signatures: two implementations agree, weak keys are refused, and a purpose can't be changed."""

import itertools

import jis_core
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from tests.vectors.wire import beyond_order
from tibet_nc_protocol.errors import SignatureError
from tibet_nc_protocol.signing import Identity, PublicKey, Purpose, signed_text

SECRETS = st.binary(min_size=32, max_size=32)
TEXTS = st.text(max_size=100)

# --- arithmetic on edwards25519 (RFC 8032, §5.1), in affine coordinates ---------------------------

P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P
type Point = tuple[int, int]
NEUTRAL: Point = (0, 1)


def add(one: Point, two: Point) -> Point:
    """Return the sum of two points."""
    (x1, y1), (x2, y2) = one, two
    product = D * x1 * x2 * y1 * y2
    x = (x1 * y2 + x2 * y1) * pow(1 + product, -1, P) % P
    y = (y1 * y2 + x1 * x2) * pow(1 - product, -1, P) % P
    return x, y


def square_roots(square: int) -> set[int]:
    """Return the square roots modulo P, none for a number that is no square."""
    root = pow(square, (P + 3) // 8, P)
    if root * root % P != square % P:
        root = root * pow(2, (P - 1) // 4, P) % P
    return {root, -root % P} if root * root % P == square % P else set()


def points(y: int) -> set[Point]:
    """Return the points with this y, none when it is not on the curve."""
    return {(x, y) for x in square_roots((y * y - 1) * pow(D * y * y + 1, -1, P))}


def is_of_small_order(point: Point) -> bool:
    """Tell whether eight times the point is the neutral one."""
    for _ in range(3):
        point = add(point, point)
    return point == NEUTRAL


def torsion() -> set[Point]:
    """Find all points of small order: solving 8P = 0 step by step backwards from the neutral one.

    2P = Q has at most four solutions; y² is a root of a quadratic equation, and with Q of small
    order and y(Q) = 0, 1 or -1 it is solved by hand: the order divides 8, so x² = -y², xy = 0, or
    the point is (0, ±1).
    """
    found = {NEUTRAL, (0, P - 1)}  # 2P = 0
    found |= {(x, 0) for x in square_roots(-1)}  # 2P = (0, -1): y = 0, x² = -1
    # 2P = (x, 0): y² + x² = 0. On the curve -x² + y² = 1 + d x² y², so with t = y²:
    # 2t = 1 - d t², hence t = (-1 ± √(1 + d)) / d.
    for root in square_roots(1 + D):
        for y in square_roots((root - 1) * pow(D, -1, P)):
            found |= points(y)
    return {point for point in found if is_of_small_order(point)}


def encodings(point: Point) -> set[bytes]:
    """Return everything that decodes to a point or could be taken for it: y reduced or not."""
    _, y = point
    return {
        (value | sign << 255).to_bytes(32, "little")
        for value in (y, y + P)
        for sign in (0, 1)
        if value < 2**255
    }


TORSION = torsion()
WEAK = sorted(set(itertools.chain.from_iterable(map(encodings, TORSION))))


def test_there_are_eight_points_of_small_order() -> None:
    """The curve has cofactor 8, so the search found all of them; 14 byte strings name them."""
    assert len(TORSION) == 8
    assert len(WEAK) == 14


@pytest.mark.parametrize("data", WEAK, ids=bytes.hex)
def test_every_key_of_small_order_is_refused(data: bytes) -> None:
    """I11: No form of any of the eight weak points is taken for a key."""
    with pytest.raises(SignatureError):
        PublicKey(data)
    with pytest.raises(SignatureError):
        PublicKey.from_hex(data.hex())


def test_a_weak_key_would_verify_what_nobody_signed() -> None:
    """The attack that is refused is real: a signature of zeros fits the neutral point."""
    data = (1).to_bytes(32, "little")
    Ed25519PublicKey.from_public_bytes(data).verify(data + bytes(32), b"any text")
    with pytest.raises(SignatureError):
        PublicKey(data)


@given(secret=SECRETS)
def test_no_honest_key_is_refused(secret: bytes) -> None:
    """Every key made from a secret is a good key, and both implementations derive the same."""
    expected = Ed25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()
    assert Identity(secret).public_key.data == expected


# --- signatures -----------------------------------------------------------------------------------


@given(secret=SECRETS, text=TEXTS)
def test_two_implementations_make_the_same_signature(secret: bytes, text: str) -> None:
    """jis-core's signature is cryptography's, each verifies the other's, and ours is theirs."""
    identity = Identity(secret)
    ours = identity.sign(text)
    theirs = Ed25519PrivateKey.from_private_bytes(secret)
    assert ours == theirs.sign(text.encode())
    theirs.public_key().verify(ours, text.encode())
    identity.public_key.verify(text, ours)
    engine = jis_core.DIDEngine.from_secret_key(secret.hex())
    assert engine.verify(text, ours.hex())


def test_the_first_vector_of_rfc_8032() -> None:
    """Key and signature of RFC 8032, §7.1, test 1."""
    identity = Identity(
        bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    )
    assert identity.public_key.hex == (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    )
    assert identity.sign("").hex() == (
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9"
        "b46bd25bf5f0595bbe24655141438e7a100b"
    )


@given(secret=SECRETS, text=TEXTS, bit=st.integers(0, 511))
def test_a_flipped_bit_is_refused(secret: bytes, text: str, bit: int) -> None:
    """No bit of a signature can be changed."""
    identity = Identity(secret)
    signature = bytearray(identity.sign(text))
    signature[bit // 8] ^= 1 << bit % 8
    with pytest.raises(SignatureError):
        identity.public_key.verify(text, bytes(signature))


@given(secret=SECRETS, text=TEXTS)
def test_s_beyond_the_order_is_refused(secret: bytes, text: str) -> None:
    """There is one signature for each text and key: S + L is not another (RFC 8032, §8.4)."""
    identity = Identity(secret)
    with pytest.raises(SignatureError):
        identity.public_key.verify(text, beyond_order(identity.sign(text)))


@given(secret=SECRETS, signature=st.binary(max_size=80))
def test_any_bytes_for_a_signature_raise_our_error(secret: bytes, signature: bytes) -> None:
    """Bytes of any length that are no signature raise SignatureError and nothing else."""
    with pytest.raises(SignatureError):
        Identity(secret).public_key.verify("text", signature)


@given(data=st.binary(max_size=40) | st.binary(min_size=32, max_size=32))
def test_any_bytes_are_a_key_or_raise_our_error(data: bytes) -> None:
    """Any 32 bytes that are no key verify nothing; other lengths are refused at once."""
    try:
        key = PublicKey(data)
    except SignatureError:
        return
    assert len(data) == 32
    with pytest.raises(SignatureError):
        key.verify("text", bytes(64))


@given(text=st.text(max_size=70) | st.text("0123456789abcdefABCDEF \n", min_size=60, max_size=70))
def test_any_text_is_a_key_or_raises_our_error(text: str) -> None:
    """A key is written with exactly 64 digits; nothing is skipped or added."""
    try:
        key = PublicKey.from_hex(text)
    except SignatureError:
        return
    assert key.hex == text.lower()


PARTS = st.lists(st.from_regex(r"\A[\x20-\x7e]+\Z"), max_size=3)


@given(
    one=st.tuples(st.sampled_from(Purpose), st.binary(max_size=4), PARTS),
    two=st.tuples(st.sampled_from(Purpose), st.binary(max_size=4), PARTS),
)
def test_signed_texts_differ_when_anything_does(
    one: tuple[Purpose, bytes, list[str]], two: tuple[Purpose, bytes, list[str]]
) -> None:
    """The signed text tells purpose, context and bytes apart, so none can be exchanged."""
    (purpose, data, context), (other_purpose, other_data, other_context) = one, two
    same = signed_text(purpose, data, *context) == signed_text(
        other_purpose, other_data, *other_context
    )
    assert same == (one == two)


def test_the_signed_text_is_the_one_of_the_specification() -> None:
    """The exact text: version, purpose, context, SHA-256, each a line, no line end at the end."""
    assert signed_text(Purpose.REQUEST, b"", "did:jis:00", "f" * 32, "7") == (
        "tibet-nc/v1\nrequest\ndid:jis:00\nffffffffffffffffffffffffffffffff\n7\n"
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    )


# --- identities -----------------------------------------------------------------------------------


@given(secret=SECRETS)
def test_an_identity_never_shows_its_secret(secret: bytes) -> None:
    """I10: Neither the text of an identity nor its document holds the secret."""
    identity = Identity(secret)
    shown = repr(identity) + str(identity) + identity.document() + repr(vars(identity))
    assert secret.hex() not in shown
    assert repr(secret) not in shown


@given(secret=st.binary(max_size=80).filter(lambda secret: len(secret) != 32))
def test_a_secret_has_32_bytes(secret: bytes) -> None:
    """Any other length is refused with our error."""
    with pytest.raises(SignatureError):
        Identity(secret)


@given(one=SECRETS, two=SECRETS)
def test_keys_are_equal_when_their_bytes_are(one: bytes, two: bytes) -> None:
    """Two keys are equal, and have equal hashes, if and only if their bytes are equal."""
    first, second = Identity(one).public_key, Identity(two).public_key
    assert (first == second) == (first.data == second.data)
    assert first == PublicKey(first.data)
    assert hash(first) == hash(PublicKey(first.data))
    assert first != first.data


def test_a_wrong_signature_is_wrong_for_both() -> None:
    """What we refuse the library refuses too: nothing depends on our own check alone."""
    identity = Identity(bytes(32))
    with pytest.raises(InvalidSignature):
        Ed25519PublicKey.from_public_bytes(identity.public_key.data).verify(bytes(64), b"text")
    with pytest.raises(SignatureError):
        identity.public_key.verify("text", bytes(64))


@given(secret=st.binary(min_size=32, max_size=32))
def test_the_id_of_a_key_is_that_of_its_identity(secret: bytes) -> None:
    """Who knows only a public key names its holder as jis-core does."""
    identity = Identity(secret)
    assert identity.public_key.id == identity.id
