# SPDX-License-Identifier: MIT
"""Inline Python: what its names and arguments stand for."""

import shlex

import pytest

from tibet_nc_agent.safety import Decision, judge

ALLOW, ASK, DENY = Decision.ALLOW, Decision.NEEDS_APPROVAL, Decision.DENY


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import subprocess as s; s.run(args=['reboot'])", DENY),
        ("import subprocess as s; s.run(args='reboot', shell=True)", DENY),
        ("import subprocess as s; c = ['rm', '-rf', '/']; s.run(c)", DENY),
        ("import os; os.system(command='reboot')", DENY),
        ("import shutil; shutil.rmtree(path='/')", DENY),
        ("open(file='/etc/passwd', mode='w')", DENY),
        ("import shutil; p = '/'; shutil.rmtree(p); p = '/tmp/x'", DENY),
        ("import shutil; p = '/tmp/x'; p = '/'; shutil.rmtree(p)", DENY),
        ("import os; c = 're'; c += 'boot'; os.system(c)", DENY),
        ("import subprocess as s; c = ['ls', '/']; s.run(c, check=True)", ALLOW),
        ("import shutil; p = '/tmp/x'; shutil.rmtree(p); p = '/tmp/y'", ALLOW),
        ("n = 1; n += 2; print(n)", ALLOW),
        ("import os; s = os.system; s('reboot')", DENY),
        ("import shutil; r = shutil.rmtree; r('/etc')", DENY),
        ("import subprocess as s; c = ['rm']; c += ['-rf', '/']; s.run(c)", DENY),
        ("import subprocess as s; s.run(' '.join(['rm', '-rf', '/']), shell=True)", DENY),
        ("import os; os.system('rm -rf %s' % '/')", DENY),
        ("import os; os.system('rm -rf {}'.format('/'))", DENY),
        ("import os; os.system('ls {} {}'.format('/', x))", ALLOW),
    ],
)
def test_names_and_arguments_by_name_are_followed(code: str, expected: Decision) -> None:
    """A list behind a name, an argument by its name and each value of a name are judged."""
    assert judge(f"python3 -c {shlex.quote(code)}").decision is expected


@pytest.mark.parametrize(
    "code",
    [
        "import os; list(map(os.system, ['reboot']))",
        "import os; os.__dict__['system']('reboot')",
        "import os; f = lambda c: os.system(c); f('reboot')",
        "import subprocess as s, shlex; s.run(shlex.split('rm -rf /'))",
        "import subprocess as s; [s.run(c) for c in (['ls'], ['rm', '-rf', '/'])]",
        "import shutil; [shutil.rmtree(d) for d in ('/etc',)]",
    ],
)
def test_what_a_program_may_run_or_delete_needs_an_approval(code: str) -> None:
    """A command or a path in a program that runs or deletes what it computes is never allowed."""
    assert judge(f"python3 -c {shlex.quote(code)}").decision in (ASK, DENY)


@pytest.mark.parametrize(
    "code",
    [
        "import platform; s = platform.system(); print('reboot' if s else '')",
        "import subprocess as s; print(s.run(['systemctl', 'status', 'reboot.target']))",
        "import subprocess; f = subprocess.run; print(f(['uptime']))",
        "import json, sys; print(json.load(sys.stdin)['system'])",
        "d = {'exec': 'reboot'}; print(d)",
    ],
)
def test_what_harms_nothing_runs(code: str) -> None:
    """A program that only mentions a command, or runs a harmless one, is allowed."""
    assert judge(f"python3 -c {shlex.quote(code)}").decision is ALLOW


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import shutil; shutil.copytree('/srv/x', '/etc/passwd')", DENY),
        ("import shutil; shutil.copy('/srv/x', '/etc/passwd')", DENY),
        ("import os; os.rmdir('/etc')", ASK),
        ("import os; os.unlink('/etc/passwd')", DENY),
        ("import os; os.truncate('/etc/passwd', 0)", DENY),
        ("import os; os.rename('/etc', '/srv/etc')", DENY),
        ("import os; os.rename('a', 'b')", ALLOW),
        ("import shutil; shutil.move('/etc/passwd', '/srv')", DENY),
        ("import pty; pty.spawn('reboot')", DENY),
        ("open('/etc/passwd', 'w')", DENY),
        ("open('/etc/passwd', mode='a')", DENY),
        ("open('/etc/passwd')", ALLOW),
        ("open('/var/log/syslog', 'a')", ALLOW),
        ("open('/var/log/syslog', 'w')", DENY),
        ("import os; os.open('/etc/passwd', os.O_WRONLY)", DENY),
        ("import os; os.open('/etc/passwd', os.O_RDONLY)", ALLOW),
        ("from pathlib import Path; Path('/etc/passwd').write_text('x')", DENY),
        ("from pathlib import Path; Path('/etc/passwd').touch()", DENY),
        ("from pathlib import Path; Path('/etc/passwd').read_text()", ALLOW),
        ("from pathlib import Path; Path('/etc/passwd').unlink()", DENY),
        ("import os; os.execv('/sbin/reboot', ['reboot'])", DENY),
        ("import os; os.execlp('reboot', 'reboot')", DENY),
        ("import os; os.execvp('x', ['reboot'])", DENY),
        ("import os; os.posix_spawn('/sbin/reboot', ['reboot'], {})", DENY),
        ("import os; os.kill(-1, 9)", DENY),
        ("import os; os.kill(1, 9)", DENY),
        ("import os; os.kill(1234, 9)", ALLOW),
        ("import marshal; exec(marshal.loads(b'x'))", DENY),
        ("import json; json.loads('reboot')", ALLOW),
        ("import glob, os; [os.remove(p) for p in glob.glob('/etc/*')]", DENY),
        ("import os; [os.remove(p) for p in os.listdir('/etc')]", DENY),
        ("import glob, os; [os.remove(p) for p in glob.glob('/*')]", DENY),
        ("import os; p = os.path.expanduser('~/x'); os.remove(p)", ALLOW),
        ("import shutil, os; shutil.rmtree(os.path.expanduser('~'))", DENY),
        ("import shutil, os; shutil.rmtree(os.path.expanduser('~somebody'))", DENY),
        ("import shutil, os; shutil.rmtree(os.path.expanduser('~root/'))", DENY),
        ("import shutil; shutil.rmtree(f'/etc/{x}')", ASK),
        ("import shutil; shutil.rmtree('/tmp/' + x)", ASK),
        ("a, b = 'x', 'y'; print(a)", ALLOW),
        ("a = b = 'reboot'; import os; os.system(a)", ASK),
    ],
)
def test_what_a_call_does(code: str, expected: Decision) -> None:
    """Each kind of call that runs, deletes, moves or writes, beside what only looks like it."""
    assert judge(f"python3 -c {shlex.quote(code)}").decision is expected


def test_what_is_fed_to_exec_is_judged() -> None:
    """A program that runs its input is judged by what the line feeds it."""
    feed = "echo \"import os; os.system('{}')\" | python3 -c 'exec(input())'"
    assert judge(feed.format("reboot")).decision is DENY
    assert judge(feed.format("uptime")).decision is ALLOW
