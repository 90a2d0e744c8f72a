# SPDX-License-Identifier: MIT
"""Numbers of records that can't be read: nobody can say what is there, nor that nothing is."""

from tibet_nc_protocol.limits import EXACT_INTEGER


class Unread:
    """Told while a chain is read from file to file; the last numbers may be all that follow."""

    def __init__(self) -> None:
        self._ranges: list[range] = []
        self._lost = False

    def lose(self, number: int) -> None:
        """Pass over the records from a number on, to the end of their file."""
        self._ranges.append(range(number, EXACT_INTEGER + 1))
        self._lost = True

    def go_on(self, number: int) -> bool:
        """Read on at a number; tell whether what stands before it was lost."""
        lost, self._lost = self._lost, False
        if lost:
            self._ranges[-1] = range(self._ranges[-1].start, number)
        return lost

    def __bool__(self) -> bool:
        return bool(self._ranges)

    def __contains__(self, number: int) -> bool:
        return any(number in numbers for numbers in self._ranges)

    def after(self, number: int) -> bool:
        """Tell whether some come after a number."""
        return any(numbers.stop > number + 1 for numbers in self._ranges if numbers)
