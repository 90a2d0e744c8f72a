# SPDX-License-Identifier: MIT
"""What the HTML report shows, whatever stands in output and records."""

from pathlib import Path

import pytest

from tests.audit import chains
from tests.audit.chains import Chain
from tests.harness.browser import Page
from tests.integration.report import export, verdict
from tibet_nc_protocol.terms import Reason

SHOWN = "document.querySelector('.output').textContent"


@pytest.mark.parametrize("output", ["\u3042".encode() * 200_000, b"\x80" * 400_000])
def test_output_without_lines(page: Page, tmp_path: Path, output: bytes) -> None:
    """What has no line end and no ASCII is shown in part until asked for, no character cut."""
    chain = Chain(tmp_path / "state")
    chain.command("cat", output)
    assert "Verified" in verdict(page, export(chain.root))
    hidden = "document.querySelectorAll('.output .hostile').length"
    whole = output.decode(errors="backslashreplace")
    for limit in (1300, 530_000):
        shown = page.evaluate(SHOWN)
        assert len(whole.encode()) * limit / len(output) > len(shown.encode())
        assert whole.startswith(shown)
        assert page.evaluate(hidden) <= 1
        page.evaluate("document.querySelector('.more')?.click()")


def test_a_session_from_end_to_end(page: Page, tmp_path: Path) -> None:
    """Where one session is chosen its outputs are there at once, but for large ones."""
    chain = Chain(tmp_path / "state")
    chain.command("seq 1000", b"".join(b"%d\n" % number for number in range(1000)))
    chain.command("yes", b"y\n" * 50_000)
    verdict(page, export(chain.root))
    lengths = "[...document.querySelectorAll('.output')].map((x) => x.textContent.length)"
    assert page.evaluate(lengths) == [20, 20]
    page.evaluate(
        "(() => { const x = document.getElementById('session'); x.value = 's1';"
        " x.dispatchEvent(new Event('input')) })()"
    )
    assert page.evaluate(lengths) == [3890, 20]


def test_an_ending_that_nobody_knows(page: Page, tmp_path: Path) -> None:
    """A command that the kernel could not end has neither status nor signal, as the page says."""
    chain = Chain(tmp_path / "state")
    chain.outcome(chain.intent("cat /stuck"), status=None, reason=Reason.KILLED)
    verdict(page, export(chain.root))
    shown = page.evaluate("document.body.innerText")
    assert "exit unknown, killed" in shown
    assert "undefined" not in shown


def test_times_that_are_none(page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record's time has a form, not a meaning: one that no clock shows hides nothing."""

    def moment(_seq: int) -> str:
        return "2026-99-99T99:99:99.999999Z"

    monkeypatch.setattr(chains, "moment", moment)
    chain = Chain(tmp_path / "state")
    for _ in range(3):
        chain.command("id", b"uid\n")
    assert "Verified in this browser" in verdict(page, export(chain.root))
    assert "2026-99-99" in page.evaluate("document.getElementById('span').textContent")


def test_a_page_without_a_record(page: Page, tmp_path: Path) -> None:
    """A page of times without any record says so, and verifies nothing."""
    chains.sample(tmp_path / "state")
    path = export(tmp_path / "state", "--since", "2100-01-01")
    assert "Nothing to check" in verdict(page, path)
    assert page.evaluate("document.getElementById('span').textContent") == "0 records, 0 commands"
