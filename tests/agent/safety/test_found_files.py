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


TESTS = (
    "-regex .*x",
    "-iregex .*x",
    "-mtime +1",
    "-mmin +1",
    "-atime +1",
    "-amin +1",
    "-ctime +1",
    "-cmin +1",
    "-newer x",
    "-newermt yesterday",
    "-anewer x",
    "-cnewer x",
    "-size +1",
    "-user x",
    "-group x",
    "-uid 1",
    "-gid 1",
    "-perm 777",
    "-empty",
    "-lname x",
    "-ilname x",
    "-nouser",
    "-nogroup",
    "-links +1",
    "-used +1",
    "-readable",
    "-writable",
    "-executable",
    "-xtype l",
)
NAMES = ("-name", "-iname", "-path", "-ipath", "-wholename", "-iwholename")


@pytest.mark.parametrize("test", TESTS)
def test_each_test_chooses(test: str) -> None:
    """With any test of `find` not everything is deleted; it may be nearly everything, though."""
    assert judge(f"find /home {test} -delete").decision is ASK
    assert judge(f"find /home/operator {test} -delete").decision is ALLOW


@pytest.mark.parametrize("test", [*(f"{name} x.tmp" for name in NAMES), "-inum 5", "-samefile x"])
def test_a_name_is_choice_enough_in_homes(test: str) -> None:
    """What is named may be deleted in homes, and below the system's directories on approval."""
    assert judge(f"find /home {test} -delete").decision is ALLOW
    assert judge(f"find /usr {test} -delete").decision is ASK


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("pattern", ["*", "*.*", ".*", "/*", "*/*", "?*", "./*"])
def test_a_name_that_fits_all_is_none(name: str, pattern: str) -> None:
    """A pattern that every file fits chooses nothing."""
    assert judge(f"find /home {name} '{pattern}' -delete").decision is DENY


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("find -H / -delete", DENY),
        ("find -L / -delete", DENY),
        ("find -P / -delete", DENY),
        ("find -O3 / -delete", DENY),
        ("find -D exec / -delete", DENY),
        ("find /srv /etc -delete", DENY),
        ("find / -exec chmod 777 {} +", DENY),
        ("find /home/operator -exec chmod 777 {} +", ASK),
        ("find /home/operator -name x -exec chmod 777 {} +", ALLOW),
        ("find /etc/app -user x -exec chown y {} +", ASK),
        ("find / -exec mv {} /srv ';'", DENY),
        ("find / -exec sed -i s/a/b/ {} +", DENY),
        ("find / -exec gzip {} +", DENY),
        ("find / -exec env gzip {} +", DENY),
        ("find / -exec sh -c 'rm \"$1\"' x {} ';'", DENY),
        ("find / -size +1 -exec gzip {} +", ALLOW),
        ("find / -exec chmod 755 /srv/x ';'", ALLOW),
        ("find . -fprint /etc/passwd", DENY),
        ("find . -fprint0 /etc/passwd", DENY),
        ("find . -fprintf /etc/passwd %p", DENY),
        ("find . -fls /etc/passwd", DENY),
        ("find . -fprint /srv/list", ALLOW),
        ("find /tmp -delete", ALLOW),
        ("find /srv -delete", ASK),
        ("find /dev -name sda -exec dd if=/dev/zero of={} ';'", DENY),
        ("fd . / -x rm", DENY),
        ("fd core /home --exec rm", ALLOW),
        ("fd . /srv -x rm", ASK),
        ("find / -exec /bin/mv {} /srv ';'", DENY),
        ("find / -exec nice -n 5 /usr/bin/gzip {} +", DENY),
        ("ls -d /etc/* | xargs rm -r", DENY),
        ("ls /etc | xargs rm -r", DENY),
        ("ps aux | awk '{print $2}' | xargs kill", ASK),
        ("ps aux | awk '/worker/ {print $2}' | xargs kill", ALLOW),
        ("ps aux | awk '$3 > 90 {print $2}' | xargs kill", ALLOW),
    ],
)
def test_what_is_done_to_what_is_found(line: str, expected: Decision) -> None:
    """Options before the roots, several roots, each kind of change and each way to write."""
    assert judge(line).decision is expected
