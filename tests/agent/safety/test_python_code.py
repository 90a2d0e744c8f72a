# SPDX-License-Identifier: MIT
"""Inline Python: what its names and arguments stand for."""

import shlex

import pytest

from tibet_nc_agent.safety import Decision, judge

ALLOW, DENY = Decision.ALLOW, Decision.DENY


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import subprocess as s; s.run(args=['reboot'])", DENY),
        ("import subprocess as s; s.run(args='reboot', shell=True)", DENY),
        ("import subprocess as s; c = ['rm', '-rf', '/']; s.run(c)", DENY),
        ("import os; os.system(command='reboot')", DENY),
        ("import shutil; shutil.rmtree(path='/')", DENY),
        ("open(file='/etc/passwd', mode='w')", DENY),
        ("import shutil; p = '/'; shutil.rmtree(p); p = '/tmp/x'", DENY),
        ("import shutil; p = '/tmp/x'; p = '/'; shutil.rmtree(p)", DENY),
        ("import os; c = 're'; c += 'boot'; os.system(c)", DENY),
        ("import subprocess as s; c = ['ls', '/']; s.run(c, check=True)", ALLOW),
        ("import shutil; p = '/tmp/x'; shutil.rmtree(p); p = '/tmp/y'", ALLOW),
        ("n = 1; n += 2; print(n)", ALLOW),
    ],
)
def test_names_and_arguments_by_name_are_followed(code: str, expected: Decision) -> None:
    """A list behind a name, an argument by its name and each value of a name are judged."""
    assert judge(f"python3 -c {shlex.quote(code)}").decision is expected
