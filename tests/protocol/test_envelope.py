# SPDX-License-Identifier: MIT
"""Envelopes: both ends at once, and nothing but what was sent, where it was sent, is opened."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.protocol.strategies import REQUEST_TYPES, RESPONSE_TYPES, struct_of
from tests.vectors import samples
from tibet_nc_protocol.envelope import NO_CONNECTION, Opener, Sealer
from tibet_nc_protocol.errors import DecodeError, EncodeError, PeerError, SignatureError
from tibet_nc_protocol.messages import (
    REQUESTS,
    RESPONSES,
    Challenge,
    Hello,
    Jobs,
    Request,
    Response,
)
from tibet_nc_protocol.signing import Identity, Purpose

REQUEST_SAMPLES = list(samples.requests().values())
RESPONSE_SAMPLES = list(samples.responses().values())


@dataclass
class Pair:
    """Agent and executor, connected through memory; every exchange is checked at both ends."""

    connection: str = samples.CONNECTION
    to_executor: Sealer[Request] = field(init=False)
    from_agent: Opener[Request] = field(init=False)
    to_agent: Sealer[Response] = field(init=False)
    from_executor: Opener[Response] = field(init=False)

    def __post_init__(self) -> None:
        """Challenge and answer, as each connection begins (SPEC §5)."""
        self.to_executor = Sealer(samples.AGENT, Purpose.REQUEST, REQUESTS)
        self.from_agent = samples.request_opener(self.connection)
        self.to_agent = samples.response_sealer()
        self.from_executor = samples.response_opener()
        challenge = Challenge(protocol=1, version="1", connection=self.connection)
        received = self.from_executor.open(self.to_agent.seal(challenge))
        assert received == challenge
        self.to_agent.connection = self.connection
        self.to_executor.connection = self.from_executor.connection = self.connection
        self.ask(Hello(protocol=1, version="1", connection=self.connection))

    def ask(self, request: Request) -> None:
        """Send a request and check that it arrives."""
        assert self.from_agent.open(self.to_executor.seal(request)) == request

    def answer(self, response: Response) -> None:
        """Send a response and check that it arrives."""
        assert self.from_executor.open(self.to_agent.seal(response)) == response


ANY_REQUEST = st.one_of(*(struct_of(cls) for cls in REQUEST_TYPES))
ANY_RESPONSE = st.one_of(*(struct_of(cls) for cls in RESPONSE_TYPES))


EXCHANGE = st.one_of(
    ANY_REQUEST.map(lambda request: partial(Pair.ask, request=request)),
    ANY_RESPONSE.map(lambda response: partial(Pair.answer, response=response)),
)


@given(exchanges=st.lists(EXCHANGE, max_size=8))
def test_messages_arrive_in_any_interleaving(exchanges: list[Callable[[Pair], None]]) -> None:
    """Whatever both sides send, in whatever order of directions, arrives as it was sent."""
    pair = Pair()
    for exchange in exchanges:
        exchange(pair)


@given(
    sizes=st.tuples(st.integers(0, 6), st.integers(0, 6)),
    order=st.lists(st.booleans(), min_size=12, max_size=12),
)
def test_directions_are_counted_apart(sizes: tuple[int, int], order: list[bool]) -> None:
    """Messages under way in both directions are opened whichever arrives first."""
    pair = Pair()
    asked = [pair.to_executor.seal(Jobs(request=n)) for n in range(sizes[0])]
    told = [pair.to_agent.seal(RESPONSE_SAMPLES[n]) for n in range(sizes[1])]
    for from_agent in [*order, *(True,) * 6, *(False,) * 6]:
        if from_agent and asked:
            pair.from_agent.open(asked.pop(0))
        elif not from_agent and told:
            pair.from_executor.open(told.pop(0))
    assert not asked
    assert not told


@given(data=st.data())
def test_only_the_next_message_is_opened(data: st.DataObject) -> None:
    """I3: Of all messages of a connection only the next is opened: no replay, gap or exchange."""
    pair = Pair()
    sealed = [pair.to_executor.seal(Jobs(request=n)) for n in range(5)]
    done = data.draw(st.integers(0, 4))
    for envelope in sealed[:done]:
        pair.from_agent.open(envelope)
    other = data.draw(st.sampled_from([n for n in range(5) if n != done]))
    with pytest.raises(SignatureError):
        pair.from_agent.open(sealed[other])


def test_a_message_of_another_connection_is_refused() -> None:
    """What was signed for one connection does not open in another, at the same place in it."""
    one, two = Pair(), Pair(connection="f" * 32)
    with pytest.raises(SignatureError):
        two.from_agent.open(one.to_executor.seal(Jobs(request=1)))
    with pytest.raises(SignatureError):
        two.from_executor.open(one.to_agent.seal(RESPONSE_SAMPLES[1]))


def test_only_the_challenge_is_of_no_connection() -> None:
    """Before its connection is known an opener takes the challenge; after that, none."""
    pair = Pair()
    late = Sealer(samples.EXECUTOR, Purpose.RESPONSE, RESPONSES)
    with pytest.raises(SignatureError):
        pair.from_executor.open(late.seal(RESPONSE_SAMPLES[0]))
    assert late.connection == NO_CONNECTION


@pytest.mark.parametrize("purpose", [Purpose.RESPONSE, Purpose.RECORD])
def test_a_signature_for_another_purpose_is_refused(purpose: Purpose) -> None:
    """A request signed by the agent's own key, but as something else, does not open."""
    sealer = Sealer(samples.AGENT, purpose, REQUESTS)
    sealer.connection = samples.CONNECTION
    with pytest.raises(SignatureError):
        samples.request_opener().open(sealer.seal(Jobs(request=1)))


@pytest.mark.parametrize("identity", [samples.STRANGER, samples.EXECUTOR])
def test_a_key_that_is_not_enrolled_is_refused(identity: Identity) -> None:
    """I5: A request signed by anyone but the enrolled agent does not open."""
    with pytest.raises(SignatureError):
        samples.request_opener().open(samples.request_sealer(identity).seal(Jobs(request=1)))


@pytest.mark.parametrize("message", REQUEST_SAMPLES, ids=lambda message: type(message).__name__)
def test_every_flipped_bit_of_a_request_is_refused(message: Request) -> None:
    """No bit of a signed request can be changed: not its signer's name, payload or signature."""
    sealed = samples.request_sealer().seal(message)
    for bit in range(8 * len(sealed)):
        altered = bytearray(sealed)
        altered[bit // 8] ^= 1 << bit % 8
        with pytest.raises((DecodeError, SignatureError)):
            samples.request_opener().open(bytes(altered))


@given(message=st.sampled_from(RESPONSE_SAMPLES), data=st.data())
def test_every_altered_byte_of_a_response_is_refused(
    message: Response, data: st.DataObject
) -> None:
    """A response with a byte changed, cut out or put in does not open."""
    sealed = samples.response_sealer().seal(message)
    begin = data.draw(st.integers(0, len(sealed)))
    end = data.draw(st.integers(begin, min(len(sealed), begin + 2)))
    altered = sealed[:begin] + data.draw(st.binary(max_size=2)) + sealed[end:]
    if altered != sealed:
        with pytest.raises((DecodeError, SignatureError)):
            samples.response_opener().open(altered)


@given(data=st.binary(max_size=300))
def test_any_bytes_raise_our_error(data: bytes) -> None:
    """Bytes that nobody signed never open, and raise nothing but PeerError."""
    with pytest.raises(PeerError):
        samples.request_opener().open(data)
    parts = {"type": "envelope", "key_id": "x", "payload": data, "signature": bytes(64)}
    with pytest.raises(SignatureError):
        samples.request_opener().open(msgspec.msgpack.encode(parts))


def test_nothing_unsigned_is_decoded() -> None:
    """The signature is checked first: nonsense that nobody signed is a wrong signature."""
    parts = {"type": "envelope", "key_id": "x", "payload": b"\xc1", "signature": bytes(64)}
    with pytest.raises(SignatureError):
        samples.request_opener().open(msgspec.msgpack.encode(parts))


def test_a_message_that_is_not_sent_is_not_counted() -> None:
    """A message that its type forbids leaves the sender where it was, and the next one arrives."""
    pair = Pair()
    with pytest.raises(EncodeError):
        pair.to_executor.seal(Jobs(request=-1))
    with suppress(EncodeError):
        pair.to_agent.seal(Challenge(protocol=1, version="x" * 2000, connection="f" * 32))
    pair.ask(Jobs(request=1))
    pair.answer(RESPONSE_SAMPLES[1])
