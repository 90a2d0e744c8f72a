# SPDX-License-Identifier: MIT
"""Files on the homeserver, each encrypted with a key of its own before it leaves this host."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import BinaryIO, Final

from tibet_nc_agent.canonical import JsonObject, as_count, as_text
from tibet_nc_agent.homeserver import Homeserver, Upload
from tibet_nc_agent.matrix_errors import SendError, TooLarge, Unreachable
from tibet_nc_agent.nio_machine import encrypted_file

UPLOAD_SECONDS: Final = 600.0
CHUNK_BYTES: Final = 64 * 1024


class Media:
    """Where files go."""

    def __init__(self, homeserver: Homeserver) -> None:
        self._homeserver = homeserver
        self._limit: int | None = None

    async def limit(self) -> int | None:
        """Return how long a file the homeserver takes, in bytes; None if it doesn't say."""
        if self._limit is None:
            answer = await self._homeserver.request("GET", "/_matrix/client/v1/media/config")
            self._limit = as_count(answer.get("m.upload.size"))
        return self._limit

    async def upload(
        self, path: Path, name: str, mimetype: str, *, offset: int, size: int
    ) -> JsonObject:
        """Encrypt and upload ``size`` bytes of a file; return an ``m.file`` message that holds it.

        The homeserver learns neither name nor type. Raises :class:`TooLarge` before anything is
        sent if it takes no file of that size, and :class:`SendError` if the file can't be read.
        """
        limit = await self.limit()
        if limit is not None and size > limit:
            problem = f"the file has {size} bytes, and the homeserver takes {limit}"
            raise TooLarge(problem, size=size, limit=limit)
        secret: JsonObject = {}
        answer = await self._homeserver.request(
            "POST",
            "/_matrix/media/v3/upload",
            upload=Upload(size=size, read=lambda: _encrypting(path, offset, size, secret)),
            seconds=UPLOAD_SECONDS,
        )
        url = as_text(answer.get("content_uri"))
        if not url.startswith("mxc://"):  # output that nobody could fetch would be lost silently
            raise Unreachable("the homeserver's answer to an upload has no address of it")
        return {
            "msgtype": "m.file",
            "body": name,
            "filename": name,
            "info": {"mimetype": mimetype, "size": size},
            "file": {**secret, "url": url},
        }


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
