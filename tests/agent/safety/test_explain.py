# SPDX-License-Identifier: MIT
"""`tibet-nc-agent explain`: one verdict for people or programs, or one a line."""

import argparse
import io
import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tibet_nc_agent import explain
from tibet_nc_agent.__main__ import main

PAGE = (Path(__file__).parents[3] / "docs" / "safety.md").read_text()


def run(*words: str) -> str:
    """Run the command in this process; return its output."""
    parser = argparse.ArgumentParser()
    explain.add_arguments(parser)
    out = io.StringIO()
    explain.explain(parser.parse_args(words), out=out)
    return out.getvalue()


def lines(folder: Path, content: bytes) -> list[dict[str, object]]:
    """Judge the lines of a file."""
    path = folder / "lines"
    path.write_bytes(content)
    return [json.loads(line) for line in run("--lines", str(path)).splitlines()]


def test_json_of_one_command() -> None:
    """The object has the five keys of a line, and all findings and commands."""
    output = run("--json", "echo hi; sudo rm -rf /")
    judged = json.loads(output)
    assert {
        "command": "echo hi; sudo rm -rf /",
        "verdict": "deny",
        "family": "wipe",
        "reason": "rm deletes /",
        "span": [14, 22],
    }.items() <= judged.items()
    assert judged["commands"] == [["echo", "hi"], ["sudo", "rm", "-rf", "/"], ["rm", "-rf", "/"]]
    assert [finding["verdict"] for finding in judged["findings"]] == ["deny"]


def test_text_of_one_command() -> None:
    """People see the decision, the family, the marked place and what to do instead."""
    output = run("ls; reboot")
    assert output.splitlines()[:5] == [
        "deny: never runs from the room",
        "deny power: powers off or reboots the machine",
        "    ls; reboot",
        "        ^^^^^^",
        "    instead: ask whoever runs this host to do it on the console or through its "
        "management network",
    ]


def test_needs_approval_says_that_it_is_refused() -> None:
    """Until approvals exist, the room refuses what needs one, and explain says so."""
    output = run("rmmod nfs")
    assert output.startswith("needs-approval: refused in the room until approvals exist\n")


def test_allowed_command() -> None:
    """An allowed command has neither family nor reason nor span."""
    output = run("--json", "df -h")
    judged = json.loads(output)
    assert tuple(judged[key] for key in ("verdict", "family", "reason", "span")) == (
        "allow",
        None,
        None,
        None,
    )
    assert run("df -h") == "allow: may run\nwould run:\n    df -h\n"


@pytest.mark.parametrize("command", ["rm -rf /", "sudo rm -rf $DIR", "reboot"])
def test_what_is_refused_is_not_said_to_run(command: str) -> None:
    """Of a refused line the commands are listed as what is in it, not as what would run."""
    output = run(command)
    assert "would run" not in output
    assert f"the commands in it:\n    {command.partition(' ')[0]}" in output


def test_words_are_seen_where_they_begin_and_end() -> None:
    """A word with blanks or quotes, or an empty one, is quoted in the list of the commands."""
    assert "    grep 'a b' '' x\n" in run("grep 'a b' '' x")
    assert "    rm -rf …\n" in run("sudo rm -rf $DIR")


def test_too_much_to_decide_has_its_own_advice() -> None:
    """What is too complex should be split, which the advice says."""
    assert "instead: write it as several shorter commands" in run("ls;" * 9_000)


def test_text_cannot_control_the_terminal() -> None:
    """A command with escape sequences is shown without them."""
    output = run("ls \x1b[2J\u202e")
    assert r"    ls \x1b[2J\u202e" in output.splitlines()
    assert all(character.isprintable() or character == "\n" for character in output)


def test_lines_are_unescaped(tmp_path: Path) -> None:
    r"""`\n`, `\t` and `\\` stand for a newline, a tab and a backslash, others for themselves."""
    judged = lines(tmp_path, rb"cat <<E\nreboot\nE" + b"\n" + rb"re\\boot\tx\q" + b"\nls\n")
    assert [line["command"] for line in judged] == ["cat <<E\nreboot\nE", "re\\boot\tx\\q", "ls"]
    assert [line["verdict"] for line in judged] == ["allow", "deny", "allow"]
    assert [set(line) for line in judged] == [
        {"command", "verdict", "family", "reason", "span"}
    ] * 3


def test_every_line_has_a_verdict(tmp_path: Path) -> None:
    """Empty lines, bad UTF-8, control characters and a missing last newline give lines as well."""
    content = b"\n\xff\xfe\n\\\n\x00\x1b\n\\n\\\nls \\q\nrm -rf /"
    judged = lines(tmp_path, content)
    assert len(judged) == 7
    assert judged[0]["verdict"] == "allow"
    assert judged[1]["verdict"] == judged[3]["verdict"] == judged[6]["verdict"] == "deny"


def test_a_line_beyond_every_limit(tmp_path: Path) -> None:
    """A line of a megabyte is refused, and the next one is judged."""
    judged = lines(tmp_path, b"a" * 1_000_000 + b"\nreboot\n")
    assert [line["verdict"] for line in judged] == ["deny", "deny"]
    assert [line["family"] for line in judged] == ["text", "power"]
    assert judged[1]["command"] == "reboot"


@settings(derandomize=True, max_examples=200, deadline=None, database=None)
@given(content=st.binary(max_size=200))
def test_any_bytes_give_one_object_a_line(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    """As many objects come out as lines went in, for any bytes."""
    judged = lines(tmp_path_factory.getbasetemp(), content)
    expected = content.count(b"\n") + (not content.endswith(b"\n") and content != b"")
    assert len(judged) == expected


@pytest.mark.parametrize("words", [(), ("ls", "--lines", "x")])
def test_wrong_usage(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """Neither or both of a command and a file is an error of usage."""
    assert main(["explain", *words]) == 2
    told = capsys.readouterr()
    assert told == ("", "tibet-nc-agent: give either a command or --lines FILE\n")


def test_a_file_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that can't be read is named."""
    missing = str(tmp_path / "none")
    assert main(["explain", "--lines", missing]) == 2
    assert capsys.readouterr() == ("", f"tibet-nc-agent: {missing}: No such file or directory\n")


def test_rules_of_the_host(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The rules of a host are used, and a mistake in them is an error of configuration."""
    path = tmp_path / "safety.toml"
    path.write_text('[family.boot]\nat-least = "deny"\n', encoding="utf-8")
    assert json.loads(run("--json", "--rules", str(path), "rmmod x"))["verdict"] == "deny"
    path.write_text("[famly.boot]\n", encoding="utf-8")
    assert main(["explain", "--rules", str(path), "ls"]) == 2
    assert f"{path}:1: famly: unknown key, did you mean family?" in capsys.readouterr().err


def test_the_settings_name_the_rules_of_the_host(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is said is what the room would say: by the rules that the host's settings name."""
    rules, settings = tmp_path / "safety.toml", tmp_path / "agent.toml"
    rules.write_text('[family.boot]\nat-least = "deny"\n', encoding="utf-8")
    settings.write_text(f'[airlock]\nrules_file = "{rules}"\n', encoding="utf-8")
    assert main(["--config", str(settings), "explain", "--json", "rmmod x"]) == 0
    assert json.loads(capsys.readouterr().out)["verdict"] == "deny"
    settings.write_text("[airlock]\nrules_file = 5\n", encoding="utf-8")
    assert main(["--config", str(settings), "explain", "ls"]) == 2
    assert f"{settings}: airlock.rules_file: expected a text" in capsys.readouterr().err
    assert main(["--config", str(tmp_path / "none"), "explain", "ls"]) == 2


def test_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """docs/safety.md shows what is really said, and a host's rules that can be loaded."""
    (shown,) = re.findall(r"```\n\$ tibet-nc-agent explain '(.*?)'\n(.*?)```", PAGE, re.DOTALL)
    assert run(shown[0]) == shown[1]
    (line,) = re.findall(r'^(\{"command": .*\})$', PAGE, re.MULTILINE)
    assert lines(tmp_path, b"reboot") == [json.loads(line)]
    (example,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    rules = tmp_path / "safety.toml"
    rules.write_text(example)
    for command, decision in (
        ("sudo systemctl restart ssh", "allow"),
        ("systemctl stop billing-eu", "deny"),
        ("rm -r /data/production", "deny"),
        ("rm -r /data/production/x", "needs-approval"),
    ):
        assert run("--rules", str(rules), command).startswith(decision), command
    rules.write_text(example.replace("\nreason =", "\nresaon ="))
    assert main(["explain", "--rules", str(rules), "true"]) == 2
    (told,) = re.findall(r"safety\.toml:\d+: (.*)$", PAGE, re.MULTILINE)
    assert capsys.readouterr().err.endswith(f": {told}\n")
