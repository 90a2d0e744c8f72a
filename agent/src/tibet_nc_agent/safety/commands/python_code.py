# SPDX-License-Identifier: MIT
"""Inline Python, read as a syntax tree."""

import ast
import re
import warnings
from collections.abc import Iterator

from tibet_nc_agent.safety.commands.foreign import Foreign, lines_of
from tibet_nc_agent.safety.commands.python_text import Known, aliases_of, constants_of, text_of
from tibet_nc_agent.safety.marks import UNKNOWN
from tibet_nc_agent.safety.verdict import Family

_SHELL_CALLS = frozenset(
    [
        "system",
        "popen",
        "run",
        "call",
        "Popen",
        "check_call",
        "check_output",
        "getoutput",
        "getstatusoutput",
        "spawn",
        "create_subprocess_shell",
        "create_subprocess_exec",
    ]
)
_ALWAYS_SHELL = frozenset(["system", "popen", "getoutput", "getstatusoutput"])
_REMOVES = frozenset(["remove", "unlink", "truncate", "rmdir", "removedirs"])
_MOVES = frozenset(["rename", "renames", "move"])
_COPIES = frozenset(["copy", "copy2", "copyfile", "copytree", "link", "symlink"])
_CHANGES = frozenset(["chmod", "chown", "lchmod", "lchown"])
_OPENS_TO_WRITE = re.compile(r"\bO_(?:WRONLY|RDWR|TRUNC|APPEND|CREAT)\b")
_FIRST = frozenset(["args", "command", "cmd", "path", "file"])  # by name, the first argument
_LOADS = frozenset(
    [
        "__import__",
        "import_module",
        "run_module",
        "run_path",
        "SourceFileLoader",
        "spec_from_file_location",
    ]
)
_LISTS = frozenset(["listdir", "scandir", "walk", "fwalk", "glob", "iglob", "rglob", "iterdir"])
_NETWORK = ("urlopen", "requests", "urllib", "http", "httpx", "socket", "recv")
_DECODING = (
    "b64decode",
    "fromhex",
    "decompress",
    "unhexlify",
    "a85decode",
    "decode(",
    "marshal",
    "chr(",
)
_INPUT = ("stdin", "input(")


def judge_python(text: str, program: Foreign) -> bool:
    """Judge inline Python; False if it does not parse (and so does not run as Python 3)."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text)
            calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
            aliases = aliases_of(tree)
            program.load("python", _imported(tree))
            first, last = (constants_of(tree, program.state, last=which) for which in (False, True))
            for known in (first,) if first == last else (first, last):
                reader = _PythonReader(program, known, aliases)
                for call in calls:
                    reader.judge(call)
                reader.judge_rest(tree)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def _imported(tree: ast.Module) -> Iterator[str]:
    """Yield the names of the modules that a program loads."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=str(name), names=names):
                yield name
                yield from (f"{name}.{alias.name}" for alias in names)
            case ast.Call(func=ast.Name(id=called) | ast.Attribute(attr=called), args=given):
                if called in _LOADS:
                    yield from (str(each.value) for each in given if isinstance(each, ast.Constant))
            case _:
                pass


def _names_a_shell_call(node: ast.AST) -> bool:
    match node:
        case ast.Attribute(attr="system", value=ast.Name(id="platform")):
            return False
        case ast.Attribute(attr=name) | ast.Name(id=name) | ast.Constant(value=str(name)):
            return name in _SHELL_CALLS
        case _:
            return False


def everything_in(pattern: str) -> str:
    """Return the directory if a pattern names all that is in it, else the pattern."""
    directory = pattern.rstrip("*/")
    return (directory or "/") if directory != pattern else pattern


class _PythonReader:
    """Judges the calls of one inline program."""

    def __init__(self, program: Foreign, known: Known, aliases: dict[str, str]) -> None:
        self._program = program
        self._known = known
        self._aliases = aliases
        self._listed: list[str] = []
        self._removes_computed = False
        self._judged: set[ast.expr] = set()  # functions that run what is known

    def judge(self, node: ast.Call) -> None:
        """Judge one call by the last part of its name."""
        if not node.args:
            node.args.extend(given.value for given in node.keywords if given.arg in _FIRST)
        name = ""
        if isinstance(node.func, ast.Attribute):
            name = node.func.attr
        elif isinstance(node.func, ast.Name):
            name = self._aliases.get(node.func.id, node.func.id)
        elif isinstance(node.func, ast.Call) and len(node.func.args) > 1:
            name = text_of(node.func.args[1], self._known) or ""  # getattr(os, "system")(…)
        if name in _SHELL_CALLS:
            self._runs(node, name)
        elif name in ("exec", "eval", "loads", "run_code"):
            self._executes(node, name)
        elif name.startswith(("exec", "spawn", "posix_spawn")):
            self._replaces_process(node)
        elif name == "rmtree" or name in _REMOVES:
            self._removes(node, recursive=name == "rmtree")
        elif name in _MOVES and node.args:
            target = text_of(node.args[0], self._known)
            if target is not None and "/" in target:
                self._program.remove(target)
        elif name in _COPIES and len(node.args) > 1:
            target = text_of(node.args[1], self._known)
            if target is not None:
                self._program.write(target)
        elif name in _CHANGES:
            self._changes(node)
        elif name in _LISTS:
            self._lists(node)
        elif name in ("write_text", "write_bytes", "touch") and isinstance(
            node.func, ast.Attribute
        ):
            self._writes_through_path(node.func.value)
        elif name == "open":
            self._opens(node)
        elif name == "kill" and len(node.args) == 2:
            if ast.unparse(node.args[0]) in ("-1", "1"):
                self._program.deny(Family.POWER, "an inline program signals every process")
        elif name == "reboot":
            self._program.deny(Family.POWER, "an inline program reboots")

    def _runs(self, node: ast.Call, name: str) -> None:
        if not node.args:
            return
        first = node.args[0]
        elements = self._known.lists.get(first.id) if isinstance(first, ast.Name) else None
        if isinstance(first, ast.List | ast.Tuple):
            elements = first.elts
        if elements is not None:
            fields = [self._program.field(text_of(element, self._known)) for element in elements]
            if fields:
                self._judged.add(node.func)
                self._program.run(fields)
            return
        text = text_of(first, self._known)
        if text is None and isinstance(first, ast.Call) and isinstance(first.func, ast.Attribute):
            text = text_of(first.func.value, self._known)  # "sudo reboot".split()
        if text is not None:
            self._judged.add(node.func)
            self._program.tell_shell(text, lax=False)
        elif name in _ALWAYS_SHELL:
            reason = "an inline program runs text that is not in the command"
            self._program.ask(Family.OPAQUE, reason)

    def _replaces_process(self, node: ast.Call) -> None:
        """`os.execvp(file, arguments)`: the first argument names the program once more."""
        texts: list[str | None] = []
        for argument in node.args[1:] or node.args:
            elements = argument.elts if isinstance(argument, ast.List | ast.Tuple) else [argument]
            texts.extend(text_of(element, self._known) for element in elements)
        fields = [self._program.field(text) for text in texts if text is not None]
        if fields:
            self._program.run(fields)
        program = text_of(node.args[0], self._known) if node.args else None
        if program is not None and fields and fields[0].text.rpartition("/")[2] != program:
            self._program.run([self._program.field(program), *fields[1:]])

    def _executes(self, node: ast.Call, name: str) -> None:
        if not node.args or (name == "loads" and "marshal" not in ast.unparse(node.func)):
            return
        argument = node.args[0]
        if isinstance(argument, ast.Constant):
            text = text_of(argument, self._known)
            if text is not None and name in ("exec", "eval"):
                self._program.code("python", text)
            return
        source = ast.unparse(argument)
        if any(word in source for word in _NETWORK):
            reason = "an inline program downloads and runs what it got"
            self._program.deny(Family.PIPE_TO_SHELL, reason)
        elif any(word in source for word in _DECODING):
            self._program.deny(Family.ENCODED, "an inline program runs what it decodes")
        elif any(word in source for word in _INPUT) and self._program.stdin is not None:
            self._program.runs_input("python")
        elif name in ("exec", "eval"):
            self._program.ask(Family.OPAQUE, "an inline program runs code that it computes")

    def _removes(self, node: ast.Call, *, recursive: bool) -> None:
        owner = node.func.value if isinstance(node.func, ast.Attribute) else None
        if not node.args and owner is not None:
            target = self._path_text(owner)
        else:
            target = text_of(node.args[0], self._known) if node.args else None
            if target is None and node.args and recursive:
                target = self._path_text(node.args[0]) or UNKNOWN
        if target:
            self._program.remove(target, recursive=recursive)
        else:
            self._removes_computed = True

    def _changes(self, node: ast.Call) -> None:
        """`os.chmod("…", 0)`, or `Path("…").chmod(0)`."""
        owner = node.func.value if isinstance(node.func, ast.Attribute) else None
        path = text_of(node.args[0], self._known) if node.args else None
        if path is None and isinstance(owner, ast.Call):
            path = self._path_text(owner)
        if path:
            self._program.change(path)

    def _lists(self, node: ast.Call) -> None:
        owner = node.func.value if isinstance(node.func, ast.Attribute) else None
        path = self._path_text(owner) if isinstance(owner, ast.Call) else None
        if path is None and node.args:
            path = text_of(node.args[0], self._known)
        if path:
            self._listed.append(everything_in(path))

    def judge_rest(self, tree: ast.Module) -> None:
        """Judge what may be meant where the program runs or deletes what it computes."""
        nodes = list(ast.walk(tree))
        if any(_names_a_shell_call(node) for node in nodes if node not in self._judged):
            self._program.mention(self._mentioned(nodes))
        if self._removes_computed:
            for path in self._listed:
                self._program.remove(path)
            self._program.mention_paths(self._mentioned(nodes))

    def _mentioned(self, nodes: list[ast.AST]) -> Iterator[str]:
        """Yield the constant texts of a program, and the lines that lists of them would make."""
        for node in nodes:
            match node:
                case ast.List(elts=elements) | ast.Tuple(elts=elements):
                    texts = [text_of(element, self._known) for element in elements]
                    yield from lines_of([text for text in texts if text is not None])
                case ast.Constant() | ast.BinOp():
                    yield text_of(node, self._known) or ""
                case _:
                    pass

    def _path_text(self, node: ast.expr) -> str | None:
        """Return the path of `Path("…")`."""
        if isinstance(node, ast.Call) and node.args:
            return text_of(node.args[0], self._known)
        return text_of(node, self._known)

    def _opens(self, node: ast.Call) -> None:
        path = text_of(node.args[0], self._known) if node.args else None
        mode = text_of(node.args[1], self._known) if len(node.args) > 1 else None
        for keyword in node.keywords:
            if keyword.arg == "mode":
                mode = text_of(keyword.value, self._known)
        if path and mode and any(letter in mode for letter in "wa+x"):
            self._program.write(path, append="a" in mode)
        elif path and any(_OPENS_TO_WRITE.search(ast.unparse(given)) for given in node.args[1:]):
            self._program.write(path)

    def _writes_through_path(self, owner: ast.expr) -> None:
        path = self._path_text(owner)
        if path:
            self._program.write(path)
