# SPDX-License-Identifier: MIT
"""One verification of one user, from the request to the authenticated master key; no I/O.

Theory. Both sides make an ephemeral key. The one that *accepts* commits to its key before it has
seen the other's, so neither can choose a key that suits it; both derive the same secret, and from
it the emoji that people compare. Somebody in the middle would have two secrets, and different
emoji but for one case in 2⁴². Once a person has said that they match, each side proves with a MAC
under the secret which long-term keys it has. What the homeserver says is believed at no point: it
can forge, drop and repeat events, and all it reaches is that the verification ends.

    we ask      REQUESTED ─ready→ READY ─(we send start)→ STARTED ─accept→ REVEALED ─key→ COMPARING
    they ask    READY ─start→ ACCEPTED ─key→ COMPARING
    then        COMPARING ─(people agree)→ AGREED ─mac→ DONE
                COMPARING ─mac→ PROVED ─(people agree)→ DONE

If both send a start, that of the smaller user id counts (Client-Server API v1.16, "Key
verification framework"). Any event that the table doesn't permit ends the verification, and so
does everything that is wrong with a permitted one. After the end nothing has any effect.
"""

import base64
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from vodozemac import Curve25519PublicKey, EstablishedSas, Sas

from tibet_nc_agent.canonical import JsonObject, NotCanonicalError, canonical
from tibet_nc_agent.identity import Identity
from tibet_nc_agent.sas.contents import (
    DECIMAL_STRING,
    EMOJI_STRING,
    HASH,
    KEY_AGREEMENT,
    MAC,
    METHOD,
    REQUEST_MSGTYPE,
    Accept,
    Cancel,
    Code,
    Content,
    Done,
    Key,
    Mac,
    Malformed,
    Ready,
    Request,
    Start,
    event_type_of,
    parsed,
    relation,
)


class State(Enum):
    """How far a verification is; see the theory above."""

    REQUESTED = auto()
    READY = auto()
    STARTED = auto()
    ACCEPTED = auto()
    REVEALED = auto()
    COMPARING = auto()
    PROVED = auto()
    AGREED = auto()
    DONE = auto()
    CANCELLED = auto()


_PERMITTED: Final[dict[State, tuple[type[Content], ...]]] = {
    State.REQUESTED: (Ready,),
    State.READY: (Start,),
    State.STARTED: (Accept, Start),
    State.ACCEPTED: (Key,),
    State.REVEALED: (Key,),
    State.COMPARING: (Mac,),
    State.PROVED: (),
    State.AGREED: (Mac,),
}
"""Which events a state takes, beside a cancellation. The two final states take none."""


@dataclass(frozen=True, kw_only=True)
class Ours:
    """Who we are, and the two keys that we prove to have: unpadded base64."""

    user_id: str
    device_id: str
    ed25519: str
    master: str


@dataclass(frozen=True, kw_only=True)
class Send:
    """Send an event of this type, in the clear, to the room."""

    event_type: str
    content: JsonObject


@dataclass(frozen=True, kw_only=True)
class Compare:
    """Have people compare seven emoji, by number, and three decimal numbers.

    There are no emoji if the other side can't show them.
    """

    emoji: tuple[int, ...]
    decimals: tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class Verified:
    """The user has this master key, unpadded base64: proved, and compared by people."""

    master: str


@dataclass(frozen=True, kw_only=True)
class Ended:
    """It has come to nothing. If ``by_them``, code and reason are the other side's words."""

    code: str
    reason: str
    by_them: bool


type Effect = Send | Compare | Verified | Ended


class _Wrong(Exception):  # noqa: N818 - a state of an event, not a failure of ours
    def __init__(self, code: Code, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class Handshake:
    """One verification; ``theirs`` is the identity that the homeserver claims, still unproven.

    ``sas`` is an ephemeral key that is used for nothing else. Begin with :meth:`request` and
    :meth:`requested`, or with :meth:`answer`.
    """

    def __init__(self, *, ours: Ours, theirs: Identity, sas: Sas) -> None:
        self._ours = ours
        self._theirs = theirs
        self._sas = sas
        self._public = str(sas.public_key.to_base64())
        self._transaction = ""
        self._device = ""
        self._start: JsonObject = {}
        self._we_started = False
        self._commitment = ""
        self._strings: tuple[str, ...] = ()
        self._secret: EstablishedSas | None = None
        self.state = State.REQUESTED

    @property
    def transaction_id(self) -> str:
        """The id of the event that requested it, "" before there is one."""
        return self._transaction

    # --- the beginning ------------------------------------------------------------------------

    def request(self) -> JsonObject:
        """Return the content of the room message that asks the user to verify."""
        return {
            "msgtype": REQUEST_MSGTYPE,
            "body": f"{self._ours.user_id} asks to be verified, by a client that can do so",
            "from_device": self._ours.device_id,
            "methods": [METHOD],
            "to": self._theirs.user_id,
        }

    def requested(self, event_id: str) -> None:
        """Take note of the event that holds our request."""
        self._transaction = event_id

    def answer(self, event_id: str, content: JsonObject) -> list[Effect]:
        """Consent to a request of the user, if it is one for us."""
        self._transaction = event_id
        try:
            return [self._consent(parsed(REQUEST_MSGTYPE, content))]
        except Malformed as error:
            return self.cancel(Code.INVALID, str(error))
        except _Wrong as wrong:
            return self.cancel(wrong.code, str(wrong))

    # --- events and decisions -----------------------------------------------------------------

    def receive(self, event_type: str, content: JsonObject) -> list[Effect]:
        """Take an event of the user that belongs to this verification."""
        if self.state in {State.DONE, State.CANCELLED}:
            return []
        try:
            event = parsed(event_type, content)
            if isinstance(event, Cancel):
                self.state = State.CANCELLED
                return [Ended(code=event.code, reason=event.reason, by_them=True)]
            if isinstance(event, _PERMITTED[self.state]):
                return self._take(event, content)
            return self.cancel(Code.UNEXPECTED, f"{event_type} came out of order")
        except Malformed as error:
            return self.cancel(Code.INVALID, f"{event_type}: {error}")
        except _Wrong as wrong:
            return self.cancel(wrong.code, str(wrong))

    def decide(self, *, matches: bool) -> list[Effect]:
        """Take what people have said about the emoji, when they were asked."""
        if self.state not in {State.COMPARING, State.PROVED}:
            return []
        if not matches:
            return self.cancel(Code.SAS, "the emoji were said to differ")
        mac = self._send(Mac, self._our_macs())
        if self.state is State.PROVED:
            return [mac, *self._finish()]
        self.state = State.AGREED
        return [mac]

    def cancel(self, code: Code, reason: str) -> list[Effect]:
        """End it from our side; nothing happens if it has ended."""
        if self.state in {State.DONE, State.CANCELLED}:
            return []
        self.state = State.CANCELLED
        effects: list[Effect] = [Ended(code=code, reason=reason, by_them=False)]
        if self._transaction:
            effects.append(self._send(Cancel, {"code": code.value, "reason": reason}))
        return effects

    def _take(self, event: Content, content: JsonObject) -> list[Effect]:
        match event:
            case Ready():
                self._meet(event.from_device, event.methods)
                return [self._begin()]
            case Start():
                return self._started(event, content)
            case Accept():
                return [self._accepted(event)]
            case Key():
                return self._revealed(event)
            case Mac():
                return self._proved(event)
            case _:
                raise _Wrong(Code.UNEXPECTED, "the event has no place here")

    # --- agreeing on how ----------------------------------------------------------------------

    def _consent(self, request: Content) -> Send:
        if not isinstance(request, Request) or request.to != self._ours.user_id:
            raise _Wrong(Code.INVALID, "the request is for somebody else")
        self._meet(request.from_device, request.methods)
        self.state = State.READY
        return self._send(Ready, {"from_device": self._ours.device_id, "methods": [METHOD]})

    def _meet(self, device_id: str, methods: Iterable[str]) -> None:
        if METHOD not in methods:
            raise _Wrong(Code.UNKNOWN_METHOD, "only verification by emoji is known here")
        self._device = device_id

    def _begin(self) -> Send:
        """Send our start; READY is left at once."""
        start = self._send(
            Start,
            {
                "from_device": self._ours.device_id,
                "method": METHOD,
                "key_agreement_protocols": [KEY_AGREEMENT],
                "hashes": [HASH],
                "message_authentication_codes": [MAC],
                "short_authentication_string": [EMOJI_STRING, DECIMAL_STRING],
            },
        )
        self._start, self._we_started = start.content, True
        self.state = State.STARTED
        return start

    def _started(self, start: Start, content: JsonObject) -> list[Effect]:
        if start.from_device != self._device:
            raise _Wrong(Code.UNEXPECTED, "another device has come into it")
        if self.state is State.STARTED and self._ours.user_id < self._theirs.user_id:
            return []  # both have started, and ours counts
        strings = _known_strings(start.short_authentication_string)
        if (
            start.method != METHOD
            or KEY_AGREEMENT not in start.key_agreement_protocols
            or HASH not in start.hashes
            or MAC not in start.message_authentication_codes
            or not strings
        ):
            raise _Wrong(Code.UNKNOWN_METHOD, "nothing that was offered is known here")
        self._start, self._we_started, self._strings = content, False, strings
        self.state = State.ACCEPTED
        return [
            self._send(
                Accept,
                {
                    "method": METHOD,
                    "key_agreement_protocol": KEY_AGREEMENT,
                    "hash": HASH,
                    "message_authentication_code": MAC,
                    "short_authentication_string": list(strings),
                    "commitment": self._commitment_to(self._public),
                },
            )
        ]

    def _accepted(self, accept: Accept) -> Send:
        strings = _known_strings(accept.short_authentication_string)
        chosen = (
            accept.method,
            accept.key_agreement_protocol,
            accept.hash,
            accept.message_authentication_code,
        )
        if chosen != (METHOD, KEY_AGREEMENT, HASH, MAC) or not strings:
            raise _Wrong(Code.UNKNOWN_METHOD, "what was chosen was not offered")
        self._commitment, self._strings = accept.commitment, strings
        self.state = State.REVEALED
        return self._send(Key, {"key": self._public})

    # --- the secret ---------------------------------------------------------------------------

    def _revealed(self, event: Key) -> list[Effect]:
        if self._we_started and self._commitment_to(event.key) != self._commitment:
            raise _Wrong(Code.COMMITMENT, "the key is not the one that was committed to")
        try:
            self._secret = self._sas.diffie_hellman(Curve25519PublicKey.from_base64(event.key))
            shared = self._secret.bytes(self._sas_info(event.key))
        except ValueError as error:  # vodozemac's are
            raise _Wrong(Code.INVALID, f"the key is of no use ({error})") from error
        effects: list[Effect] = []
        if not self._we_started:
            effects.append(self._send(Key, {"key": self._public}))
        emoji = tuple(shared.emoji_indices) if EMOJI_STRING in self._strings else ()
        self.state = State.COMPARING
        return [*effects, Compare(emoji=emoji, decimals=shared.decimals)]

    def _commitment_to(self, public_key: str) -> str:
        try:
            text = public_key.encode() + canonical(self._start)
        except (NotCanonicalError, UnicodeEncodeError) as error:
            raise _Wrong(Code.INVALID, str(error)) from error
        return base64.b64encode(hashlib.sha256(text).digest()).decode().rstrip("=")

    def _sas_info(self, their_key: str) -> str:
        ours = f"{self._ours.user_id}|{self._ours.device_id}|{self._public}"
        theirs = f"{self._theirs.user_id}|{self._device}|{their_key}"
        first, second = (ours, theirs) if self._we_started else (theirs, ours)
        return f"MATRIX_KEY_VERIFICATION_SAS|{first}|{second}|{self._transaction}"

    # --- the proof ----------------------------------------------------------------------------

    def _our_macs(self) -> JsonObject:
        keys = {
            f"ed25519:{self._ours.device_id}": self._ours.ed25519,
            f"ed25519:{self._ours.master}": self._ours.master,
        }
        info = self._mac_info(
            (self._ours.user_id, self._ours.device_id), (self._theirs.user_id, self._device)
        )
        secret = self._established()
        return {
            "mac": {name: secret.calculate_mac(key, info + name) for name, key in keys.items()},
            "keys": secret.calculate_mac(",".join(sorted(keys)), f"{info}KEY_IDS"),
        }

    def _proved(self, event: Mac) -> list[Effect]:
        """Check what they prove: the ids as a whole, the master key, and each key that we know.

        Keys that we don't know are passed over, as the specification asks.
        """
        info = self._mac_info(
            (self._theirs.user_id, self._device), (self._ours.user_id, self._ours.device_id)
        )
        keys = {f"ed25519:{each.device_id}": each.ed25519 for each in self._theirs.devices}
        keys[f"ed25519:{self._theirs.master}"] = self._theirs.master
        if f"ed25519:{self._theirs.master}" not in event.mac:
            raise _Wrong(Code.KEY, "the other side has proved no master key, or another one")
        secret = self._established()
        try:
            secret.verify_mac(",".join(sorted(event.mac)), f"{info}KEY_IDS", event.keys)
            for name in keys.keys() & event.mac.keys():
                secret.verify_mac(keys[name], info + name, event.mac[name])
        except ValueError as error:  # vodozemac's are
            raise _Wrong(Code.KEY, "the other side has not proved its keys") from error
        if self.state is State.AGREED:
            return self._finish()
        self.state = State.PROVED
        return []

    def _finish(self) -> list[Effect]:
        self.state = State.DONE
        return [self._send(Done, {}), Verified(master=self._theirs.master)]

    def _mac_info(self, sender: tuple[str, str], recipient: tuple[str, str]) -> str:
        parties = "".join((*sender, *recipient))
        return f"MATRIX_KEY_VERIFICATION_MAC{parties}{self._transaction}"

    def _established(self) -> EstablishedSas:
        if self._secret is None:
            raise ValueError("there is no secret before both keys are known")
        return self._secret

    def _send(self, kind: type[Content], content: JsonObject) -> Send:
        return Send(
            event_type=event_type_of(kind), content={**content, **relation(self._transaction)}
        )


def _known_strings(offered: Iterable[str]) -> tuple[str, ...]:
    return tuple(string for string in (EMOJI_STRING, DECIMAL_STRING) if string in offered)
