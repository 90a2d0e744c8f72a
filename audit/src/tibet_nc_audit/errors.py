# SPDX-License-Identifier: MIT
"""What stops a check, and what a check finds: the first can't be judged, the second is bad."""


class AuditError(Exception):
    """The files can't be read, or what was asked for makes no sense: one line for a person."""


class MissingFileError(AuditError):
    """A file isn't there."""


class UnreadableError(AuditError):
    """Something is there and can't be read; what it holds is neither good nor bad."""


class NotAFileError(UnreadableError):
    """Something else has the name of a file: a directory, a symbolic link, a device."""


class DisagreementError(Exception):
    """What a record speaks of isn't what the record says.

    ``file`` is relative to the state directory; ``expected`` is from the record, ``found`` from
    the file.
    """

    def __init__(self, file: str, reason: str, *, expected: str = "", found: str = "") -> None:
        self.file = file
        self.reason = reason
        self.expected = expected
        self.found = found
        super().__init__(f"{file}: {reason}")


class MissingError(DisagreementError):
    """What a record speaks of isn't there, which may have been recorded later as an erasure."""
