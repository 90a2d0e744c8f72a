# SPDX-License-Identifier: MIT
"""Files on the homeserver, each encrypted with a key of its own before it leaves this host."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import BinaryIO, Final

from tibet_nc_agent.canonical import JsonObject, as_count, as_text
from tibet_nc_agent.homeserver import CLIENT, REQUEST_SECONDS, Homeserver, Upload, waits
from tibet_nc_agent.matrix_errors import RateLimited, Refused, SendError, TooLarge, Unreachable
from tibet_nc_agent.nio_machine import encrypted_file

PATIENCE_SECONDS: Final = 120.0
"""How long a file is tried while the homeserver takes no files: the answer that it belongs to, and
those behind that, wait meanwhile."""

SLOWEST_BYTES: Final = 64 * 1024
"""How much of a file a connection carries in a second at least; slower ones count as dead."""

CHUNK_BYTES: Final = 64 * 1024

_log = logging.getLogger(__name__)


class Media:
    """Where files go.

    What keeps files is often apart from the rest of a homeserver, and can be away alone. That is
    waited out for PATIENCE_SECONDS, and then a :class:`SendError`; a homeserver that is away as a
    whole is waited out, however long.
    """

    def __init__(self, homeserver: Homeserver) -> None:
        self._homeserver = homeserver
        self._limit: int | None = None

    async def limit(self) -> int | None:
        """Return how long a file the homeserver takes, in bytes; None if it doesn't say."""
        if self._limit is None:
            try:
                answer = await self._ask("GET", "/_matrix/client/v1/media/config")
            except Refused:  # one that is older than v1.11
                return None
            self._limit = as_count(answer.get("m.upload.size"))
        return self._limit

    async def upload(self, path: Path, name: str, *, offset: int, size: int) -> JsonObject:
        """Encrypt and upload ``size`` bytes of a text; return an ``m.file`` message that holds it.

        The homeserver learns neither name nor type. Raises :class:`TooLarge` before anything is
        sent if it takes no file of that size, and :class:`SendError` if the file can't be read.
        """
        limit = await self.limit()
        if limit is not None and size > limit:
            problem = f"the file has {size} bytes, and the homeserver takes {limit}"
            raise TooLarge(problem, size=size, limit=limit)
        secret: JsonObject = {}
        answer = await self._ask(
            "POST",
            "/_matrix/media/v3/upload",
            upload=Upload(size=size, read=lambda: _encrypting(path, offset, size, secret)),
            seconds=REQUEST_SECONDS + size / SLOWEST_BYTES,
        )
        url = as_text(answer.get("content_uri"))
        if not url.startswith("mxc://"):  # output that nobody could fetch would be lost silently
            raise Unreachable("the homeserver's answer to an upload has no address of it")
        return {
            "msgtype": "m.file",
            "body": name,
            "filename": name,
            "info": {"mimetype": "text/plain", "size": size},
            "file": {**secret, "url": url},
        }

    async def _ask(
        self,
        method: str,
        path: str,
        *,
        seconds: float = REQUEST_SECONDS,
        upload: Upload | None = None,
    ) -> JsonObject:
        clock, pauses, spent = asyncio.get_running_loop().time, waits(), 0.0
        while True:
            began = clock()
            try:
                return await self._homeserver.once(method, path, seconds=seconds, upload=upload)
            except RateLimited as error:
                failure, pause = str(error), error.retry_after_s
            except Unreachable as error:
                failure, pause = str(error), next(pauses)
            spent += clock() - began + pause
            if spent > PATIENCE_SECONDS:
                raise SendError(failure)
            _log.warning("a file waits: %s; trying again in %.1f s", failure, pause)
            await asyncio.sleep(pause)
            await self._homeserver.request("GET", f"{CLIENT}/account/whoami")  # is any of it there?


async def _encrypting(
    path: Path, offset: int, size: int, secret: JsonObject
) -> AsyncIterator[bytes]:
    """Yield ``size`` bytes of a file, encrypted; put what decrypts them into ``secret``."""
    try:
        with path.open("rb") as file:  # a local file: a chunk takes microseconds
            file.seek(offset)
            for part in encrypted_file(_chunks(file, size)):
                if isinstance(part, bytes):
                    yield part
                else:
                    secret.update(part)
    except OSError as error:
        raise SendError(f"the file can't be read ({error.strerror})") from error


def _chunks(file: BinaryIO, size: int) -> Iterator[bytes]:
    while size > 0 and (chunk := file.read(min(CHUNK_BYTES, size))):
        size -= len(chunk)
        yield chunk
