# SPDX-License-Identifier: MIT
"""What `find` chooses is judged alike, whichever way it reaches what deletes it."""

import pytest

from tibet_nc_agent.safety import Decision, judge

ALLOW, ASK, DENY = Decision.ALLOW, Decision.NEEDS_APPROVAL, Decision.DENY
WAYS = (
    "find {} -exec rm {{}} +",
    "find {} -exec rm -f {{}} \\;",
    "find {} -delete",
    "find {} -print0 | xargs -0 rm",
    "find {} | xargs -n 1 rm -f",
    "find {} | sort | xargs -I % rm %",
    "find {} | parallel rm",
    "rm $(find {})",
    "for f in $(find {}); do rm $f; done",
    'find {} | while read -r f; do rm "$f"; done',
)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ("/", DENY),
        ("/ -user root", ASK),
        ("/ -type f -perm /u+r", ASK),
        ("/ -name '*.core'", ASK),
        ("/usr -name core", ASK),
        ("/etc ! -name passwd", ASK),
        ("/home", DENY),
        ("/home -size +0", ASK),
        ("/home ! -name core", ASK),
        ("/home -name core -size +1M", ALLOW),
        ("/home/operator -mtime +90", ALLOW),
        ("/tmp/build -name '*.o'", ALLOW),
        ("/srv/data -mtime +90", ALLOW),
    ],
)
def test_the_way_to_what_deletes_makes_no_difference(
    way: str, chosen: str, expected: Decision
) -> None:
    """Files that are found below a directory are as dangerous to delete through each way."""
    assert judge(way.format(chosen)).decision is expected


@pytest.mark.parametrize(
    "line",
    [
        "find . ! -name . -prune -name '*.old' -exec mv {} ../old/ \\;",
        "find / -perm 777 -print0 | xargs -0 chmod 755",
        "find / -name '*.log' | xargs grep -l error",
    ],
)
def test_what_deletes_nothing_is_allowed(line: str) -> None:
    """A name of no file (`.`) is none, and what only changes modes or reads is no removal."""
    assert judge(line).decision is ALLOW
