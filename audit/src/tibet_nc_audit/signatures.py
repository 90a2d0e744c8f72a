# SPDX-License-Identifier: MIT
"""Every record's signature, verified on all cores, ahead of the walk that asks for it."""

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context, parent_process, resource_tracker
from typing import Final, Self

from tibet_nc_audit.errors import AuditError
from tibet_nc_audit.lines import KEY, decoded, signed
from tibet_nc_audit.unwinding import ENDING
from tibet_nc_protocol.signing import PublicKey

WORTH_BYTES: Final = 1024 * 1024
"""A shorter chain is verified before other processes have started."""

_AHEAD: Final = 4
"""Batches that each core has in hand or waiting; a batch is some ten milliseconds of work."""

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
            with _processes():
                with _uninterrupted():
                    resource_tracker.ensure_running()  # which lets signals through afterwards
                with _uninterrupted():
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
        if self._pool is None:
            return ((batch, None) for batch in batches)
        return self._verify_ahead(self._pool, batches, key)

    def _verify_ahead(
        self,
        pool: ProcessPoolExecutor,
        batches: Iterator[list[bytes]],
        key: Callable[[], PublicKey | None],
    ) -> Iterator[Batch]:
        pending: deque[tuple[list[bytes], Future[list[bool]]]] = deque()
        try:
            for batch in batches:
                if any(KEY in line for line in batch):
                    yield from _drain(pending)
                current = key()
                if current is None or any(KEY in line for line in batch):
                    yield batch, None
                    continue
                if len(pending) >= self._most:
                    yield _next(pending)
                with _uninterrupted(), _processes():
                    future = pool.submit(_verify, batch, current.data)
                pending.append((batch, future))
            yield from _drain(pending)
        except BrokenProcessPool:  # told when work is given, or when its result is asked for
            raise AuditError("a process that verified signatures was ended") from None


def _drain(pending: deque[tuple[list[bytes], Future[list[bool]]]]) -> Iterator[Batch]:
    while pending:
        yield _next(pending)


def _next(pending: deque[tuple[list[bytes], Future[list[bool]]]]) -> Batch:
    batch, future = pending.popleft()
    return batch, future.result()


@contextmanager
def _processes() -> Generator[None]:
    """Raise AuditError where no process can be made: for want of memory, of files, of others."""
    try:
        yield
    except (OSError, EOFError) as error:  # the latter where the fork server has ended
        why = error.strerror if isinstance(error, OSError) else "their server has ended"
        raise AuditError(
            f"processes to verify signatures: {why}; --jobs 1 does it without"
        ) from None


@contextmanager
def _uninterrupted() -> Generator[None]:
    """Hold signals back while a process may be made, or a thread; those have them held ever after.

    One would come in a state of the pool's in which that waits for ever, or kill half a process.
    So an interrupt is left to us, and a thread that writes to processes which ended ends nobody.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGPIPE, *ENDING})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin() -> None:
    """End when we are asked to, as a broken pool does, and with the process that made us."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    if (parent := parent_process()) is not None:
        parent.join()
        os._exit(1)


def _verify(lines: list[bytes], key: bytes) -> list[bool]:
    public = PublicKey(key)
    return [signed(decoded(line), public) for line in lines]
