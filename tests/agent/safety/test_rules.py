# SPDX-License-Identifier: MIT
"""The rules as data: a host can make them stricter, and every mistake in its file has a line."""

import os
import re
import tomllib
from pathlib import Path

import msgspec
import pytest

import tibet_nc_agent.safety
from tibet_nc_agent.safety import Decision, Family, RulesError, judge, load_rules
from tibet_nc_agent.safety.rules.model import Level, Rule

PAGE = Path(__file__).parents[3] / "docs/safety.md"


def site(folder: Path, text: str) -> Path:
    """Write a host's rules."""
    path = folder / "safety.toml"
    path.write_text(text, encoding="utf-8")
    return path


MISTAKES = {
    "unknown table": (
        '[[rules]]\nfamily = "power"\n',
        ":1: rules: unknown key, did you mean rule?",
    ),
    "unknown key": (
        '[[rule]]\nfamily = "power"\ndecision = "deny"\ncommands = ["x"]\nresaon = "y"\n',
        ":5: rule.resaon: unknown key, did you mean reason?",
    ),
    "missing key": (
        '\n[[rule]]\nfamily = "power"\ndecision = "deny"\ncommands = ["x"]\n',
        ":2: rule: the key reason is missing",
    ),
    "unknown family": (
        '[[rule]]\nfamily = "powr"\ndecision = "deny"\ncommands = ["x"]\nreason = "y"\n',
        ":2: rule.family: 'powr' is not a value of this key, did you mean power?",
    ),
    "unknown decision": (
        '[[rule]]\nfamily = "power"\n\ndecision = "refuse"\ncommands = ["x"]\nreason = "y"\n',
        ":4: rule.decision: 'refuse' is not a value of this key",
    ),
    "a rule that allows": (
        '[[rule]]\nfamily = "power"\ndecision = "allow"\ncommands = ["x"]\nreason = "y"\n',
        ":3: rule.decision: a rule can't allow, write deny or needs-approval",
    ),
    "a path as a command": (
        '[[rule]]\nfamily = "power"\ndecision = "deny"\ncommands = ["/bin/x"]\nreason = "y"\n',
        ":4: rule.commands: must be program names without a directory",
    ),
    "text for a list": (
        '[[rule]]\nfamily = "power"\ndecision = "deny"\ncommands = "x"\nreason = "y"\n',
        ":4: rule.commands: expected `array`, got `str`",
    ),
    "a bad expression": (
        '[[rule]]\nfamily = "power"\ndecision = "deny"\ncommands = ["x"]\nreason = "y"\n'
        'text = ["a("]\n',
        ":6: rule.text: 'a(' is not a regular expression",
    ),
    "the second of two rules": (
        '[[rule]]\nfamily = "power"\ndecision = "deny"\ncommands = ["x"]\nreason = "y"\n\n'
        '[[rule]]\nfamily = "power"\ndecision = "deny"\ncommands = [\n  "x",\n]\nreason = 3\n',
        ":13: rule.reason: expected `str`, got `int`",
    ),
    "an empty exception": (
        '[[allow]]\nargv = []\nbecause = "x"\n',
        ":2: allow.argv: must be a whole command",
    ),
    "an exception for a wrapper": (
        '[[allow]]\nbecause = "x"\nargv = ["sudo", "reboot"]\n',
        ":3: allow.argv: sudo runs other programs",
    ),
    "an exception for a shell": (
        '[[allow]]\nbecause = "x"\nargv = ["/bin/bash", "-s"]\n',
        ":3: allow.argv: /bin/bash runs other programs",
    ),
    "an exception without a reason": (
        '[[allow]]\nargv = ["reboot"]\n',
        ":1: allow: the key because is missing",
    ),
    "a family that is not there": (
        '[family.powerful]\nat-least = "deny"\n',
        ":1: family.powerful: unknown key, did you mean power?",
    ),
    "a family's text": (
        '[family.power]\nabout = "x"\n',
        ":2: family.power.about: unknown key, known are at-least",
    ),
    "a relative path": (
        '[paths]\nsystem = ["data"]\n',
        ":2: paths.system: 'data' must begin with /",
    ),
    "paths that loosen": (
        '[paths]\nnot-below = ["/usr/"]\n',
        ":2: paths.not-below: unknown key, known are",
    ),
    "one table for many": ('[rule]\nfamily = "power"\n', ":1: rule: must be an array of tables"),
    "nested without end": (f"a = {'[' * 9_000}", ": is not TOML: nested too deeply"),
    "too many digits": (f"a = {'9' * 5_000}", ": is not TOML: a number with too many digits"),
    "no TOML": ("[paths]\nsystem = [\n", ":2: is not TOML: "),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_with_its_place(tmp_path: Path, name: str) -> None:
    """The error names the file, the line, the key, what is wrong and what would be right."""
    text, expected = MISTAKES[name]
    path = site(tmp_path, text)
    with pytest.raises(RulesError) as error:
        load_rules(path)
    assert str(error.value).startswith(f"{path}{expected}")
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """A missing or unreadable file is an error, not the shipped rules."""
    with pytest.raises(RulesError, match="cannot be read: No such file"):
        load_rules(tmp_path / "none.toml")
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff")
    with pytest.raises(RulesError, match="is not UTF-8"):
        load_rules(binary)
    pipe = tmp_path / "pipe.toml"
    os.mkfifo(pipe)
    with pytest.raises(RulesError, match="cannot be read: not a regular file"):
        load_rules(pipe)


def test_a_host_adds_rules(tmp_path: Path) -> None:
    """A rule of the host holds as well, and the shipped ones stay."""
    rules = load_rules(
        site(
            tmp_path,
            '[[rule]]\nfamily = "services"\ndecision = "deny"\ncommands = ["systemctl"]\n'
            'verbs = ["stop|restart"]\nwords = ["billing*"]\nreason = "stops billing"\n'
            'advice = "call accounting"\n',
        )
    )
    worst = judge("sudo systemctl restart billing-api", rules=rules).worst
    assert worst is not None
    assert (
        worst.decision,
        worst.reason,
        worst.advice,
    ) == (Decision.DENY, "stops billing", "call accounting")
    assert judge("systemctl restart billing-api").decision is Decision.ALLOW
    assert judge("reboot", rules=rules).decision is Decision.DENY


def test_a_host_raises_a_family(tmp_path: Path) -> None:
    """A lower bound turns approvals of a family into refusals, and never the other way."""
    rules = load_rules(
        site(
            tmp_path,
            '[family.boot]\nat-least = "deny"\n[family.power]\nat-least = "needs-approval"\n',
        )
    )
    assert judge("rmmod nfs").decision is Decision.NEEDS_APPROVAL
    assert judge("rmmod nfs", rules=rules).decision is Decision.DENY
    assert judge("reboot", rules=rules).decision is Decision.DENY


@pytest.mark.parametrize(
    "line",
    ["ps | sh", "bash <(ps)", "sh -c '('", "echo `(`", ': "${x@P}"', "$x", f"ls {'{a,b}' * 50}"],
)
def test_a_host_raises_what_cannot_be_decided(tmp_path: Path, line: str) -> None:
    """A lower bound holds for whatever is found in the family, also where the walk gives up."""
    rules = load_rules(site(tmp_path, '[family.opaque]\nat-least = "deny"\n'))
    assert judge(line).decision is Decision.NEEDS_APPROVAL
    assert judge(line, rules=rules).decision is Decision.DENY


def test_a_host_protects_paths(tmp_path: Path) -> None:
    """Paths of the host are protected like the shipped ones."""
    rules = load_rules(
        site(tmp_path, '[paths]\nsystem = ["/data/prod"]\ncritical = ["/data/keys/*"]\n')
    )
    for command in ("rm -rf /data/prod", "rm -rf /data/prod/*", "echo > /data/keys/a"):
        assert judge(command).decision is Decision.ALLOW
        assert judge(command, rules=rules).decision is Decision.DENY


@pytest.mark.parametrize("directory", ["/data/prod", "/ware/house", "/usr/local/app", "/depot/"])
def test_what_is_below_a_host_s_directory_is_protected(tmp_path: Path, directory: str) -> None:
    """What is in a directory of the host's needs an approval, as what is in the system's own."""
    rules = load_rules(site(tmp_path, f'[paths]\nsystem = ["{directory}"]\n'))
    inside = f"{directory.rstrip('/')}/x"
    for command in (
        f"rm -rf {inside}",
        f"rm -rf {inside}/y",
        f"rm -rf {directory.rstrip('/')}/$(cat name)",
        f"rm -rf {inside}$y",
        f"chmod -R 777 {inside}",
    ):
        assert judge(command, rules=rules).decision is Decision.NEEDS_APPROVAL, command
    assert judge(f"rm -rf {directory}", rules=rules).decision is Decision.DENY
    for command in (f"ls {inside}", "rm -rf /usr/local/other", "rm -rf /ware/housework"):
        assert judge(command, rules=rules).decision is Decision.ALLOW, command


def test_an_exception_is_exact(tmp_path: Path) -> None:
    """An exception allows one argv, whatever wraps it, and nothing that differs in a word."""
    rules = load_rules(
        site(
            tmp_path,
            '[[allow]]\nargv = ["systemctl", "restart", "ssh"]\nbecause = "console at hand"\n',
        )
    )
    for command in (
        "systemctl restart ssh",
        "sudo systemctl 'restart' ssh",
        "a; systemctl restart ssh",
    ):
        assert judge(command).decision is Decision.NEEDS_APPROVAL
        assert judge(command, rules=rules).decision is Decision.ALLOW
    for command in (
        "systemctl restart ssh tibet-nc-agent",
        "systemctl restart sshd",
        "systemctl restart $x",
        "systemctl restart ss?",
        "systemctl restart ssh; reboot",
        "systemctl restart ssh > /dev/sda",
    ):
        assert judge(command, rules=rules).decision is not Decision.ALLOW


def test_every_family_is_explained() -> None:
    """People can read what each family is about, what is denied and what may run."""
    rules = load_rules()
    assert set(Family) == set(rules.families)
    for text in rules.families.values():
        assert all((text.about, text.denied, text.approval, text.advice))


def test_every_rule_names_a_reason() -> None:
    """Reasons are phrases that go on from the name of the command."""
    for rule in load_rules().rules:
        assert rule.reason[0].islower()
        assert not rule.reason.endswith(".")


def test_shipped_rules_are_ones_that_a_host_might_write(tmp_path: Path) -> None:
    """What the shipped files say passes the checks that a host's own file has to pass."""
    files = sorted(Path(tibet_nc_agent.safety.__file__).parent.glob("tables/rules/*.toml"))
    shipped = "\n".join(file.read_text(encoding="utf-8") for file in files)
    twice = load_rules(site(tmp_path, shipped)).rules
    assert len(twice) == 2 * len(load_rules().rules)


def test_each_file_of_rules_holds_the_rules_of_one_family() -> None:
    """What is said of a family is in the file that has its name."""
    files = sorted(Path(tibet_nc_agent.safety.__file__).parent.glob("tables/rules/*.toml"))
    assert {file.stem for file in files} == {*Family} - {Family.TEXT}
    for file in files:
        rules = tomllib.loads(file.read_text(encoding="utf-8"))["rule"]
        assert {rule["family"] for rule in rules} == {file.stem}


def test_the_page_has_every_condition_of_a_rule() -> None:
    """Who writes a rule finds each condition and each level of a path in docs/safety.md."""
    rows = re.findall(r"^\| `.*", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    named = set(re.findall(r"`([a-z-]+)(?: = true)?`", " ".join(rows)))
    says = {"family", "decision", "reason", "advice"}
    conditions = {info.encode_name for info in msgspec.structs.fields(Rule)} - says
    assert conditions <= named
    assert {level.value for level in Level} <= named
