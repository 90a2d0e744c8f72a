# SPDX-License-Identifier: MIT
"""One chain with every kind of record."""

from collections.abc import Callable

from tests.vectors import samples
from tibet_nc_protocol.records import (
    Aborted,
    Record,
    Refusal,
    Security,
    SecurityEvent,
    Session,
    SessionState,
    actor,
    commitment,
)
from tibet_nc_protocol.terms import Stage, run_id


def all_kinds() -> list[samples.Line]:
    """Return a chain that holds every kind of record, with and without its optional fields."""
    lines = list(samples.three_records())

    def append(make: Callable[[int, str], Record]) -> int:
        seq = len(lines)
        lines.append(samples.signed(make(seq, lines[-1].digest)))
        return seq

    append(
        lambda seq, prev: Session(
            seq=seq,
            prev=prev,
            time=samples.time(seq),
            session=samples.SESSION,
            state=SessionState.CLOSED,
            room=samples.ROOM,
            sender=samples.SENDER,
            actor=actor(samples.SENDER),
            detail="the operator left",
        )
    )
    append(
        lambda seq, prev: Refusal(
            seq=seq,
            prev=prev,
            time=samples.time(seq),
            room=samples.ROOM,
            event=samples.OTHER_EVENT,
            sender=samples.SENDER,
            actor=actor(samples.SENDER),
            stage=Stage.SAFETY,
            detail="removes the root directory",
            device=samples.DEVICE,
            family="destruction",
            command=commitment(samples.SALT, "rm -rf /"),
        )
    )
    append(
        lambda seq, prev: Refusal(
            seq=seq,
            prev=prev,
            time=samples.time(seq),
            room=samples.ROOM,
            event=samples.OTHER_EVENT,
            sender=samples.OTHER_SENDER,
            actor=actor(samples.OTHER_SENDER),
            stage=Stage.SENDER,
            detail="not an operator of this host",
        )
    )
    append(
        lambda seq, prev: Security(
            seq=seq,
            prev=prev,
            time=samples.time(seq),
            what=SecurityEvent.PEER,
            detail="a process of another user connected",
            uid=1000,
        )
    )
    append(
        lambda seq, prev: Security(
            seq=seq,
            prev=prev,
            time=samples.time(seq),
            what=SecurityEvent.ERASED,
            detail="text of #1: a password was typed",
            number=1,
        )
    )
    opened = append(lambda seq, prev: samples.intent(seq, prev, event=samples.OTHER_EVENT))
    append(
        lambda seq, prev: Aborted(
            seq=seq,
            prev=prev,
            time=samples.time(seq),
            intent=opened,
            run=run_id(samples.ROOM, samples.OTHER_EVENT),
            detail="the executor ended while this ran",
        )
    )
    event = samples.THIRD_EVENT
    begun = append(lambda seq, prev: samples.intent(seq, prev, event=event))
    append(lambda seq, prev: samples.outcome(seq, prev, of=begun, event=event, leftover=2))
    append(
        lambda seq, prev: samples.remainder(seq, prev, of=begun, run=run_id(samples.ROOM, event))
    )
    lines.append(samples.signed(samples.checkpoint([line.line for line in lines])))
    append(samples.new_key)
    return lines
