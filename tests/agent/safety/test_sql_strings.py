# SPDX-License-Identifier: MIT
"""What stands in a string of SQL is data; what stands beside it is a statement."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tibet_nc_agent.safety import Decision, judge
from tibet_nc_agent.safety.sql import without_strings

DROP = "drop table t"
LETTERS = st.text("ab ,()*=\n'\"`\\$#;-/", max_size=6)


def _string(content: str) -> str:
    return "'" + content.replace("'", "''") + "'"


def _identifier(content: str) -> str:
    return '"' + content.replace('"', '""') + '"'


PLAIN = st.text("ab ,()*=\n;", max_size=6)
PIECES = st.one_of(PLAIN, LETTERS.map(_string), LETTERS.map(_identifier))


@given(st.lists(PIECES, max_size=8), st.lists(PIECES, max_size=8))
def test_a_statement_beside_strings_stays(before: list[str], after: list[str]) -> None:
    """Whatever strings and quoted names stand around a statement, it is still there."""
    text = " ".join([*before, DROP, *after])
    assert DROP in without_strings(text)


@given(st.lists(PLAIN, max_size=4), st.lists(PLAIN, max_size=4))
def test_what_a_string_says_is_left_out(before: list[str], after: list[str]) -> None:
    """A statement in a string is none."""
    text = " ".join([*before, _string(f"it's {DROP}"), *after])
    assert DROP not in without_strings(text)


@pytest.mark.parametrize(
    "text",
    [
        "select 1 -- it's\n; drop table t; -- '",
        "select 1 # it's\n; drop table t; # '",
        "select 1 /* ' */; drop table t /* ' */",
        r"select 'a\'; drop table t; -- '",
        "select $$'$$; drop table t; select $$'$$",
        "select $q$'$q$; drop table t; select $q$'$q$",
        'select "it\'s"; drop table t; select "it\'s"',
        "select `it's`; drop table t; select `it's`",
        "select 'a'; drop table t; select 'b",
        "execute 'drop table t'",
        "do 'begin drop table t; end'",
        "select dblink_exec('drop table t')",
        "exec sp_executesql N'drop table t'",
        "prepare x from 'drop table t'",
        "select format('drop table t')\\gexec",
        "create function f() returns void as 'drop table t' language sql",
    ],
)
def test_a_statement_that_may_run_is_seen(text: str) -> None:
    """Comments, escapes and other quotes don't hide a statement; nor does a string that is run."""
    assert DROP in without_strings(text)
    quoted = "'" + text.replace("'", "'\\''") + "'"
    assert judge(f"psql -c {quoted}").decision is not Decision.ALLOW
    assert judge(f"psql <<'E'\n{text}\nE").decision is not Decision.ALLOW


def test_arguments_are_told_apart() -> None:
    """A quote that one argument leaves open doesn't reach into the next."""
    judged = judge("psql -c \"select 'a\" -c 'drop table t' -c \"select b'\"")
    assert judged.decision is Decision.NEEDS_APPROVAL


def test_a_long_text_is_what_its_words_may_mean() -> None:
    """Beyond what is looked at closely, a word that may destroy something is enough."""
    row = "('x', 1), "
    harmless = f"insert into t values {row * 2_000}('y', 2)"
    assert judge(f'psql -c "{harmless}"').decision is Decision.ALLOW
    assert judge(f'psql -c "{harmless}; drop table t"').decision is not Decision.ALLOW
    assert judge(f"psql -c \"{harmless}; select 'drop table t'\"").decision is not Decision.ALLOW


@pytest.mark.parametrize(
    "line",
    [
        "echo 'select * from t where a = \"drop database\"' | mysql",
        "psql <<E\n\\timing\nselect 1 from t where m like '%drop table%';\n\\x\nE",
    ],
)
def test_other_quotes_and_commands_of_the_client_hide_no_data(line: str) -> None:
    r"""Text in double quotes is no statement either; `\x` of psql says nothing about strings."""
    assert judge(line).decision is Decision.ALLOW


@pytest.mark.parametrize(
    "line",
    [
        "mysql -e 'drop table \"my table\"'",
        "mysql -e 'delete from \"my table\"'",
        "psql -c 'select \"a b\"; drop database x'",
        "psql <<E\n\\x\ndrop table t;\nE",
        "psql <<E\n\\x \\\\ drop table t;\nE",
        "psql <<E\nselect 'a\n\\x\n'; drop table t; --'\nE",
    ],
)
def test_a_statement_beside_other_quotes_is_one(line: str) -> None:
    """A name in double quotes with blanks is still a name, and what follows is judged."""
    assert judge(line).decision is not Decision.ALLOW
