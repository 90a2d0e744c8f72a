# SPDX-License-Identifier: MIT
"""A homeserver whose certificate isn't right: what the sysadmin is told of it."""

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import pytest

from tests.harness.https import CERTIFICATE, https

SETTINGS = """\
[matrix]
homeserver = "{url}"
user_id = "@web1:example.org"
rooms = ["!room:example.org"]
[state]
directory = "{state}"
"""

FAULTS: dict[str, tuple[Callable[[Path], AbstractContextManager[str]], bool, str]] = {
    "expired": (partial(https, days_left=-1), True, "certificate has expired"),
    "not yet valid": (partial(https, days_left=3), True, "certificate is not yet valid"),
    "of another": (
        partial(https, address="127.0.0.2"),
        True,
        "IP address mismatch, certificate is not valid for '127.0.0.1'.",
    ),
    "of nobody known": (https, False, "self-signed certificate"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_wrong_with_a_certificate_is_told(tmp_path: Path, fault: str) -> None:
    """The doctor says of a certificate what is wrong with it, as the log of the agent does."""
    serve, trusted, reason = FAULTS[fault]
    state, settings = tmp_path / "state", tmp_path / "agent.toml"
    state.mkdir(mode=0o700)
    with serve(tmp_path) as url:
        settings.write_text(SETTINGS.format(url=url, state=state))
        trust = {"SSL_CERT_FILE": str(tmp_path / CERTIFICATE)} if trusted else {}
        done = subprocess.run(
            [sys.executable, "-m", "tibet_nc_agent", "--config", settings, "doctor"],
            env=os.environ | trust,
            capture_output=True,
            text=True,
            check=False,
        )
    told = f"FAIL  homeserver: the homeserver at {url} can't be reached (its certificate: {reason})"
    assert f"{told}; fix: " in done.stdout
