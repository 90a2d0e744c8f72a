# SPDX-License-Identifier: MIT
"""Every record's signature, verified on all cores, ahead of the walk that asks for it."""

import os
import signal
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Final, Self

from tibet_nc_audit.errors import AuditError
from tibet_nc_audit.walk import decoded, signed
from tibet_nc_protocol.signing import PublicKey

WORTH_BYTES: Final = 1024 * 1024
"""A shorter chain is verified before other processes have started."""

_AHEAD: Final = 4
"""Batches that each core has in hand or waiting; a batch is some ten milliseconds of work."""

_KEY: Final = b'"kind":"key"'
"""What stands in key records only: within a string, quotation marks are escaped."""

type Batch = tuple[list[bytes], list[bool] | None]
"""Lines, and whether each is signed; None where that wasn't found out beforehand."""


class Signatures:
    """Verifies batches of lines; use as a context manager."""

    def __init__(self, chain_bytes: int, jobs: int | None = None) -> None:
        jobs = jobs or os.process_cpu_count() or 1
        self._pool: ProcessPoolExecutor | None = None
        self._most = _AHEAD * jobs
        if jobs > 1 and chain_bytes >= WORTH_BYTES:
            # Forking would copy whatever threads hold; a fork server has none.
            context = get_context("forkserver")
            self._pool = ProcessPoolExecutor(jobs, context, initializer=_begin)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def verify(
        self, batches: Iterator[list[bytes]], key: Callable[[], PublicKey | None]
    ) -> Iterator[Batch]:
        """Yield each batch with what is known of its signatures; raises AuditError.

        ``key`` is asked for the key of the line that is next to be walked. Where a batch may change
        it, the walk itself has to verify.
        """
        pool = self._pool
        if pool is None:
            for batch in batches:
                yield batch, None
            return
        pending: deque[tuple[list[bytes], Future[list[bool]]]] = deque()
        for batch in batches:
            if any(_KEY in line for line in batch):
                yield from _drain(pending)
            current = key()
            if current is None or any(_KEY in line for line in batch):
                yield batch, None
                continue
            if len(pending) >= self._most:
                yield _next(pending)
            pending.append((batch, pool.submit(_verify, batch, current.data)))
        yield from _drain(pending)


def _drain(pending: deque[tuple[list[bytes], Future[list[bool]]]]) -> Iterator[Batch]:
    while pending:
        yield _next(pending)


def _next(pending: deque[tuple[list[bytes], Future[list[bool]]]]) -> Batch:
    batch, future = pending.popleft()
    try:
        return batch, future.result()
    except BrokenProcessPool:
        raise AuditError("a process that verified signatures was ended") from None


def _begin() -> None:
    """Leave an interrupt to the process that asked."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _verify(lines: list[bytes], key: bytes) -> list[bool]:
    public = PublicKey(key)
    return [signed(decoded(line), public) for line in lines]
