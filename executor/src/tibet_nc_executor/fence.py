# SPDX-License-Identifier: MIT
"""The end of a command's output, found without guessing.

After a command is gone, the executor writes a token on the command's own terminal. A terminal is
first in, first out, so everything that comes before the token is the command's and nothing of it
comes after. The token is random and made only now, and what is written on a terminal can be read
only by the executor, so no output can contain it, not that of processes that go on either.
"""

TOKEN_BYTES = 16  # 128 bits, as many as a guess is hopeless


def framed(token: bytes) -> bytes:
    """Return the bytes to write for a token of `TOKEN_BYTES` random bytes."""
    return b"\0" + token.hex().encode() + b"\0"


class FenceScanner:
    """Separates output from the fence, however the bytes are cut."""

    def __init__(self, token: bytes) -> None:
        self._fence = framed(token)
        self._held: bytes = b""
        self.found = False
        self.after: bytes = b""
        """What came in the same piece as the fence, behind it."""

    def feed(self, data: bytes) -> bytes:
        """Return the part of `data` that is certainly output; after the fence, nothing is."""
        if self.found:
            return b""
        data = self._held + data
        at = data.find(self._fence)
        if at >= 0:
            self.found = True
            self._held = b""
            self.after = data[at + len(self._fence) :]
            return data[:at]
        keep = next(
            size
            for size in range(min(len(self._fence) - 1, len(data)), -1, -1)
            if self._fence.startswith(data[len(data) - size :])
        )
        self._held = data[len(data) - keep :]
        return data[: len(data) - keep]

    def rest(self) -> bytes:
        """Return what was held back, for when the fence never comes."""
        rest, self._held = self._held, b""
        return rest
