# SPDX-License-Identifier: MIT
"""Modules that Python runs by name: those that run what they are given, and those just written."""

from tibet_nc_agent.safety.call import Call
from tibet_nc_agent.safety.commands.modules import written
from tibet_nc_agent.safety.commands.shells import run_script
from tibet_nc_agent.safety.values import Field, Stream, through

# `python -m NAME …` is `NAME …`.
_PROGRAMS = {"IPython": "ipython"}
# Without a script they read their program from the input, as `python` does.
_PROMPTS = frozenset(["asyncio", "bpython", "code", "idlelib", "ptpython"])
_RUN_A_SCRIPT = frozenset(["cProfile", "coverage", "pdb", "profile", "runpy", "trace"])
_TIMERS = frozenset(["pyperf", "timeit"])
# Their options with a value, which is no operand.
_VALUES = frozenset(
    [
        *(
            "-C",
            "-c",
            "-d",
            "-f",
            "-n",
            "-o",
            "-r",
            "-s",
            "-u",
            "--command",
            "--coverdir",
            "--file",
        ),
        *("--number", "--outfile", "--repeat", "--setup", "--sort", "--unit"),
    ]
)
_CODE = ("-c", "--command", "-s", "--setup")
_SUBCOMMANDS = frozenset(["run", "timeit"])  # of coverage and pyperf


def run_module(call: Call, arguments: list[Field]) -> Stream:
    """Judge `python -m` with these arguments, of which the first is the name of the module."""
    name, given = arguments[0].plain, arguments[1:]
    python = call.fields[0].with_text("python3")
    if name in _PROGRAMS:
        program = call.fields[0].with_text(_PROGRAMS[name])
        return call.walk.run([program, *given], call.state.copy(), call.stdin)
    if name in _PROMPTS:
        return call.walk.run([python, *given], call.state.copy(), call.stdin)
    if name in _TIMERS or name in _RUN_A_SCRIPT:
        codes, operands = _split(given)
        if name in _TIMERS:
            codes += operands
            operands = []
        for code in codes:
            inline = [python, python.with_text("-c"), code.with_text(code.text.lstrip("!"))]
            call.walk.run(inline, call.state.copy(), call.stdin)
        if operands:
            call.walk.run([python, *operands], call.state.copy(), call.stdin)
        return through(call.stdin)
    path = name.replace(".", "/")
    elsewhere = written([name], "python", call.walk.rules.languages, call.state)
    for file in dict.fromkeys([f"{path}.py", f"{path}/__main__.py", *elsewhere]):
        run_script(call, arguments[0].with_text(file), given, "python")
    return through(call.stdin)


def _split(given: list[Field]) -> tuple[list[Field], list[Field]]:
    """Return the code in the options, and what stands from the first operand on."""
    codes = list[Field]()
    words = iter(enumerate(given))
    for index, field in words:
        word = field.plain
        if word in ("-m", "--module"):
            return codes, given[index:]
        if word in _VALUES:
            _, value = next(words, (index, None))
            if word in _CODE and value is not None:
                codes.append(value)
        elif word.startswith(("--setup=", "--command=")):
            codes.append(field.with_text(field.text.partition("=")[2]))
        elif not word.startswith("-") and word not in _SUBCOMMANDS:
            return codes, given[index:]
    return codes, []
