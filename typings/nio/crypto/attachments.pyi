# SPDX-License-Identifier: MIT

from collections.abc import Iterable, Iterator

from tibet_nc_agent.canonical import JsonObject

def decrypt_attachment(ciphertext: bytes, key: str, sha256: str, iv: str, /) -> bytes: ...
def encrypted_attachment_generator(data: Iterable[bytes]) -> Iterator[bytes | JsonObject]: ...
