# SPDX-License-Identifier: MIT
"""What a homeserver asks for before it changes an account: user-interactive authentication.

Facts. A 401 answer names flows, each a list of stages that must all be passed, the parameters of
stages, and a session, which is named when the request is sent again (Client-Server API v1.16,
"User-Interactive Authentication API"). Where another server keeps the accounts there is no
password stage, but one with a ``url``: a page on which the account's owner approves the change;
afterwards the same request passes as it is, for some minutes (MSC4312).
"""

from dataclasses import dataclass
from typing import Final, Self

from tibet_nc_agent.canonical import JsonObject, as_list, as_object, as_text

PASSWORD: Final = "m.login.password"  # noqa: S105 - the name of a stage

SHOWN_STAGES: Final = 5
SHOWN_CHARACTERS: Final = 60
"""Of a stage's name; the homeserver chooses it, and a person has to read it."""

URL_CHARACTERS: Final = 400
"""Longest address that is passed on to a person; those that are in use have less than 100."""


@dataclass(frozen=True, kw_only=True)
class Challenge:
    """What would do: a ``password`` alone, approval at ``url`` ("" if there is none), or else.

    ``stages`` are those of all flows, shortened.
    """

    session: str
    password: bool
    url: str
    stages: tuple[str, ...]

    @classmethod
    def of(cls, answer: JsonObject) -> Self:
        """Return what a 401 answer asks for; any JSON gives something."""
        flows = [as_list(as_object(flow).get("stages")) for flow in as_list(answer.get("flows"))]
        names = dict.fromkeys(as_text(stage) for flow in flows for stage in flow)
        params = as_object(answer.get("params"))
        urls = (as_text(as_object(params.get(name)).get("url")) for name in names)
        return cls(
            session=as_text(answer.get("session")),
            password=[PASSWORD] in flows,
            url=next((url for url in urls if _can_be_opened(url)), ""),
            stages=tuple(name[:SHOWN_CHARACTERS] for name in names if name)[:SHOWN_STAGES],
        )


def _can_be_opened(url: str) -> bool:
    """Whether a person may be sent to an address that the homeserver has chosen."""
    plain = url.isascii() and url.isprintable() and " " not in url
    return plain and url.startswith("https://") and len(url) <= URL_CHARACTERS
