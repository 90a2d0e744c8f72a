# SPDX-License-Identifier: MIT
"""What the parts are given when they are put together."""

from pathlib import Path

import msgspec
import pytest

from tests.agent.test_config import GOOD, load
from tibet_nc_agent.assembly import judge_of
from tibet_nc_agent.config_error import ConfigError
from tibet_nc_agent.safety import Decision

RULE = """\
[[rule]]
family = "services"
decision = "deny"
commands = ["deploy"]
reason = "deployments go through the pipeline"
advice = "merge to main"
"""


def test_the_hosts_own_rules_are_what_the_airlock_judges_by(tmp_path: Path) -> None:
    """A rule in the file of airlock.rules_file refuses what the shipped rules allow."""
    rules = tmp_path / "safety.toml"
    rules.write_text(RULE)
    settings = load(GOOD, tmp_path)
    assert judge_of(settings)("deploy now").decision is Decision.ALLOW
    strict = msgspec.structs.replace(settings, rules_file=rules)
    assert judge_of(strict)("sudo deploy now").decision is Decision.DENY


def test_a_wrong_rule_stops_the_start_with_its_line(tmp_path: Path) -> None:
    """A rules file with a mistake is a wrong setting: file, line and key in one line."""
    rules = tmp_path / "safety.toml"
    rules.write_text(RULE.replace("reason", "resaon"))
    settings = msgspec.structs.replace(load(GOOD, tmp_path), rules_file=rules)
    with pytest.raises(ConfigError, match=r"safety.toml:\d: rule.resaon"):
        judge_of(settings)
