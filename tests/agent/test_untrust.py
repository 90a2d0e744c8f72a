# SPDX-License-Identifier: MIT
"""Taking an operator out needs nothing of the settings but where the pins are."""

from pathlib import Path

import pytest

from tests.agent.test_pinfile import a_pin
from tibet_nc_agent.__main__ import main
from tibet_nc_agent.pinfile import PinFile, pin

USER = "@operator:example.org"


@pytest.mark.parametrize(
    "other",
    [
        "",
        '[matrix]\nhomeserver = "nonsense"\naccess_token_file = "/does/not/exist"\n',
        "[no-such-section]\nx = 1\n",
        "[executor]\nuser = 'nobody-of-that-name'\n",
    ],
)
def test_whatever_else_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], other: str
) -> None:
    """An operator is listed and taken out although the agent itself couldn't start."""
    pins = tmp_path / "operators.toml"
    pin(pins, a_pin(USER))
    settings = tmp_path / "agent.toml"
    settings.write_text(f"[operators]\nfile = '{pins}'\n{other}", encoding="utf-8")
    assert main(["--config", str(settings), "operators"]) == 0
    assert USER in capsys.readouterr().out
    assert main(["--config", str(settings), "untrust", USER]) == 0
    assert PinFile(pins).pins() == {}


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("[operators]\nfile = 'operators.toml'\n", "operators.file: not an absolute path"),
        ("[operators]\nfile = 1\n", "operators.file: expected a text"),
        ("[operators\n", "not TOML"),
    ],
)
def test_a_path_that_is_none_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, wrong: str
) -> None:
    """Where the pins are can't be guessed: the line names the setting."""
    settings = tmp_path / "agent.toml"
    settings.write_text(text, encoding="utf-8")
    assert main(["--config", str(settings), "untrust", USER]) == 2
    assert wrong in capsys.readouterr().err
