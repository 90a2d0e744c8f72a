# SPDX-License-Identifier: MIT
"""The abstract state of a shell: what is known of it where the walk is."""

from enum import Enum, auto

from msgspec.structs import replace

from tibet_nc_agent.safety.grammar.nodes import Command
from tibet_nc_agent.safety.marks import UNKNOWN
from tibet_nc_agent.safety.values import Stream, Value, joined

ATTRIBUTES = "Acilnrux"
"""What `declare` can make of a name for good: -n another name for a variable, -l lower case, …"""

UNSURE = "?"
"""Beside attributes that a name may as well not have."""

OTHER_SYNTAX = frozenset(["csh", "fish", "tcsh", "zsh"])
"""Shells whose name is kept with the settings, since they read some text in another way."""

_ENVIRONMENT = frozenset(
    [
        "EDITOR",
        "HOME",
        "LANG",
        "LOGNAME",
        "OLDPWD",
        "PAGER",
        "PATH",
        "PWD",
        "SHELL",
        "TERM",
        "TMPDIR",
        "USER",
        "VISUAL",
    ]
)
"""What a shell has exported from its start."""

_MOST_REFERENCES = 8


class Reading:
    """How many lines have been read of streams that several commands read from."""

    def __init__(self) -> None:
        self._read: list[tuple[Stream, int | None]] = []

    def line(self, stream: Stream, lines: list[str], *, sure: bool) -> str | None:
        """Return the next of the lines; unless this is sure to run, nobody knows what follows."""
        seen = (i for i, (known, _) in enumerate(self._read) if known is stream)
        index = next(seen, len(self._read))
        count = self._read[index][1] if index < len(self._read) else 0
        if count is None or count >= len(lines):
            return None
        self._read[index:] = [(stream, count + 1 if sure else None), *self._read[index + 1 :]]
        return lines[count]

    @property
    def total(self) -> int:
        """How many lines have been read."""
        return sum(count or 0 for _, count in self._read)


class Context(Enum):
    """Whose system a command changes."""

    HOST = auto()
    CONTAINER = auto()
    PRIVATE_COPY = auto()  # a program of a dangerous name outside the system's directories
    MENTIONED = auto()  # text in a program of another language, which may run it


class State:
    """The abstract state of one shell: copied for subshells, shared by a sequence."""

    __slots__ = (
        "active",
        "aliases",
        "attributes",
        "conditional",
        "context",
        "counted",
        "cwd",
        "cwd_downloaded",
        "decoded",
        "descriptors",
        "downloaded",
        "files",
        "forked",
        "functions",
        "home",
        "leaves",
        "numbers",
        "positional",
        "reading",
        "settings",
        "standing",
        "traps",
        "variables",
    )

    def __init__(self, *, home: str, cwd: str | None) -> None:
        self.home = home
        self.cwd = cwd
        self.cwd_downloaded = False
        self.variables: dict[str, Value] = {}
        self.attributes: dict[str, str] = {}
        self.counted: frozenset[str] = frozenset()  # variables whose values are counted numbers
        self.positional: dict[str, str | None] = {}
        self.functions: dict[str, Command] = {}
        self.aliases: dict[str, str] = {}
        self.active: tuple[str, ...] = ()
        # Around the current command, counted from the outermost function that is running.
        self.conditional = 0
        self.forked = False
        self.leaves = False  # a loop or a function, perhaps, before its end
        self.context = Context.HOST
        self.settings: frozenset[str] = frozenset()  # of the shell, that change what it does
        self.traps: tuple[tuple[str, tuple[int, int]], ...] = ()
        self.descriptors: dict[str, str] = {}  # number → file that is written through it
        # Names of files, variables (`$x`) and descriptors (`&3`); what is downloaded or decoded in
        # one process is so in the others, hence copies share these.
        self.downloaded: set[str] = set()
        self.decoded: set[str] = set()
        self.files: dict[str, str] = {}
        self.reading = Reading()
        self.numbers: dict[str, str] = {}  # of the descriptors that bash chooses, by variable
        self.standing: Stream | None = None  # the input that `exec` has put in the place of another

    def copy(self) -> "State":
        """Return the state that a subshell starts with."""
        other = State(home=self.home, cwd=self.cwd)
        other.cwd_downloaded = self.cwd_downloaded
        other.variables = self.variables.copy()
        other.attributes = self.attributes.copy()
        other.counted = self.counted
        other.settings = self.settings
        other.traps = self.traps
        other.descriptors = self.descriptors.copy()
        other.positional = self.positional
        other.functions = self.functions.copy()
        other.aliases = self.aliases.copy()
        other.active = self.active
        other.conditional = self.conditional
        other.forked = self.forked
        other.context = self.context
        other.downloaded = self.downloaded
        other.decoded = self.decoded
        other.files = self.files
        other.reading = self.reading
        other.numbers = self.numbers
        other.standing = self.standing
        return other

    def fork(self) -> "State":
        """Return the state of another process."""
        other = self.copy()
        other.forked = True
        return other

    def started(self) -> "State":
        """Return the state of a shell that another program is: it gets what is exported alone.

        What an earlier line may have exported is unknown there, like all that this one has.
        """
        other = self.elsewhere()
        other.attributes = {n: "x" for n, letters in self.attributes.items() if "x" in letters}
        for name, value in self.variables.items():
            letters = self.attributes.get(name, "")
            exported = name in _ENVIRONMENT or ("x" in letters and UNSURE not in letters)
            if exported and isinstance(value, str):
                other.variables[name] = value
        return other

    def elsewhere(self) -> "State":
        """Return the state of a shell on another host: it gets none of the variables."""
        other = self.copy()
        other.variables = {name: None for name in self.variables if name != "IFS"}
        other.attributes = {}
        other.positional = {}
        other.standing = None
        return other

    def mentioned(self) -> "State":
        """Return the state for what may run as well not: on the host it needs an approval then."""
        other = self.copy()
        if other.context is Context.HOST:
            other.context = Context.MENTIONED
        return other

    def branch(self) -> "State":
        """Return the state of a branch that may not be taken."""
        other = self.copy()
        other.conditional += 1
        return other

    def merge(self, others: "list[State]") -> None:
        """Take in what branches that may or may not have run have left behind."""
        changed = [other for other in others if other.variables != self.variables]
        names = {name for other in changed for name in other.variables}
        for name in names:
            before = self.variables.get(name)
            after = {other.variables.get(name, before) for other in others}
            self.variables[name] = before if after == {before} else None
        for name in {name for state in (self, *others) for name in state.attributes}:
            every = {state.attributes.get(name, "") for state in (self, *others)}
            surely = UNSURE if len(every) > 1 else ""
            self.attributes[name] = "".join(sorted({*"".join(every), *surely}))
        numbers = self.positional.keys() | {name for other in others for name in other.positional}
        if any(other.positional != self.positional for other in others):
            self.positional = dict.fromkeys(numbers)
        for other in others:
            self.functions.update(other.functions)
            self.aliases.update(other.aliases)
            self.descriptors.update(other.descriptors)
            self.settings |= other.settings
            self.counted |= other.counted
            self.traps += tuple(trap for trap in other.traps if trap not in self.traps)
            self.cwd_downloaded |= other.cwd_downloaded
            self.leaves |= other.leaves
            if other.standing is not self.standing:
                both = [each for each in (self.standing, other.standing) if each is not None]
                self.standing = replace(joined(both), kept=True)
            if other.cwd != self.cwd:
                self.cwd = None

    def knows(self, other: "State") -> bool:
        """Whether nothing has changed since this copy of the other was made."""
        return (
            self.variables == other.variables
            and self.attributes == other.attributes
            and self.positional == other.positional
            and self.cwd == other.cwd
            and self.settings == other.settings
            and self.counted == other.counted
            and self.descriptors == other.descriptors
            and self.traps == other.traps
            and (self.standing is None) == (other.standing is None)  # texts are only added to
        )

    def target(self, name: str) -> str | None:
        """Return the variable that a name stands for, which is another behind `declare -n`.

        "" if it stands for none yet; None if it cannot be known.
        """
        for _ in range(_MOST_REFERENCES):
            attributes = self.attributes.get(name, "")
            if "n" not in attributes:
                return name
            following = self.variables.get(name, "")
            if UNSURE in attributes or not isinstance(following, str) or UNKNOWN in following:
                return None
            if not following:
                return ""
            name = following
        return None

    def forget_local(self, name: str) -> None:
        """Forget what a variable was before it became one of a function, or of an alias's text."""
        if name == "IFS":
            self.variables.pop(name, None)
        else:
            self.variables[name] = None

    def forget(self, name: str = "") -> None:
        """Make a variable unknown, or every one if it isn't known which."""
        target = self.target(name) if name else None
        if target:
            self.variables[target.partition("[")[0]] = None
        else:
            self.variables = dict.fromkeys(self.variables)

    def calculate(self, name: str) -> None:
        """Make a variable a number that arithmetic has given it."""
        self.forget(name)
        self.counted |= {name}

    def value(self, name: str, subscript: str = "") -> Value:
        """Return the value of a parameter, None if it cannot be known."""
        if self.attributes:
            target = self.target(name)
            if target is None:
                return None
            name, _, inside = target.partition("[")
            subscript = subscript or inside.rstrip("]")
        if subscript:
            return self._element(name, subscript)
        if name in self.variables:
            value = self.variables[name]
            return (value[0] if value else "") if isinstance(value, tuple) else value
        if name in ("@", "*"):
            values = [self.positional.get(str(i)) for i in range(1, len(self.positional) + 1)]
            known = tuple(value for value in values if value is not None)
            return known or None
        if name.isdigit():
            return self.positional.get(name, "bash" if name == "0" else None)
        return self._well_known(name)

    def _element(self, name: str, subscript: str) -> Value:
        value = self.variables.get(name)
        if not isinstance(value, tuple):
            return value if subscript in ("0", "@", "*") else None
        if subscript in ("@", "*"):
            return value
        if subscript.isdigit() and len(subscript) < 6 and int(subscript) < len(value):
            return value[int(subscript)]
        return None

    def _well_known(self, name: str) -> Value:
        match name:
            case "HOME":
                return self.home
            case "HISTFILE":
                return f"{self.home}/.bash_history"
            case "PWD":
                return self.cwd
            case "IFS":
                return " \t\n"
            case "SHELL" | "BASH":
                return "/bin/bash"
            case "PAGER":
                return "less"
            case "EDITOR" | "VISUAL":
                return "vi"
            case "PS1":
                return r"\s-\v\$ "
            case "PS2":
                return "> "
            case "PS4":
                return "+ "
            case "PATH":
                return "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
            case _:
                return None
