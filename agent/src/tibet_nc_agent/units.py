# SPDX-License-Identifier: MIT
"""Numbers, times and sizes as people say them."""

from typing import Final

_UNITS: Final = ("bytes", "KiB", "MiB", "GiB", "TiB")


def duration(milliseconds: int) -> str:
    """Return a time as people say it, exact to a thousandth or better for the short ones."""
    if milliseconds < 1000:
        return f"{milliseconds} ms"
    seconds, rest = divmod(milliseconds, 1000)
    if seconds < 60:
        return f"{seconds}.{rest // 100} s"
    minutes, seconds = divmod(seconds, 60)
    if minutes < 60:
        return _two(minutes, "min", seconds, "s")
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return _two(hours, "h", minutes, "min")
    return _two(hours // 24, "d", hours % 24, "h")


def _two(large: int, unit: str, small: int, part: str) -> str:
    return f"{large} {unit} {small} {part}" if small else f"{large} {unit}"


def grouped(number: int) -> str:
    """Return a number with its thousands apart (ISO 80000-1, §7.3.1)."""
    return f"{number:,}".replace(",", " ")


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return a count with its noun, as ``1 line`` or ``1 234 lines``.

    ``plural`` is for a noun that takes more than an s.
    """
    return f"{grouped(number)} {noun if number == 1 else plural or f'{noun}s'}"


def size(number: int) -> str:
    """Return a number of bytes in the largest unit in which it is whole (ISO/IEC 80000-13)."""
    unit = 0
    while number and number % 1024 == 0 and unit < len(_UNITS) - 1:
        number, unit = number // 1024, unit + 1
    return f"{grouped(number)} {_UNITS[unit]}"
