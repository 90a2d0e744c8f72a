# SPDX-License-Identifier: MIT
"""Recordings in asciinema's own player, in a real Chromium."""

import json
from pathlib import Path
from typing import Final

import pytest

from tests.audit.chains import Chain
from tests.audit.program import within
from tests.harness.browser import Page
from tests.harness.host import ROOT

BUNDLE: Final = ROOT / "tests/player/node_modules/asciinema-player/dist/bundle"
OUTPUT: Final = (
    b"Filesystem      Size  Used Avail\r\n"
    b"\x1b[31m/dev/sda1\x1b[0m  20G gr\xc3\xb6\xc3\x9fer\r\n"
    + b"".join(b"line %d\r\n" % number for number in range(300))
    + b"</script><b>done</b> \xff\xfe\r\n"
)

pytestmark = pytest.mark.skipif(
    not BUNDLE.exists(), reason="the player is missing: scripts/setup-node"
)


def _play(page: Page, directory: Path, cast: str) -> None:
    """Let the player play a recording fast; ``said`` on the page tells how it went."""
    data = json.dumps(cast).replace("</", "<\\/")
    path = directory / "player.html"
    path.write_text(f"""\
<!doctype html>
<meta charset="utf-8">
<link rel="stylesheet" href="{(BUNDLE / "asciinema-player.css").as_uri()}">
<div id="player"></div>
<script src="{(BUNDLE / "asciinema-player.min.js").as_uri()}"></script>
<script>
window.said = [];
const player = AsciinemaPlayer.create({{data: {data}}}, document.getElementById("player"),
                                      {{speed: 50, preload: true}});
for (const name of ["ready", "playing", "ended", "error"])
  player.addEventListener(name, (event) => said.push(name));
player.play().catch((error) => said.push(String(error)));
</script>
""")
    page.open(path)
    page.wait("document.readyState === 'complete' && window.said !== undefined")


def test_a_recording_plays_to_its_end(page: Page, tmp_path: Path) -> None:
    """The player takes an exported recording, shows what was printed, and comes to its end."""
    chain = Chain(tmp_path / "state")
    number = chain.command("df -h", OUTPUT)
    output = tmp_path / "shown.cast"
    arguments = ("export", "--state", tmp_path / "state", "--format", "cast", str(number))
    assert within(*arguments, "--output", output).status == 0
    _play(page, tmp_path, output.read_text())
    page.wait("said.includes('ended') || said.includes('error')")
    said = page.evaluate("said")
    assert "error" not in said, said
    assert page.complaints == []
    shown = page.evaluate("document.querySelector('.ap-term').innerText")
    assert "line 299" in shown
    assert "</script><b>done</b> ��" in shown
    assert all(request.startswith(("file:", "data:", "blob:")) for request in page.requests)


def test_something_else_does_not_play(page: Page, tmp_path: Path) -> None:
    """What is no recording is refused by the player, so that playing says something."""
    _play(page, tmp_path, '{"version": 9}\n')
    page.wait("said.some((word) => word !== 'ready' && word !== 'playing')")
    assert "ended" not in page.evaluate("said")
