# SPDX-License-Identifier: MIT
"""The package's own scripts on a host where the installer has been, and the other way round."""

import re
import subprocess
from pathlib import Path

import pytest

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
KEPT = ("/etc/tibet-nc/agent.toml", "/var/lib/tibet-nc/executor.key", "/run/tibet-nc/executor.sock")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return the root of a host with settings, state and a socket."""
    for name in KEPT:
        path = tmp_path / name.lstrip("/")
        path.parent.mkdir(parents=True)
        path.touch()
    return tmp_path


def script(root: Path, name: str, step: str) -> subprocess.CompletedProcess[str]:
    """Run a script of the package as dpkg does, with all of its paths below another root."""
    text = (DEPLOY / "deb" / name).read_text()
    text = re.sub(r"(?<![\w/])/(?=(etc|opt|run|var)/)", f"{root}/", text)
    text = text.replace("getent ", "false ")  # no account of this machine is touched
    return subprocess.run(
        ["sh", "-s", step], input=text, capture_output=True, text=True, check=False
    )


def left(root: Path) -> list[str]:
    """Return what is left of that."""
    return [name for name in KEPT if (root / name.lstrip("/")).exists()]


@pytest.mark.parametrize("step", ["remove", "purge"])
def test_the_installers_host_is_left_alone(root: Path, step: str) -> None:
    """A package that was removed can be purged when the installer's host is long in use."""
    (root / "opt/tibet-nc").mkdir(parents=True)
    assert script(root, "postrm", step).returncode == 0
    assert left(root) == list(KEPT)


def test_a_purge_takes_everything(root: Path) -> None:
    """Where the installer hasn't been, a removal leaves settings and state, and a purge nothing."""
    assert script(root, "postrm", "remove").returncode == 0
    assert left(root) == list(KEPT[:2])
    assert script(root, "postrm", "purge").returncode == 0
    assert left(root) == []


@pytest.mark.parametrize("step", ["install", "upgrade"])
def test_the_package_is_not_put_beside_the_installers(root: Path, step: str) -> None:
    """What would be hidden by the installer's units is refused, with what to do."""
    assert script(root, "preinst", step).returncode == 0
    (root / "opt/tibet-nc").mkdir(parents=True)
    refused = script(root, "preinst", step)
    assert refused.returncode == 1
    assert "let it --uninstall first" in refused.stderr
    assert script(root, "preinst", "abort-upgrade").returncode == 0


@pytest.mark.parametrize("mode", ["", "--purge"])
def test_the_installer_changes_nothing_beside_the_package(root: Path, mode: str) -> None:
    """Where the package is installed it says how that is removed."""
    text = (DEPLOY / "install.sh").read_text()
    (root / "usr/lib/tibet-nc").mkdir(parents=True)
    (root / "usr/lib/tibet-nc/keys.sh").touch()
    file = root / "deploy/install.sh"
    file.parent.mkdir()
    text = text.replace("/usr/lib/tibet-nc", f"{root}/usr/lib/tibet-nc")
    file.write_text(text.replace("\ncheck_machine\n", "\n"))  # this machine may be no Debian
    done = subprocess.run(
        ["bash", file, "--dry-run", *mode.split()], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "the Debian package tibet-nc is installed here: " in done.stderr
