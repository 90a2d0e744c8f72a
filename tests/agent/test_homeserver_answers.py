# SPDX-License-Identifier: MIT
"""What an answer of the homeserver means, over a real connection."""

import asyncio
import json
import re
import socket
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from email.utils import formatdate
from pathlib import Path

import pytest

from tests.serving import meeting
from tibet_nc_agent import homeserver as module
from tibet_nc_agent import sync
from tibet_nc_agent.canonical import Json, JsonObject
from tibet_nc_agent.homeserver import Homeserver
from tibet_nc_agent.interactive_auth import URL_CHARACTERS, Challenge
from tibet_nc_agent.matrix_errors import (
    AnswerTooLarge,
    AuthenticationNeeded,
    MatrixError,
    RateLimited,
    Refused,
    SendError,
    ServerFault,
    TokenRevoked,
    Unreachable,
)
from tibet_nc_agent.media import Media
from tibet_nc_agent.sync import RoomUpdate

OBJECT = b'{"ok": true}'


def answer(status: int, body: bytes = b"{}", headers: str = "") -> bytes:
    """Return an HTTP answer."""
    head = (
        f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n{headers}Connection: close\r\n\r\n"
    )
    return head.encode() + body


def refusal(status: int, code: str, **more: object) -> bytes:
    """Return a Matrix error."""
    return answer(status, json.dumps({"errcode": code, "error": "because"} | more).encode())


@asynccontextmanager
async def answering(
    *answers: bytes, below: str = ""
) -> AsyncGenerator[tuple[Homeserver, list[bytes]]]:
    """Serve the answers in turn; give the client, and the requests as they came."""
    left, requests = list(answers), list[bytes]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(left.pop(0))
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(meeting(serve))
        homeserver = Homeserver(f"http://127.0.0.1:{port}{below}/", proxy=None)
        stack.push_async_callback(homeserver.close)
        yield homeserver, requests


@pytest.mark.parametrize("step_s", [3_600.0, -3_600.0, -5 * 365 * 86_400.0])
async def test_a_clock_that_is_set_while_an_answer_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, step_s: float
) -> None:
    """That very answer tells how far it is off: the messages in it are judged by the new time."""
    now = time.time()
    dated = answer(200, OBJECT, f"Date: {formatdate(now, usegmt=True)}\r\n")
    async with answering(dated) as (homeserver, requests):
        monkeypatch.setattr(time, "time", lambda: now + (step_s if requests else 0))
        await homeserver.once("GET", "/")
    skew_ms = homeserver.skew.milliseconds
    assert skew_ms is not None
    assert abs(skew_ms + step_s * 1000) <= 60_000


async def test_an_address_that_nobody_answers_at_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a firewall drops what is sent, that isn't told of as a slow homeserver."""
    monkeypatch.setattr(module, "CONNECT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, ExitStack() as waiting:
        where = full.getsockname()
        for _ in range(3):  # more than wait at once: the kernel drops what comes after them
            client = waiting.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(where)
        homeserver = Homeserver(f"http://127.0.0.1:{where[1]}", proxy=None)
        with pytest.raises(Unreachable, match=f":{where[1]} can't be reached"):
            await homeserver.once("GET", "/")
        await homeserver.close()


@pytest.mark.parametrize(
    ("served", "error"),
    [
        (answer(200, b"[]"), Unreachable),
        (answer(200, b"no JSON"), Unreachable),
        (answer(200, b"[" * 100_000), Unreachable),
        (answer(200, b'{"a": ' + b"1" * 10_000 + b"}"), Unreachable),
        (answer(302, OBJECT, "Location: http://127.0.0.1:9/\r\n"), Unreachable),
        (answer(404, b"<html>"), Unreachable),
        (answer(500, b""), ServerFault),
        (refusal(503, "M_UNKNOWN"), ServerFault),
        (b"", Unreachable),
        (b"SSH-2.0-OpenSSH_9.2p1\r\n", Unreachable),
        (refusal(401, "M_UNKNOWN_TOKEN"), TokenRevoked),
        (refusal(401, "M_MISSING_TOKEN"), TokenRevoked),
        (answer(401, b'{"flows": [], "session": "s"}'), AuthenticationNeeded),
        (refusal(413, "M_TOO_LARGE"), Refused),
        (refusal(403, "M_FORBIDDEN"), Refused),
        (answer(403, b'{"errcode": ["M_FORBIDDEN"]}'), Unreachable),
        (refusal(429, "M_LIMIT_EXCEEDED", retry_after_ms=1500), RateLimited),
    ],
)
async def test_answer_becomes_our_error(served: bytes, error: type[MatrixError]) -> None:
    """Whatever comes is a value or one error of ours, in one line."""
    async with answering(served) as (homeserver, _):
        with pytest.raises(error) as caught:
            await homeserver.once("GET", "/x")
    assert type(caught.value) is error
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("status", [301, 403, 404])
async def test_what_is_no_homeserver_is_told_with_where_the_address_is(status: int) -> None:
    """A web server at the server's name is not the homeserver; the line says who knows it."""
    async with answering(answer(status, b"<html>")) as (homeserver, requests):
        with pytest.raises(Unreachable, match=r"no homeserver: .*/\.well-known/matrix/client"):
            await homeserver.once("GET", "/x")
    assert len(requests) == 1


async def test_address_may_have_a_path() -> None:
    """Behind a proxy that serves the homeserver below a path, requests go below that path."""
    async with answering(answer(200, OBJECT), below="/matrix") as (homeserver, requests):
        assert await homeserver.once("GET", "/_matrix/client/versions") == {"ok": True}
    assert requests[0].startswith(b"GET /matrix/_matrix/client/versions HTTP/1.1\r\n")


async def test_object_is_returned() -> None:
    """The object of a good answer is the value."""
    async with answering(answer(200, OBJECT)) as (homeserver, _):
        assert await homeserver.once("GET", "/x") == {"ok": True}


async def test_token_goes_along_and_into_no_error() -> None:
    """The token is sent as a header, and no error shows it (I10)."""
    async with answering(answer(200, OBJECT), answer(500)) as (homeserver, requests):
        homeserver.token = "secret-token"
        await homeserver.once("GET", "/x?a=1")
        with pytest.raises(Unreachable) as caught:
            await homeserver.once("GET", "/x")
    assert requests[0].startswith(b"GET /x?a=1 HTTP/1.1\r\n")
    assert b"Authorization: Bearer secret-token\r\n" in requests[0]
    assert "secret-token" not in str(caught.value)


@pytest.mark.parametrize(
    ("asked_ms", "wait_s"), [(1500, 1.5), (None, 5.0), ("x", 5.0), (-1, 5.0), (10**12, 600.0)]
)
async def test_rate_limit_says_how_long(asked_ms: object, wait_s: float) -> None:
    """The wait is what the homeserver asks for, within reason."""
    served = refusal(429, "M_LIMIT_EXCEEDED", retry_after_ms=asked_ms)
    async with answering(served) as (homeserver, _):
        with pytest.raises(RateLimited) as caught:
            await homeserver.once("GET", "/x")
    assert caught.value.retry_after_s == wait_s


@pytest.mark.parametrize(
    ("header", "wait_s"),
    [("7", 7.0), ("0", 1.0), ("99999", 600.0), ("soon", 5.0), ("-1", 5.0), ("9" * 5000, 5.0)],
)
async def test_rate_limit_by_header(header: str, wait_s: float) -> None:
    """Where the answer doesn't say how long, its header does."""
    body = b'{"errcode": "M_LIMIT_EXCEEDED"}'
    async with answering(answer(429, body, f"Retry-After: {header}\r\n")) as (homeserver, _):
        with pytest.raises(RateLimited) as caught:
            await homeserver.once("GET", "/x")
    assert caught.value.retry_after_s == wait_s


async def test_pages_without_end_are_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    """A homeserver that gives the same page of messages for ever is asked only so often."""
    monkeypatch.setattr(sync, "GAP_PAGES", 3)
    event: JsonObject = {"event_id": "$known", "type": "m.room.message"}
    page = json.dumps({"chunk": [event], "end": "further"}).encode()
    update = RoomUpdate(room_id="!room", state=(), timeline=(event,), gap_start="here")
    until = asyncio.get_running_loop().time() + 60
    async with answering(*[answer(200, page)] * 10) as (homeserver, requests):
        filled, complete = await sync.fill_gap(
            homeserver, update, user_id="@bot:example.org", since="before", until=until
        )
    assert not complete
    assert filled.timeline == (event,)
    assert len(requests) == 3


async def gap_of(*pages: JsonObject) -> tuple[list[str], bool, int]:
    """Fill a gap before ``$9`` from pages; return what is there then, if all, and the requests."""
    update = RoomUpdate(room_id="!room", state=(), timeline=(message(9),), gap_start="here")
    until = asyncio.get_running_loop().time() + 60
    answers = [answer(200, json.dumps(page).encode()) for page in pages]
    async with answering(*answers) as (homeserver, requests):
        filled, complete = await sync.fill_gap(
            homeserver, update, user_id=BOT, since="before", until=until
        )
    assert filled.gap_start is None
    return [str(event["event_id"]) for event in filled.timeline], complete, len(requests)


def message(number: int) -> JsonObject:
    """Return a message."""
    return {"type": "m.room.message", "event_id": f"${number}"}


BOT = "@bot:example.org"
JOIN: JsonObject = {
    "type": "m.room.member",
    "event_id": "$join",
    "state_key": BOT,
    "content": {"membership": "join"},
}


async def test_a_gap_is_filled_in_the_order_of_the_room() -> None:
    """Pages come newest first; what is there already is not put there twice (I4)."""
    first: JsonObject = {"chunk": [message(9), message(8), message(7)], "end": "further"}
    last: JsonObject = {"chunk": [message(6), message(5)]}
    assert await gap_of(first, last) == (["$5", "$6", "$7", "$8", "$9"], True, 2)


async def test_a_gap_ends_where_there_is_nothing_older() -> None:
    """An empty page, and the agent's own joining, are the end, whatever else is offered."""
    empty: JsonObject = {"chunk": [], "end": "further"}
    assert await gap_of(empty) == (["$9"], True, 1)
    joined: JsonObject = {"chunk": [message(8), JOIN], "end": "further"}
    assert await gap_of(joined) == (["$join", "$8", "$9"], True, 1)


async def test_a_gap_has_a_most_of_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """No more is asked for than so many events need, and that it isn't all is told."""
    monkeypatch.setattr(sync, "GAP_EVENTS", 3)
    page: JsonObject = {"chunk": [message(8), message(7)], "end": "further"}
    found, complete, requests = await gap_of(page, page, page)
    assert (len(found), complete, requests) == (5, False, 2)


async def test_a_gap_has_a_most_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few large messages end it as many small ones do, and that it isn't all is told."""
    monkeypatch.setattr(sync, "GAP_COST", 3_000)
    large: JsonObject = {**message(8), "content": {"body": "x" * 2_000}}
    page: JsonObject = {"chunk": [large], "end": "further"}
    assert await gap_of(page, page, page) == (["$8", "$8", "$9"], False, 2)


async def test_a_page_that_is_too_large_is_asked_for_in_parts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of a page that is too large, half as many messages are asked for, and none is lost."""
    monkeypatch.setattr(module, "ANSWER_BYTES", 1_000)
    large: JsonObject = {"chunk": [{**message(8), "content": {"body": "x" * 2_000}}], "end": "e"}
    small: JsonObject = {"chunk": [message(8), message(7)]}
    update = RoomUpdate(room_id="!room", state=(), timeline=(message(9),), gap_start="here")
    until = asyncio.get_running_loop().time() + 60
    answers = [answer(200, json.dumps(page).encode()) for page in (large, large, small)]
    async with answering(*answers) as (homeserver, requests):
        filled, complete = await sync.fill_gap(
            homeserver, update, user_id=BOT, since="before", until=until
        )
    assert complete
    assert [event["event_id"] for event in filled.timeline] == ["$7", "$8", "$9"]
    limits = [re.search(rb"limit=(\d+)", request) for request in requests]
    assert [found and found[1] for found in limits] == [b"500", b"250", b"125"]


async def test_pages_that_are_always_too_large_are_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    """A homeserver whose every page is more than is read is asked only so often, and it is told."""
    monkeypatch.setattr(module, "ANSWER_BYTES", 1_000)
    monkeypatch.setattr(sync, "GAP_PAGES", 4)
    large: JsonObject = {"chunk": [{**message(8), "content": {"body": "x" * 2_000}}], "end": "e"}
    assert await gap_of(*[large] * 9) == (["$9"], False, 4)


APPROVE = "https://example.org/approve?"


@pytest.mark.parametrize(
    ("url", "passed_on"),
    [
        (APPROVE, True),
        (APPROVE.ljust(URL_CHARACTERS, "x"), True),
        (APPROVE.ljust(URL_CHARACTERS + 1, "x"), False),
        ("http://example.org/", False),
        (f"{APPROVE}\x1b[2J", False),
        (f"{APPROVE} and this", False),
        (f"{APPROVE}\N{LATIN SMALL LETTER E WITH ACUTE}", False),
        (5, False),
    ],
)
def test_an_address_that_a_person_is_sent_to_is_a_plain_one(url: Json, passed_on: bool) -> None:
    """What a homeserver says of where to approve something is shown if it hides nothing."""
    asked: JsonObject = {"flows": [{"stages": ["s"]}], "params": {"s": {"url": url}}}
    assert Challenge.of(asked).url == (url if passed_on else "")


async def test_answer_without_end_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer over the limit is not read to its end."""
    monkeypatch.setattr(module, "ANSWER_BYTES", 1_000)
    async with answering(answer(200, b" " * 100_000 + OBJECT)) as (homeserver, _):
        with pytest.raises(AnswerTooLarge, match="longer than"):
            await homeserver.once("GET", "/x")


@pytest.mark.parametrize("values", [b"[],", b"{},", b"1,", b'{"a":1},'])
async def test_answer_of_many_values_is_not_read(
    monkeypatch: pytest.MonkeyPatch, values: bytes
) -> None:
    """Small values take many times their length in memory: how many are read has an end, too."""
    monkeypatch.setattr(module, "ANSWER_VALUES", 1_000)
    async with answering(
        answer(200, b'{"a": [' + values * 100 + b"1]}"),
        answer(200, b'{"a": [' + values * 999 + b"1]}"),
    ) as (homeserver, _):
        await homeserver.once("GET", "/x")
        with pytest.raises(AnswerTooLarge, match="more than 1000 values"):
            await homeserver.once("GET", "/x")


async def test_who_can_ask_less_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that is too large is waited out, but for who can ask for less."""
    monkeypatch.setattr(module, "ANSWER_BYTES", 1_000)
    monkeypatch.setattr(module, "FIRST_WAIT_SECONDS", 0.01)
    large = answer(200, b" " * 2_000 + OBJECT)
    async with answering(large, answer(200, OBJECT), large) as (homeserver, requests):
        assert await homeserver.request("GET", "/x") == {"ok": True}
        with pytest.raises(AnswerTooLarge):
            await homeserver.request("GET", "/x", can_ask_less=True)
    assert len(requests) == 3


async def test_silence_ends() -> None:
    """A homeserver that accepts and says nothing counts as unreachable after the given time."""
    async with AsyncExitStack() as stack:
        ended = asyncio.Event()

        async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await ended.wait()
            writer.close()

        port = await stack.enter_async_context(meeting(serve))
        stack.callback(ended.set)
        homeserver = Homeserver(f"http://127.0.0.1:{port}", proxy=None)
        stack.push_async_callback(homeserver.close)
        with pytest.raises(Unreachable, match="did not answer"):
            await homeserver.once("GET", "/x", seconds=0.1)


async def test_a_file_that_can_not_be_read_is_not_the_homeservers_fault(tmp_path: Path) -> None:
    """An upload whose file fails is given up: to wait for the homeserver would be for ever (I4)."""
    async with AsyncExitStack() as stack:
        ended = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if (await reader.readuntil(b"\r\n\r\n")).startswith(b"POST"):
                await ended.wait()
            writer.write(answer(200))
            writer.close()

        port = await stack.enter_async_context(meeting(serve))
        stack.callback(ended.set)
        homeserver = Homeserver(f"http://127.0.0.1:{port}", proxy=None)
        stack.push_async_callback(homeserver.close)
        with pytest.raises(SendError, match=r"the file can't be read \(Is a directory\)"):
            async with asyncio.timeout(20):
                await Media(homeserver).upload(tmp_path, "name", offset=0, size=9)


async def test_request_goes_on_until_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """What may pass is waited out, with the same request each time."""
    monkeypatch.setattr(module, "FIRST_WAIT_SECONDS", 0.01)
    limited = refusal(429, "M_LIMIT_EXCEEDED", retry_after_ms=1)
    served = (answer(502), limited, answer(200, b"no JSON"), b"", answer(200, OBJECT))
    async with answering(*served) as (homeserver, requests):
        assert await homeserver.request("PUT", "/x/txn", {"a": 1}) == {"ok": True}
    assert {request.split(b"\r\n")[0] for request in requests} == {b"PUT /x/txn HTTP/1.1"}


async def test_request_ends_with_a_refusal() -> None:
    """What won't pass ends a request at once."""
    async with answering(refusal(403, "M_FORBIDDEN")) as (homeserver, _):
        with pytest.raises(Refused, match="because"):
            await homeserver.request("PUT", "/x", {})


async def test_what_a_homeserver_says_is_one_visible_line() -> None:
    """An error text of the homeserver's forges no log line and controls no terminal."""
    said = "\x1b]0;title\x07\x1b[2Jno\nNov 25 tibet-nc-agent: @op:example.org may command\u202e"
    async with answering(refusal(403, "M_FORBIDDEN", error=said)) as (homeserver, _):
        with pytest.raises(Refused) as caught:
            await homeserver.once("GET", "/")
    text = str(caught.value)
    assert text.startswith("the homeserver refuses: no⏎Nov 25 ")
    assert text.isprintable()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_redirection_is_followed(status: int) -> None:
    """What we send is for our homeserver: a token or password goes nowhere else (I10)."""
    async with answering(answer(200, OBJECT)) as (other, elsewhere):
        location = f"Location: {other._url}/_matrix/client/v3/login\r\n"
        async with answering(answer(status, b"{}", location)) as (homeserver, requests):
            homeserver.token = "secret"
            with pytest.raises(MatrixError):
                await homeserver.once("POST", "/_matrix/client/v3/login", {"password": "secret"})
            assert len(requests) == 1
        assert elsewhere == []
