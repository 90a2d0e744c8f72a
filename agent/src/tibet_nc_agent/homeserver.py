# SPDX-License-Identifier: MIT
"""One homeserver over HTTP: requests, what its answers mean, and how long to wait between them.

:meth:`Homeserver.once` tries once; :meth:`Homeserver.request` goes on for as long as trying again
makes sense: no connection, a time-out, a server error or something that is no answer of a Matrix
server, and 429. Waits grow from 1 s to 60 s with jitter, so that many agents don't return at once.
A revoked token and every other refusal end both at once.
"""

import asyncio
import json
import logging
import random
import re
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import quote

import aiohttp
from yarl import URL

from tibet_nc_agent.canonical import Json, JsonObject, as_count, as_object, as_text, wholly
from tibet_nc_agent.interactive_auth import Challenge
from tibet_nc_agent.matrix_errors import (
    AnswerTooLarge,
    AuthenticationNeeded,
    MatrixError,
    RateLimited,
    Refused,
    ServerFault,
    TokenRevoked,
    Unreachable,
)

CLIENT: Final = "/_matrix/client/v3"
"""Path of the client-server API, version 3."""

REQUEST_SECONDS: Final = 60.0
"""How long a request may take; a long poll and an upload set their own time."""

CONNECT_SECONDS: Final = 15.0

FIRST_WAIT_SECONDS: Final = 1.0
LONGEST_WAIT_SECONDS: Final = 60.0
LONGEST_RATE_WAIT_SECONDS: Final = 600.0
"""However long a homeserver asks us to wait, we ask again after this."""

UNSAID_WAIT_SECONDS: Final = 5.0
"""How long we wait when a homeserver limits our rate and doesn't say for how long."""

ANSWER_BYTES: Final = 16 * 1024 * 1024
"""Largest answer that is read: 500 events of half the largest kind."""

ANSWER_VALUES: Final = 500_000
"""Most values in an answer that is read; an event of 1 KB has about 20. Each takes some hundred
bytes, however short it is: so no answer takes half of the memory that the unit has."""

_HALF_A_CHARACTER: Final = re.compile(r"\\u[dD][89a-fA-F]")
"""How JSON writes a surrogate; most are one of a pair, and stand for a character."""

_log = logging.getLogger(__name__)


def quoted(text: str) -> str:
    """Return ``text`` as one segment of a path."""
    return quote(text, safe="")


def waits() -> Iterator[float]:
    """Yield the seconds to wait before each further attempt."""
    wait = FIRST_WAIT_SECONDS
    while True:
        yield wait * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, guards nothing
        wait = min(wait * 2, LONGEST_WAIT_SECONDS)


class ClockSkew:
    """How far the homeserver's clock is ahead of ours, from the ``Date`` of its answers.

    ``Date`` has whole seconds, and an answer was made some time between request and receipt: each
    gives an interval that holds the skew. How long that was is measured by a clock that nobody
    sets, since ours may be set meanwhile. All that agree are intersected, which soon leaves a
    few milliseconds; one that doesn't agree means that a clock was set, and starts anew.
    """

    def __init__(self) -> None:
        self._low: float | None = None
        self._high = 0.0

    def observe(self, date: str, *, took_s: float, received_s: float) -> None:
        """Take one answer into account: how long it took, and when it came, in seconds since 1970.

        The latter is by our clock.
        """
        try:
            server = parsedate_to_datetime(date).timestamp()
        except (ValueError, OverflowError):
            return
        low, high = server - received_s, server + 1.0 - received_s + took_s
        if self._low is not None and low <= self._high and high >= self._low:
            low, high = max(low, self._low), min(high, self._high)
        self._low, self._high = low, high

    @property
    def milliseconds(self) -> int | None:
        """The skew, positive if the homeserver is ahead; None before the first answer."""
        return None if self._low is None else round((self._low + self._high) * 500)


@dataclass(frozen=True, kw_only=True)
class Upload:
    """A file to upload: its size in bytes, and how to read it, from the start at each attempt.

    To read it may raise a MatrixError, which ends the request.
    """

    size: int
    read: Callable[[], AsyncIterator[bytes]]


class Homeserver:
    """The connection to one homeserver; ``token`` is set once there is a login.

    ``proxy`` is the URL of an HTTP proxy that leads to it, if one must be used.
    """

    def __init__(self, url: str, *, proxy: str | None) -> None:
        self._url = url.rstrip("/")
        self._where = self._url if proxy is None else f"{self._url} through {proxy}"
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS), proxy=proxy
        )
        self.token = ""
        self.skew: Final = ClockSkew()

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    async def request(
        self,
        method: str,
        path: str,
        body: JsonObject | None = None,
        *,
        seconds: float = REQUEST_SECONDS,
        can_ask_less: bool = False,
    ) -> JsonObject:
        """Send a request until there is an answer; raise as :meth:`once`, but for what may pass.

        Who ``can_ask_less`` is told at once of an answer that is too large, by AnswerTooLarge.
        """
        pauses = waits()
        while True:
            try:
                return await self.once(method, path, body, seconds=seconds)
            except RateLimited as error:
                wait, reason = error.retry_after_s, str(error)
            except Unreachable as error:
                if can_ask_less and isinstance(error, AnswerTooLarge):
                    raise
                wait, reason = next(pauses), str(error)
            _log.warning("%s; trying again in %.1f s", reason, wait)
            await asyncio.sleep(wait)

    async def once(
        self,
        method: str,
        path: str,
        body: JsonObject | None = None,
        *,
        seconds: float = REQUEST_SECONDS,
        upload: Upload | None = None,
    ) -> JsonObject:
        """Send a request once and return the JSON object that answers it.

        It carries ``body`` or ``upload``. Raises :class:`Unreachable`,
        :class:`RateLimited`, :class:`TokenRevoked` or :class:`Refused`, one of which is
        :class:`AuthenticationNeeded`.
        """
        data: bytes | AsyncIterator[bytes] | None = None
        headers = {"Content-Type": "application/json"}
        if upload is not None:
            data = upload.read()
            headers = {
                "Content-Type": "application/octet-stream",
                "Content-Length": str(upload.size),
            }
        elif body is not None:
            data = json.dumps(body).encode()
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        begin = time.monotonic()
        try:
            async with (
                asyncio.timeout(seconds),
                self._session.request(
                    method,
                    URL(self._url + path, encoded=True),
                    data=data,
                    headers=headers,
                    allow_redirects=False,  # a token is for this homeserver only
                ) as response,
            ):
                self.skew.observe(
                    response.headers.get("Date", ""),
                    took_s=time.monotonic() - begin,
                    received_s=time.time(),
                )
                answer = parsed(await _read(response))
                status, retry_after = response.status, response.headers.get("Retry-After", "")
        except aiohttp.ConnectionTimeoutError as error:
            why = f"can't be reached (no connection within {CONNECT_SECONDS:.0f} s)"
            raise Unreachable(f"the homeserver at {self._where} {why}") from error
        except TimeoutError as error:
            raise Unreachable(f"the homeserver did not answer within {seconds:.0f} s") from error
        except (aiohttp.ClientError, OSError) as error:
            if isinstance(error.__cause__, MatrixError):  # of who reads what is uploaded
                raise error.__cause__ from None
            reason = f"the homeserver at {self._where} can't be reached ({_why(error)})"
            raise Unreachable(reason) from error
        if status != 200:
            raise _refusal(status, as_object(answer), retry_after=retry_after)
        if not isinstance(answer, dict):
            raise Unreachable("the homeserver's answer is not a JSON object")
        return answer


def _why(error: aiohttp.ClientError | OSError) -> str:
    """Return what is wrong with a connection in a few words: of a certificate, what."""
    name = type(error).__name__
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        fault = error.certificate_error
        if isinstance(fault, ssl.SSLCertVerificationError):
            return f"its certificate: {fault.verify_message}"
    return name


async def _read(response: aiohttp.ClientResponse) -> bytes:
    parts = bytearray()
    async for part in response.content.iter_any():
        parts += part
        if len(parts) > ANSWER_BYTES:
            raise AnswerTooLarge(f"the homeserver's answer is longer than {ANSWER_BYTES} bytes")
    if sum(map(parts.count, b",[{")) > ANSWER_VALUES:
        raise AnswerTooLarge(f"the homeserver's answer has more than {ANSWER_VALUES} values")
    return bytes(parts)


def parsed(data: bytes) -> Json:
    """Return the value in an answer, None if it is not JSON; no text in it has half a character.

    Ids, tokens and names from an answer go to the disk and to the executor, which know UTF-8 only.
    """
    try:
        text = data.decode()  # by itself json takes UTF-16 and half characters, too
        value: Json = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return wholly(value) if _HALF_A_CHARACTER.search(text) else value


def _wait_s(answer: JsonObject, retry_after: str) -> float:
    """Return how long we are asked to wait: by the answer, or by its header, which came later."""
    wait_ms = as_count(answer.get("retry_after_ms"))
    if wait_ms:
        return wait_ms / 1000
    if retry_after.isascii() and retry_after.isdecimal() and len(retry_after) < 9:
        return max(float(retry_after), FIRST_WAIT_SECONDS)
    return UNSAID_WAIT_SECONDS


def _refusal(status: int, answer: JsonObject, *, retry_after: str) -> MatrixError:
    """Turn an error answer into our error (Client-Server API v1.16, "Standard error response")."""
    code = as_text(answer.get("errcode"))
    said = as_text(answer.get("error"))[:200] or f"HTTP {status}"
    if status == 429 or code == "M_LIMIT_EXCEEDED":
        wait_s = min(_wait_s(answer, retry_after), LONGEST_RATE_WAIT_SECONDS)
        return RateLimited("the homeserver limits our rate", retry_after_s=wait_s)
    if code in {"M_UNKNOWN_TOKEN", "M_MISSING_TOKEN"}:
        return TokenRevoked(
            f"the homeserver does not accept the access token ({code}): run tibet-nc-agent login"
        )
    if status == 401 and "flows" in answer:
        challenge = Challenge.of(answer)
        return AuthenticationNeeded("the homeserver asks whose account it is", challenge=challenge)
    if status == 413 or code == "M_TOO_LARGE":
        text = "the homeserver takes nothing as large as this"
        return Refused(text, status=413, code="M_TOO_LARGE")
    if status >= 500:
        return ServerFault(f"the homeserver answers HTTP {status} ({code or 'no Matrix error'})")
    if not code:  # the server's name is often another machine's than the homeserver's
        return Unreachable(
            f"what answers at matrix.homeserver (HTTP {status}) is no homeserver: the address is "
            "base_url in https://SERVER/.well-known/matrix/client, if your SERVER has that"
        )
    return Refused(f"the homeserver refuses: {said} ({code})", status=status, code=code)
