# SPDX-License-Identifier: MIT
"""What a series of measurements amounts to, and the clocks that make one."""

import math
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A series of measurements, all in one unit."""

    n: int
    min: float
    p50: float
    p95: float
    p99: float
    max: float


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return the smallest value that at least this share of an ordered series doesn't exceed."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def summarize(values: Sequence[float]) -> Summary:
    """Return what a series amounts to; raises ValueError for an empty one."""
    if not values:
        raise ValueError("nothing was measured")
    ordered = sorted(values)
    return Summary(
        n=len(ordered),
        min=ordered[0],
        p50=quantile(ordered, 0.5),
        p95=quantile(ordered, 0.95),
        p99=quantile(ordered, 0.99),
        max=ordered[-1],
    )


def milliseconds(since: float) -> float:
    """Return the milliseconds since a reading of ``time.perf_counter``."""
    return (time.perf_counter() - since) * 1000


def turns(names: Iterable[str]) -> list[str]:
    """Return names in an order drawn anew: who comes after whom warms caches or cools them."""
    order = list(names)
    random.shuffle(order)
    return order


def timed(n: int, call: Callable[[], object]) -> list[float]:
    """Return how many milliseconds each of ``n`` calls took."""
    series: list[float] = []
    for _ in range(n):
        begin = time.perf_counter()
        call()
        series.append(milliseconds(begin))
    return series


async def timed_async(n: int, call: Callable[[], Awaitable[object]]) -> list[float]:
    """Return how many milliseconds each of ``n`` calls took, one after the other."""
    series: list[float] = []
    for _ in range(n):
        begin = time.perf_counter()
        await call()
        series.append(milliseconds(begin))
    return series
