# SPDX-License-Identifier: MIT
"""The shape of the rules: what the files in `tables/` and a host's own file may say.

Every table of them is one of these structs; keys are written with hyphens (`least-operands`).
"""

from enum import StrEnum

from msgspec import Struct, field

from tibet_nc_agent.safety.verdict import Decision, Family


class Level(StrEnum):
    """What losing a path would mean; the worst comes first."""

    ROOT = "root"  # / or everything in it
    SYSTEM = "system"  # a directory that the system lives in
    HOMES = "homes"  # the directory of all homes
    HOME = "home"  # one whole home
    CRITICAL = "critical"  # a file that decides who may log in, or that tibet-nc needs
    BOOT = "boot"  # a file that the next boot needs
    LOG = "log"  # a log, a history or the audit chain
    DEVICE = "device"  # a block device or another raw device
    CONTROL = "control"  # a kernel file that stops or resets the machine
    NETWORK = "network"  # how the host is reached
    PROGRAM = "program"  # a program or library of the system
    PARTIAL = "partial"  # a directory whose loss hurts, but not the system
    BELOW = "below"  # something below a system directory
    PARENT = "parent"  # a parent of the unknown current directory
    CURRENT = "current"  # everything in the unknown current directory
    UNKNOWN = "unknown"  # not in the command
    OTHER = "other"


class FamilyText(Struct, frozen=True, kw_only=True, rename="kebab"):
    """What a family is about, for people."""

    about: str
    denied: str
    approval: str
    advice: str


class Rule(Struct, frozen=True, kw_only=True, rename="kebab"):
    """One rule: the conditions that are given must all hold."""

    family: Family
    decision: Decision
    commands: tuple[str, ...]
    reason: str
    advice: str = ""
    verbs: tuple[str, ...] = ()  # the first operands, in order: "stop|disable", "device delete"
    words: tuple[str, ...] = ()  # an operand behind the verb; a computed one may be it
    known: bool = False  # such a word counts only if it is in the command
    options: tuple[str, ...] = ()  # an option, in any spelling
    arguments: tuple[str, ...] = ()  # any argument, taken literally
    unless: tuple[str, ...] = ()  # an argument that makes the command harmless
    text: tuple[str, ...] = ()  # a regular expression in the arguments or the known input
    unquoted: bool = False  # the text without the strings of SQL in it, unless they may be run
    target: tuple[Level, ...] = ()  # the level of a path among the operands
    produced_by: tuple[str, ...] = ()  # an operand is the output of one of these
    least_operands: int = 0
    exact_operands: int = -1
    downloaded: bool = False  # only with input or a file that comes from the network
    fetched: bool = False  # only in, or with a path of, a tree that the same line has fetched
    piped: bool = False  # only with input from a pipe, a file or a here-document


class Arity(Struct, frozen=True, kw_only=True, rename="kebab"):
    """Options of a command whose value is the next argument."""

    commands: tuple[str, ...]
    values: tuple[str, ...]


class ProgramOption(Struct, frozen=True, kw_only=True, rename="kebab"):
    """Options of a command whose value is a program that it runs."""

    commands: tuple[str, ...]
    options: tuple[str, ...]


class ProgramText(Struct, frozen=True, kw_only=True, rename="kebab"):
    """Text in the arguments or the input of a command that it runs: the last group of a match."""

    commands: tuple[str, ...]
    text: tuple[str, ...]
    language: str = "sh"


class Output(Struct, frozen=True, kw_only=True, rename="kebab"):
    """Paths that a command writes: values of options, an operand, or the last group of a match."""

    commands: tuple[str, ...]
    options: tuple[str, ...] = ()
    operand: int = 0  # which of them it is, counted from 1
    text: tuple[str, ...] = ()


class Runs(StrEnum):
    """What a wrapper does with the words behind its own options."""

    WORDS = "words"  # runs them as a command
    TEXT = "text"  # joins them and gives them to a shell
    EACH = "each"  # gives each of them to a shell
    SHELL = "shell"  # gives them to a shell as its own arguments
    NOTHING = "nothing"


class Wrapper(Struct, frozen=True, kw_only=True, rename="kebab"):
    """A program that runs another one."""

    names: tuple[str, ...]
    letters: str = ""  # short options with a value
    options: tuple[str, ...] = ()  # long options with a value
    flags: tuple[str, ...] = ()  # options without one that look like abbreviations of these
    pairs: tuple[str, ...] = ()  # long options with two values
    verb: str = ""  # the first operand must be of this form, or nothing runs
    skip: int = 0  # operands before the command
    skip_pattern: str = ""  # operands of this form before the command
    assignments: bool = False  # NAME=value may stand before the command
    query: tuple[str, ...] = ()  # with one of these nothing runs
    directory: tuple[str, ...] = ()  # options that say where it runs what it runs
    edits: tuple[str, ...] = ()  # with one of these the operands are files that it edits as root
    code: tuple[str, ...] = ()  # options whose value is shell text
    shell: tuple[str, ...] = ()  # options that start a shell, which reads the input
    feeds_shell: bool = False  # without a command a shell reads the input
    separators: tuple[str, ...] = ()  # the command begins behind the first of these words
    served: bool = False  # what it runs reads from the network
    runs: Runs = Runs.WORDS


class Languages(Struct, frozen=True, kw_only=True, rename="kebab"):
    """Programs that run text."""

    shells: tuple[str, ...]
    interpreters: dict[str, str]  # program → language
    code_letters: dict[str, str]  # language → short options whose value is code
    attached_letters: dict[str, str]  # language → short options whose value ends the word
    value_options: dict[str, tuple[str, ...]]  # language → options whose value is the next word
    load_options: dict[str, tuple[str, ...]]  # language → options that name a module to run first
    module_files: dict[str, tuple[str, ...]]  # language → what the name of a module's file ends in


class Programs(Struct, frozen=True, kw_only=True, rename="kebab"):
    """Sets of programs that the walk treats alike."""

    downloaders: tuple[str, ...]
    containers: tuple[str, ...]
    readers: tuple[str, ...]
    data: tuple[str, ...]
    escapes: tuple[str, ...]
    quiet_eval: tuple[str, ...]


class Paths(Struct, frozen=True, kw_only=True, rename="kebab"):
    """Levels of paths; patterns are those of `fnmatch` on the whole absolute path."""

    system: tuple[str, ...]
    partial: tuple[str, ...]
    below: tuple[str, ...]
    not_below: tuple[str, ...]
    critical: tuple[str, ...]
    boot: tuple[str, ...]
    log: tuple[str, ...]
    control: tuple[str, ...]
    secret: tuple[str, ...]
    secret_trees: tuple[str, ...]  # directories of nothing else
    harmless_devices: tuple[str, ...]
    network: tuple[str, ...]
    program: tuple[str, ...]
    cleared_freely: tuple[str, ...]  # partial directories whose contents may be deleted


class Effects(Struct, frozen=True, kw_only=True, rename="kebab"):
    """What an action on a path of each level is: decision by level; a level left out is allowed."""

    recursive: dict[Level, Decision]
    single: dict[Level, Decision]


class Actions(Struct, frozen=True, kw_only=True, rename="kebab"):
    """Effects of the actions that the walk knows."""

    delete: Effects
    permissions: Effects
    move: Effects
    write: Effects
    append: Effects


class AllowedCommand(Struct, frozen=True, kw_only=True, rename="kebab"):
    """An exception of a host: exactly these arguments are allowed."""

    argv: tuple[str, ...]
    because: str


class SitePaths(Struct, frozen=True, kw_only=True, rename="kebab"):
    """Paths that a host adds."""

    system: tuple[str, ...] = ()
    partial: tuple[str, ...] = ()
    critical: tuple[str, ...] = ()
    log: tuple[str, ...] = ()
    secret: tuple[str, ...] = ()


class SiteFamily(Struct, frozen=True, kw_only=True, rename="kebab"):
    """A lower bound for the findings of a family on a host."""

    at_least: Decision


class Rules(Struct, frozen=True, kw_only=True, eq=False):
    """All rules, checked; equal only to itself, so that compiled forms can be kept for it."""

    families: dict[Family, FamilyText]
    rules: tuple[Rule, ...]
    arities: dict[str, frozenset[str]]  # program → options whose value is the next argument
    program_options: tuple[ProgramOption, ...]
    program_texts: tuple[ProgramText, ...]
    outputs: tuple[Output, ...]
    wrappers: tuple[Wrapper, ...]
    languages: Languages
    programs: Programs
    paths: Paths
    actions: Actions
    allowed: tuple[AllowedCommand, ...] = ()
    at_least: dict[Family, Decision] = field(default_factory=dict)
