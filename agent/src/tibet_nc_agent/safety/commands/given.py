# SPDX-License-Identifier: MIT
"""What a program is told to run: by an option, inside a text of its own language, behind `--`.

The tables of the rules name what each program takes for a command. Beyond them, an option whose
name says that its value is a command is believed, whatever the program; and of a program that no
table knows, the words behind an option like `-e`. As nobody knows what that one does with them,
they need an approval at most.
"""

import re
from collections.abc import Callable, Iterator

from tibet_nc_agent.safety.call import Call
from tibet_nc_agent.safety.commands.quoting import quoted
from tibet_nc_agent.safety.paths import known_as, made
from tibet_nc_agent.safety.policy import Policy
from tibet_nc_agent.safety.redirections import remember
from tibet_nc_agent.safety.state import Context
from tibet_nc_agent.safety.values import Field, through
from tibet_nc_agent.safety.verdict import Family
from tibet_nc_agent.safety.writes import judge_write

_OUTPUT_OPTIONS = frozenset(["-o", "-O", "-of", "-out", "--out", "--output", "--output-file"])
_OUTPUT = re.compile(r"--out(?:put|file)?(?:-file|-document)?=/")
_NAMED = re.compile(
    r"--(?:on-[a-z-]+|exec-[a-z-]+|run|(?:[a-z]+-)*(?:exec|execute|command|cmd|script|hook"
    r"|program|pager|editor|shell|rsh|ssh|spawn))"
)
_EXECUTES = frozenset(["exec", "execute", "lock", "watch"])  # `etcdctl lock name command`
_GIVES = re.compile(r"-[exc]|-exec|--|run|launch|spawn")
_CALL = re.compile(
    r"\b(?:system|shell|exec\w{0,9}|popen\w?|spawn\w{0,9}|Process\.Start|Command::new|run)\s{0,9}[\s(]\s{0,9}"
    r"([\"\x27])([^\"\x27]{1,999})\1|[\"\x27]([^\"\x27]{1,999})[\"\x27]\.!|`([^`]{1,999})`"
)
_OPTION_NAME = re.compile(r"^-{1,2}[\w-]*=")
_CODE = re.compile(r"-[a-z]*c")


def judge_given(call: Call, policy: Policy) -> None:
    """Judge the commands in the arguments and the input of a program, as far as the tables say."""
    inside = Context.CONTAINER if call.name in policy.containers else call.state.context
    for given in policy.program_options.get(call.name, ()):
        for value in call.given_to(*given.options):
            _judge_text(call, "sh", value.text, inside)
    for entry in policy.program_texts.get(call.name, ()):
        for text in matches(call, entry.text):
            _judge_text(call, entry.language, text, inside)


def judge_outputs(call: Call, policy: Policy) -> None:
    """Judge the files that a program is told to write."""
    written: list[Field] = []
    for index, word in enumerate(call.words):
        if word in _OUTPUT_OPTIONS:
            written += (f for f in call.arguments[index + 1 : index + 2] if f.text[:1] == "/")
        elif word.startswith("--o") and _OUTPUT.match(word):
            field = call.arguments[index]
            written.append(field.with_text(field.text.partition("=")[2]))
    for entry in policy.outputs.get(call.name, ()):
        named = call.given_to(*entry.options)
        named += call.operands[entry.operand - 1 : entry.operand] if entry.operand else []
        named += (call.fields[0].with_text(path) for path in matches(call, entry.text))
        for target in named:
            file = known_as(target.text, call.state)
            remember(call.state, file, through(call.stdin), append=True)
        written += named
    for target in written:
        judge_write(call.walk, target, call.state, call.span, f"{call.name} writes to")


def matches(call: Call, expressions: tuple[str | re.Pattern[str], ...]) -> Iterator[str]:
    """Yield what is found in the arguments, the input, and files that the same line has written."""
    if not expressions:
        return
    streams = [call.stdin, *(field.stream for field in call.arguments)]
    names = (_OPTION_NAME.sub("", word) for word in (call.words if call.state.files else ()))
    texts = [
        *call.words,
        *(stream.known for stream in streams if stream is not None),
        *(call.state.files.get(made(name, call.state)) for name in names),
    ]
    for text in dict.fromkeys(text for text in texts if text is not None):
        for expression in expressions:
            for found in re.finditer(expression, text):
                yield found[found.lastindex or 0]


def _judge_text(call: Call, language: str, text: str, context: Context) -> None:
    state = call.state.copy()
    state.context = context
    if language == "sh":
        call.walk.program(text, state, call.span, call.stdin, lax=True)
    else:
        call.walk.code(language, text, state, call.span, None)


def judge_named(call: Call) -> None:
    """Judge the value of each option whose name says that it is a command."""
    for index, word in enumerate(call.words):
        name, equals, _ = word.partition("=")
        if word.startswith("--") and _NAMED.fullmatch(name):
            at = index if equals else index + 1
            for field in call.arguments[at : at + 1]:
                text = field.text.partition("=")[2] if equals else field.text
                call.walk.program(text, call.state.mentioned(), call.span, lax=True)


def program_files(call: Call, *options: str) -> list[Field]:
    """Return as fields the texts of the programs in files that options name (`awk -f`, `sed -f`).

    Only what the same line has written is known; what it has fetched or decoded is refused.
    """
    given = call.given_to(*options)
    files = [made(field.plain, call.state) for field in given]
    if any(field.downloaded for field in given) or call.state.downloaded.intersection(files):
        call.deny(Family.PIPE_TO_SHELL, f"{call.name} runs a download")
    if any(field.decoded for field in given) or call.state.decoded.intersection(files):
        call.deny(Family.ENCODED, f"{call.name} runs decoded data")
    known = [call.state.files.get(file) for file in files]
    known += [field.stream.known for field in given if field.stream is not None]
    return [Field(text, *call.span, quoted=True) for text in known if text is not None]


def judge_told(call: Call, policy: Policy, begins: Callable[[str], bool]) -> None:
    """Judge what a program that isn't known may be told to run; `begins` knows other programs."""
    words = call.words
    executes = False
    for text in matches(call, (_CALL,)):
        call.walk.program(text, call.state.mentioned(), call.span, lax=True)
    for index, word in enumerate(words):
        name = word.rpartition("/")[2]
        option = "".join(words[index + 1 : index + 2])
        starts_shell = name in policy.shells and _CODE.fullmatch(option)
        before = words[index - 1] if index else ""
        executes = executes or before in _EXECUTES  # perhaps in something that is named
        if not starts_shell and not executes and not _GIVES.fullmatch(before):
            continue
        if " " in word:
            call.walk.program(
                call.arguments[index].text, call.state.mentioned(), call.span, lax=True
            )
        elif begins(name):
            text = " ".join(quoted(field.text) for field in call.arguments[index:])
            call.walk.program(text, call.state.mentioned(), call.span, lax=True)
            break
