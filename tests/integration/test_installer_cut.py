# SPDX-License-Identifier: MIT
"""What the installer leaves behind when something in the middle of it fails."""

import os
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
PARTS = ["agent", "executor", "audit"]

# In the place of Python: makes environments of nothing, but not the one of $FAILS.
PYTHON = """#!/bin/bash
[ "$2" = -m ] || exit 0
mkdir -p "$4/bin"
[ "${4##*/}" != "$FAILS" ] || exit 1
printf '#!/bin/sh\\n' | tee "$4/bin/python" >"$4/bin/tibet-nc-${4##*/}"
chmod 755 "$4"/bin/*
echo new >"$4/which"
"""


def installer(
    root: Path, steps: str, *, cwd: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Carry out some of the installer's steps, with its directories below another root."""
    functions, found, _ = (DEPLOY / "install.sh").read_text().partition("\nread_arguments ")
    assert found
    for path in ("/opt/tibet-nc", "/etc/tibet-nc", "/usr/local/bin", "/usr/sbin"):
        functions = functions.replace(path, f"{root}{path}")
    script = root / "deploy/install.sh"
    script.parent.mkdir(exist_ok=True)
    script.write_text(f"{functions}\n{steps}\n")
    return subprocess.run(
        ["bash", script],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a root with one environment for each part, and a stand-in for Python."""
    (tmp_path / "usr/local/bin").mkdir(parents=True)
    (tmp_path / "etc/tibet-nc").mkdir(parents=True)
    opt = tmp_path / "opt/tibet-nc"
    for part in PARTS:
        (opt / part).mkdir(parents=True)
        (opt / part / "which").write_text("old\n")
    (opt / ".stamp").write_text("of the old\n")
    python = tmp_path / "python"
    python.write_text(PYTHON)
    python.chmod(0o755)
    return tmp_path


def environments(root: Path, fails: str) -> subprocess.CompletedProcess[str]:
    """Make all three anew, of which one may fail."""
    steps = f"build_own() {{ own=/nowhere; }}; python={root}/python; environments"
    return installer(root, steps, FAILS=fails)


def which(root: Path) -> list[str]:
    """Return which environments there are."""
    files = [root / "opt/tibet-nc" / part / "which" for part in PARTS]
    return [file.read_text().strip() for file in files]


@pytest.mark.parametrize("part", PARTS)
def test_all_three_are_new_or_none(root: Path, part: str) -> None:
    """One that can't be made doesn't leave the agent of one version beside another's executor."""
    done = environments(root, part)
    assert (done.returncode, which(root)) == (2, ["old"] * 3)
    assert "is back in its place" in done.stderr
    assert environments(root, "").returncode == 0
    assert which(root) == ["new"] * 3
    assert list((root / "opt/tibet-nc").glob("*.old")) == []


def test_killed_run_is_put_back_first(root: Path) -> None:
    """What a killed run has put aside is not taken for rubbish: the next may fail as well."""
    opt = root / "opt/tibet-nc"
    (opt / ".stamp").unlink()
    (opt / "agent").rename(opt / "agent.old")
    (opt / "agent").mkdir()
    assert environments(root, "agent").returncode == 2
    assert which(root) == ["old"] * 3


def test_restart_is_not_forgotten(root: Path) -> None:
    """A run that ends before the restart leaves it to the next, which finds nothing different."""
    assert environments(root, "").returncode == 0
    done = installer(root, 'systemctl() { echo systemctl "$@"; }; start')
    assert "systemctl try-restart tibet-nc-executor.socket" in done.stdout
    done = installer(root, 'systemctl() { echo systemctl "$@"; }; start')
    assert (done.returncode, "try-restart" in done.stdout) == (0, False)


def test_every_file_of_ours_counts(root: Path) -> None:
    """Another report page, or a renamed module, is another version, and is installed."""
    (root / "audit").mkdir()
    page = root / "audit/page.html"
    stamps: list[str] = []
    for text in ("one", "two"):
        page.write_text(text)
        stamps.append(installer(root, "python=false; stamp").stdout)
    page.rename(root / "audit/other.html")
    stamps.append(installer(root, "python=false; stamp").stdout)
    assert len(set(stamps)) == len(stamps)


def test_full_disk_leaves_no_half_of_the_settings(root: Path) -> None:
    """Settings that are there are never touched again, so they are there whole or not at all."""
    target = root / "etc/tibet-nc/agent.toml"
    steps = f"ulimit -f 1; trap '' XFSZ; place 640 root:root {DEPLOY}/agent.toml {target}"
    assert installer(root, steps).returncode != 0
    assert not target.exists()


def test_name_of_the_host_is_taken_as_it_is(root: Path) -> None:
    """Sed's own characters in a name neither stop the installation nor change the name."""
    (root / "deploy").mkdir()
    for part in ("agent", "executor"):
        (root / f"deploy/{part}.toml").write_text((DEPLOY / f"{part}.toml").read_text())
    done = installer(root, 'hostname=\'web/1 & #2\'; place() { cp "$3" "$4"; }; settings')
    assert (done.returncode, done.stderr) == (0, "")
    written = tomllib.loads((root / "etc/tibet-nc/agent.toml").read_text())
    assert written["host"] == {"name": "web/1 & #2"}


def test_authorities_are_needed(root: Path) -> None:
    """A Debian that trusts no authority, so that no homeserver is reached, gets Debian's."""
    steps = f"dry=1; wheels=/nowhere; python={sys.executable}; need_packages"
    assert "ca-certificates" in installer(root, steps).stdout
    program = root / "usr/sbin/update-ca-certificates"
    program.parent.mkdir()
    program.touch(mode=0o755)
    assert "ca-certificates" not in installer(root, steps).stdout


def test_dry_purge_shows_everything() -> None:
    """--dry-run says of a purge that it stops and removes the programs as well."""
    done = subprocess.run(
        [DEPLOY / "install.sh", "--dry-run", "--purge"], capture_output=True, text=True, check=True
    )
    assert "would run: rm -rf /opt/tibet-nc " in done.stdout


@pytest.fixture
def visible() -> Iterator[Path]:
    """Return a directory that every account can enter."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_keys_are_made_whatever_the_callers_tmpdir(visible: Path) -> None:
    """Where root's temporary files are root's alone, both accounts still find their settings."""
    program = '#!/bin/sh\ncat "$2" >/dev/null || exit 1\necho "public key: key"\n'
    for part in ("agent", "executor"):
        file = visible / part / "bin" / f"tibet-nc-{part}"
        file.parent.mkdir(parents=True)
        file.write_text(program)
        file.chmod(0o755)
    (visible / "private").mkdir(mode=0o700)
    text = (DEPLOY / "keys.sh").read_text().replace("/etc/tibet-nc", str(visible))
    script = text.replace('--reuid "$1" --regid "$1"', "--reuid 65534 --regid 65534")
    done = subprocess.run(
        ["bash", "-c", script, "keys.sh", visible],
        env={**os.environ, "TMPDIR": str(visible / "private")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (visible / "executor.pub").read_text() == "key\n"


def test_no_code_comes_from_where_it_is_called(root: Path) -> None:
    """Root's Python imports nothing from the current directory: that can be everybody's /tmp."""
    python, there, ran = Path(sys.executable).resolve(), root / "everybodys", root / "ran"
    there.mkdir()
    for name in ("ensurepip", "pip", "sysconfig", "venv"):
        (there / f"{name}.py").write_text(f"open({str(ran)!r}, 'a').write('{name} ')\n")
    steps = f"""\
install_packages() {{ pip "$2" --version; }}
python={python}; own=/nowhere
(dry=1; need_packages) || true
mkdir -p "$OPT"; make_environment audit
"""
    done = installer(root, steps, cwd=there)
    assert "/opt/tibet-nc/audit could not be made" in done.stderr  # since nothing is in it
    assert "pip " in done.stdout
    assert not ran.exists(), ran.read_text()
