# SPDX-License-Identifier: MIT
"""Which key a chain began with, for a reader who holds a later one.

Each key record is signed with the key before it and names the next, so the first key proves the
later ones. A later key proves the first one, too, by what it has signed: the record after the one
that names it links to every line before. Whoever else made up a beginning and a key record that
names this key (its holder's consent isn't needed for that) has no such record to go on with.

So what a later key vouches for is that its holder took this beginning for its own. Who holds the
first key has more: what stands before the change then doesn't rest on the later key alone.
"""

from dataclasses import dataclass

from tibet_nc_audit.errors import AuditError
from tibet_nc_audit.lines import KEY, decoded, named_key, signed
from tibet_nc_audit.reader import State
from tibet_nc_protocol.records import Genesis, Key, digest
from tibet_nc_protocol.signing import PublicKey


@dataclass(frozen=True, kw_only=True)
class Since:
    """The key that a chain began with, and the record from which on it is the one given.

    ``head`` is that record's digest.
    """

    first: PublicKey
    record: int
    head: str = ""


def since(state: State, key: PublicKey) -> Since:
    """Find out where in a chain a key came into force; 0 if it is the first, or not of this chain.

    The links up to there are for the caller to verify, with the first key, and that they lead to
    that very record: the files can be others by then. Raises AuditError for a key that nothing was
    signed with yet: anybody can have named it.
    """
    now: PublicKey | None = None
    first = key
    for number, line in state.records_from(0):
        if number == 0:
            genesis = decoded(line)
            now = named_key(genesis) if isinstance(genesis, Genesis) else None
            if now is None or now == key:
                break
            first = now
            continue
        if now == key:
            if signed(decoded(line), key):
                return Since(first=first, record=number, head=digest(line))
            break
        if KEY in line and isinstance(record := decoded(line), Key):
            if not signed(record, now):
                break
            now = named_key(record)
    else:
        if now == key:
            raise AuditError(
                f"{key.hex}: the chain goes on with this key, but nothing is signed with it yet;"
                " give the key before"
            )
    return Since(first=key, record=0)
