# SPDX-License-Identifier: MIT
"""What an auditor reads on the host: the journal with its fields and catalog, and the chain."""

import json

from tests.system.site import Site
from tibet_nc_protocol.journal_ids import MESSAGE_IDS


async def test_fields_filter(site: Site) -> None:
    """The journal finds a command's records by identifier, kind, sender, event, run, as JSON."""
    (answer,) = await site.ask("$ echo journal-marker")
    site.machine.run("journalctl", "--sync")
    run = [json.loads(line) for line in site.machine.run(
        "journalctl", "-t", "tibet-nc-executor", "-o", "json", "--no-pager",
        f"TIBET_NC_SENDER={site.person.user_id}", "TIBET_NC_KIND=intent",
    ).stdout.splitlines()]  # fmt: skip
    newest = run[-1]
    for field, numbers in (("EVENT", ["number"]), ("RUN", ["number", "outcome"])):
        shown = site.machine.run(
            "journalctl", "-o", "json", "--no-pager",
            f"TIBET_NC_{field}={newest[f'TIBET_NC_{field}']}",
        ).stdout.splitlines()  # fmt: skip
        found = [int(json.loads(line)["TIBET_NC_SEQ"]) for line in shown]
        assert found == [answer.result[number] for number in numbers]
    assert newest["TIBET_NC_EVENT"] == answer.result["event_id"]
    assert newest["MESSAGE_ID"] == MESSAGE_IDS["intent"]
    assert int(newest["TIBET_NC_SEQ"]) == answer.result["number"]
    uid = site.machine.run("id", "-u", "tibet-nc-executor").stdout.strip()
    assert newest["_UID"] == uid
    assert "journal-marker" not in json.dumps(newest)


async def test_catalog_explains(site: Site) -> None:
    """With -x the journal explains a record, with the sender in the text."""
    await site.ask("$ true")
    site.machine.run("journalctl", "--sync")
    text = site.machine.sh("journalctl -t tibet-nc-executor -x --no-pager TIBET_NC_KIND=intent")
    assert f"Subject: tibet-nc runs a command for {site.person.user_id}" in text
    assert "The record was on the disk before the command started." in text


FEW = "[Journal]\nRateLimitIntervalSec=1h\nRateLimitBurst=1\n"
"""A journal that takes a unit's first entries only; how many, the room on the disk decides."""


async def test_no_record_is_dropped(site: Site) -> None:
    """The journal keeps every record of a burst, also where it takes few of other units.

    It has the same numbers as the chain.
    """
    machine, settings = site.machine, "/run/systemd/journald.conf.d/few.conf"
    machine.write(settings, FEW)
    machine.run("systemctl", "restart", "systemd-journald")
    try:
        await site.ask(*["$ true"] * 10)
        machine.run("journalctl", "--sync")
        machine.run(
            *("systemd-run", "--quiet", "--wait", "--property=SyslogIdentifier=talker"),
            *("bash", "-c", "for i in {1..50}; do echo much; done"),
        )
        machine.run("journalctl", "--sync")
        others = machine.sh("journalctl -t talker -o cat --no-pager").splitlines()
    finally:
        machine.run("rm", settings)
        machine.run("systemctl", "restart", "systemd-journald")
    uid = machine.run("id", "-u", "tibet-nc-executor").stdout.strip()
    entries = machine.sh(
        f"journalctl _UID={uid} -t tibet-nc-executor -o json --no-pager"
    ).splitlines()
    numbers = [
        int(entry["TIBET_NC_SEQ"])
        for line in entries
        if "TIBET_NC_SEQ" in (entry := json.loads(line))
    ]
    lines = machine.sh("cat /var/lib/tibet-nc/chain/*.jsonl").splitlines()
    assert len(others) < 50
    assert numbers == list(range(len(lines)))


async def test_auditor_verifies(site: Site) -> None:
    """I8: tibet-nc-audit, as installed, verifies the chain with the executor's public key."""
    await site.ask("$ echo audited")
    said = site.machine.sh("tibet-nc-audit verify --key $(cat /etc/tibet-nc/executor.pub)")
    assert "records" in said


async def test_no_secret_is_logged(site: Site) -> None:
    """I10: neither the journal nor any readable file or command line holds a secret of Matrix."""
    await site.ask("$ env; cat /proc/self/environ")
    machine = site.machine
    machine.run("journalctl", "--sync")
    login = json.loads(machine.sh("cat /var/lib/tibet-nc-agent/matrix/login.json"))
    secrets = [login["access_token"], site.bot.password]
    machine.write("/run/token", "".join(f"{secret}\n" for secret in secrets), 0o600)
    assert machine.sh("journalctl -o export --no-pager | grep -aFf /run/token", check=False) == ""
    assert machine.sh("cat /proc/*/cmdline 2>/dev/null | grep -aFf /run/token", check=False) == ""
    found = machine.sh(
        "grep -rlaFf /run/token /etc /opt/tibet-nc /usr/local /var/lib/tibet-nc"
        " /var/lib/tibet-nc-shell /var/log /run/systemd/transient",
        check=False,
    )
    assert found.replace("grep: /run/systemd/transient: No such file or directory\n", "") == ""
