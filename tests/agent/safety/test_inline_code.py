# SPDX-License-Identifier: MIT
"""Inline programs of other languages than Python: what is a string in them."""

import shlex

import pytest

from tibet_nc_agent.safety import Decision, judge


@pytest.mark.parametrize(
    ("program", "code", "expected"),
    [
        ("perl", "system q(reboot)", Decision.DENY),
        ("perl", "system(qq{reboot})", Decision.DENY),
        ("perl", "use File::Path; rmtree(q(/))", Decision.DENY),
        ("ruby", "system %q(reboot)", Decision.DENY),
        ("perl", "print q(reboot)", Decision.ALLOW),
        ("perl", "system q(uptime)", Decision.ALLOW),
    ],
)
def test_generic_quotes_are_quotes(program: str, code: str, expected: Decision) -> None:
    """A string between `q(` and `)` is judged like any other."""
    assert judge(f"{program} -e {shlex.quote(code)}").decision is expected
