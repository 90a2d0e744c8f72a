# SPDX-License-Identifier: MIT
"""The two columns: what must never be allowed, and what must not be in the way."""

from tests.agent.safety.corpora import commands, families, verdicts
from tibet_nc_agent.safety import Decision, Family, judge

DANGEROUS = commands("dangerous")
HARMLESS = commands("harmless")

# Where another family names the same danger just as well, e.g. a disk that is wiped by `rm`.
LEAST_SHARE_IN_FAMILY = 0.9


def test_no_dangerous_line_is_allowed() -> None:
    """No line of the dangerous column is allowed."""
    assert [line for line in DANGEROUS if judge(line).decision is Decision.ALLOW] == []


def test_no_dangerous_line_gets_a_weaker_verdict() -> None:
    """What is denied doesn't become a matter of approval by a change that meant something else."""
    weaker = [
        command
        for command, least in verdicts().items()
        if judge(command).decision.rank < Decision(least).rank
    ]
    assert weaker == []


def test_every_harmless_line_is_allowed() -> None:
    """Every line of the harmless column is allowed, with no finding at all."""
    assert [line for line in HARMLESS if judge(line).findings] == []


def test_findings_name_the_family() -> None:
    """The family of a dangerous line is among its findings for nine lines in ten."""
    named = [
        family in [finding.family for finding in judge(command).findings]
        for command, family in families().items()
    ]
    assert sum(named) >= LEAST_SHARE_IN_FAMILY * len(named)


def test_every_family_has_lines() -> None:
    """The dangerous column covers every family that is about damage."""
    generic = {Family.OPAQUE, Family.TEXT}
    assert {family.value for family in Family if family not in generic} <= set(families().values())


def test_spans_point_into_the_command() -> None:
    """Every finding has a span inside the command, a reason and an advice."""
    for command in DANGEROUS:
        for finding in judge(command).findings:
            start, end = finding.span
            assert 0 <= start <= end <= len(command)
            assert finding.reason
            assert finding.advice


def test_commands_are_what_would_run() -> None:
    """The verdict lists every argv in the order of execution, through wrappers and nesting."""
    verdict = judge("cd /srv && sudo sh -c 'ls $HOME; x=a; echo $x'")
    assert verdict.commands == (
        ("cd", "/srv"),
        ("sudo", "sh", "-c", "ls $HOME; x=a; echo $x"),
        ("sh", "-c", "ls $HOME; x=a; echo $x"),
        ("ls", "/root"),
        ("echo", "a"),
    )
