# SPDX-License-Identifier: MIT
"""Every bound of the safety stage: its name, its unit and the reason for its size."""

MAX_BYTES = 64 * 1024
"""Longest command in UTF-8 bytes; Matrix events end at 64 KiB as well."""

MAX_DEPTH = 40
"""Deepest nesting of grammar and nested programs; keeps Python far from its recursion limit."""

MAX_PROGRAMS = 12
"""How many programs inside programs (`sh -c "sh -c …"`) are followed."""

MAX_TOKENS = 2_000
"""Words, quoted pieces and expansions that are parsed; about 20 ms on a slow machine."""

MAX_STEPS = 1_500
"""Nodes and commands that are walked, across all nested programs; about 20 ms."""

MAX_SCANNED = 100_000
"""Characters looked at again to find a matching bracket; stops quadratic input."""

MAX_COMPUTED = 16 * 1024
"""Characters of one computed value (a variable, the output of `printf`)."""

MAX_COMPUTED_TOTAL = 128 * 1024
"""Characters of all computed values together; stops values that double."""

MAX_OUTPUT_TOTAL = 512 * 1024
"""Characters that all commands together print, as far as they are known; one may print 64 KiB."""

MAX_BRACES = 40
"""Opening braces in one word that are still expanded."""

MAX_BRACKETS = 256
"""Active opening brackets in one word; each of them may have to look for its end."""

MAX_ALTERNATIVES = 256
"""Words that one brace expansion may become; of a range of numbers only the ends beyond that."""

WORD_COST = 32
"""Characters of a computed value that every word of a brace expansion counts as."""

MAX_LOOP_VALUES = 24
"""Values of a `for` loop that are walked one by one."""

MAX_CODE = 6 * 1024
"""Characters of an inline program in another language that are examined."""

LEAST_CODE = 512
"""Characters that an inline program counts as at least, however short: each is examined anew."""

MAX_RANGE = 10_000_000
"""Words that a range in braces may make: more fill the memory."""

MAX_SEARCHED = 4 * 1024
"""Characters that a regular expression of a rule sees at once; pieces overlap by half of it."""

MAX_SQL = 16 * 1024
"""Characters of SQL that are looked at closely; more counts as what its words may mean."""
