"""Answer a refused command line with its mistake and a command line that is accepted.

It repairs one mistake at a time and parses again. Nothing runs, and no request is sent.
"""

import difflib
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import click

from ops.cli.help import PROGRAM, SECTIONS, ExampleCommand, UnexpectedWords, UnknownCommand
from ops.core.names import first_of, near_names, quote_name

MEANINGS: Mapping[str, tuple[str, ...]] = {
    command: tuple(meant.split(", "))
    for meant, commands in {
        "last": "undo history-of-runs runs recent",
        "rollback-worker, rollback-pages": "rollback back previous downgrade",
        "rollback-worker, rollback-pages, revert-migration": "revert",
        "redeploy-pages": "deploy publish release redeploy build",
        "evidence": "logs log tail audit",
        "doctor": "whoami login auth token tokens env permissions verify",
        "targets": "list ls services workers projects sites preview plan what",
        "versions": "history releases deployments version",
        "status": "info ps top show health now live",
        "maintenance --state on": "offline down pause close-service 503",
        "maintenance --state off": "online up",
        "feature": "flag flags toggle switch switches",
        "feature --state on": "enable",
        "feature --state off": "disable",
        "ai-failover": "ai provider failover",
        "incident open": "open create declare page alert start-incident",
        "incident close": "close resolve",
        "incident note": "note comment",
        "incident report": "report postmortem post-mortem",
        "incident list": "incidents issues",
        "publish-update": "announce notify status-update",
        "config check": "validate lint check",
        "adopt": "install start begin new onboard quickstart",
        "init": "describe",
        "drill": "test try demo exercise gameday",
        "stop": "cancel abort kill halt freeze",
        "all-clear": "clear reset-switches normal",
        "hold check": "held holds",
        "restore-database": "backup db d1 database-restore time-travel",
        "rotate-secrets": "secret secrets leak leaked",
        "propose-limits": "limit raise quota rate-limit ratelimit",
        "workflows sync": "sync generate",
        "check-outage": "outage cloudflare",
    }.items()
    for command in commands.split()
} | {
    "incident create": ("incident open",),
    "incident new": ("incident open",),
    "incident start": ("incident open",),
    "incident ls": ("incident list",),
    "incident status": ("incident show",),
    "incident add": ("incident note",),
    "incident comment": ("incident note",),
    "incident resolve": ("incident close",),
    "incident end": ("incident close",),
    "incident postmortem": ("incident report",),
    "limits raise": ("limits propose",),
    "limits set": ("limits propose",),
    "limits show": ("limits plan",),
    "limits diff": ("limits plan",),
    "config validate": ("config check",),
    "config lint": ("config check",),
    "config show": ("config check",),
    "staging-drill start": ("staging-drill run",),
    "hold release": ("hold lift",),
    "setup repository": ("setup github",),
}
"""Words of people and of other tools → the commands that they mean. An existing command with this name comes first."""
OPTION_MEANINGS: Mapping[str, tuple[str, ...]] = {
    mistake: tuple(f"--{each}" for each in meant.split(", "))
    for meant, mistakes in {
        "environment": "e env stage in",
        "service": "s svc app worker project site",
        "to, version, commit": "t v version version-id target deployment-id commit sha rollback-to",
        "yes": "y confirm assume-yes auto-approve no-confirm non-interactive",
        "dry-run": "n dry dryrun noop no-op plan whatif what-if simulate preview check",
        "reason": "m message msg comment why note",
        "incident": "i issue ticket number",
        "config": "c file",
        "json": "j o output format",
        "since, began": "from start started period last",
        "until, for": "end ttl duration expires minutes",
        "database": "d db d1",
        "only, name, service": "name secret secrets limit flag feature switch key",
    }.items()
    for mistake in mistakes.split()
}
"""Options of other tools, without dashes → ours, of which a command has one or none."""
CLOSE = 0.75
"""Ratio of difflib from which one option is a misspelled other."""
MOST_REPAIRS, MOST_CHOICES = 8, 8
YES = "--yes"
WRITES_AT_ONCE = {
    *("stop", "incident close", "incident import", "incident lead", "incident leak", "incident open", "labels sync"),
    *("staging-drill resume", "staging-drill stop"),
}
"""Commands that ask nothing before they act for others, so a guess offers their help."""
HELP_OPTION = "--help"
HELP = {"-h", HELP_OPTION}


@dataclass(frozen=True)
class CommandLine:
    """The typed words, and the command that they name: a group if they name none of its commands."""

    root: click.Group
    words: tuple[str, ...]
    is_example: bool = False
    """Whether a value is a guess, and not typed."""

    @cached_property
    def parts(self) -> tuple[click.Context, tuple[str, ...]]:
        """Return the context of the named command, and the words behind its name."""
        context, words = click.Context(self.root, info_name=PROGRAM), list(self.words)
        while isinstance(group := context.command, click.Group) and words:
            try:
                name, command, words = group.resolve_command(context, list(words))  # click consumes its list
            except click.UsageError:
                break
            if command is not None:
                context = click.Context(command, parent=context, info_name=name)
        return context, tuple(words)

    @property
    def command(self) -> click.Command:
        return self.parts[0].command

    def find_error(self) -> click.UsageError | None:
        """Parse the words, and return why they are refused. Words with --help are not parsed: that prints the help."""
        if HELP & {*self.words}:
            return None
        context, words = self.parts
        try:
            if isinstance(context.command, click.Group):
                context.command.resolve_command(context, list(words) or [""])
            context.command.make_context(context.info_name, list(words), parent=context.parent)
        except click.UsageError as error:
            return error
        return None

    @cached_property
    def lenient(self) -> click.Context:
        """Return the context with every value that can be parsed."""
        context, words = self.parts
        lenient = {"resilient_parsing": True, "ignore_unknown_options": True}
        try:
            return context.command.make_context(context.info_name, list(words), parent=context.parent, **lenient)
        except click.UsageError:
            return context

    def raw_values(self) -> tuple[Mapping[str, Any], list[str]]:
        """Return the words as typed by the name of their parameter, and those that belong to none."""
        context, own = self.parts
        parser = self.command.make_parser(context)
        parser.ignore_unknown_options = True
        try:
            values, left, _ = parser.parse_args(list(own))
        except click.UsageError:
            return {}, []
        return values, [word for word in left if not word.startswith("-")]

    def examples(self) -> Iterator[list[str]]:
        """Yield the examples of the command, as words behind the program's name."""
        if isinstance(self.command, ExampleCommand):
            yield from (shlex.split(line)[1:] for line in self.command.examples())

    def example_value(self, parameter: click.Parameter) -> str:
        """Return a value of the parameter from the examples; empty if none has it."""
        for words in self.examples():
            line = CommandLine(self.root, tuple(words))
            value = line.raw_values()[0].get(parameter.name or "")
            if isinstance(value, list | tuple):
                value = next(iter(value), "")
            if isinstance(value, str) and value:
                return value
        return ""

    def choices(self, parameter: click.Parameter) -> list[str]:
        """Return the values that a shell would complete from ops.yml; empty if there are no such values."""
        if isinstance(parameter, click.Option) and parameter.is_flag:
            return []
        return [item.value for item in parameter.shell_complete(self.lenient, "") if item.type == "plain"]

    def options(self) -> list[click.Option]:
        return [each for each in self.command.params if isinstance(each, click.Option) and not each.hidden]

    def replaced(self, old: str, *new: str) -> "CommandLine":
        """Return the line with one word replaced."""
        at = self.words.index(old)
        return self.with_words(*self.words[:at], *new, *self.words[at + 1 :])

    def without(self, *unknown: str) -> "CommandLine | None":
        """Return the line without words that have no place; None for a recovery, which may change more with less."""
        if any(YES in option.opts for option in self.options()):
            return None
        return self.with_words(*[word for word in self.words if word not in unknown])

    def with_words(self, *words: str) -> "CommandLine":
        return CommandLine(self.root, words, self.is_example)

    def with_question(self) -> "CommandLine":
        """Return the line without `--yes`: a person confirms a guess."""
        return self.with_words(*[word for word in self.words if word != YES])


Repair = tuple[str, CommandLine | None]
"""The mistake in words, and the line without it; None if nobody can guess the line."""


def answer_usage_error(error: click.UsageError, root: click.Group, words: Sequence[str]) -> list[str]:
    """Return the lines to print: the mistake, a command line that is accepted, and the command that shows the help."""
    line = CommandLine(root, tuple(words[1:] if words[:1] == ["help"] else words))
    text, accepted = _repair_line(error, line)
    path = line.parts[0].command_path.removeprefix(PROGRAM)
    program = os.environ.get("OPS_PROGRAM") or PROGRAM
    label = "example" if accepted and accepted.is_example else "  try"
    shown = f"{program} {shlex.join(accepted.words)}" if accepted else ""
    if shown.endswith(HELP_OPTION):
        return [f"error: {text}", f" help: {shown}"]
    return [f"error: {text}", *([f"{label}: {shown}"] if shown else []), f" help: {program}{path} {HELP_OPTION}"]


def _repair_line(error: click.UsageError, line: CommandLine) -> Repair:
    """Return the first mistake in words, and a line that is accepted: an example if nobody can guess it."""
    is_guess_safe = not HELP & {*line.words} and all(quote_name(word) == word for word in line.words)
    text, repaired = _repair_once(error, line)
    for _ in range(MOST_REPAIRS):
        if repaired is None or not is_guess_safe:
            break
        if (next_error := repaired.find_error()) is None:
            return text, repaired.with_question() if repaired.is_example else repaired
        repaired = _repair_once(next_error, repaired)[1]
    examples = list(line.examples())
    missing = error.param_hint if isinstance(error, click.MissingParameter) and error.param_hint else ()
    words = next((words for words in examples if {*missing} <= {*words}), next(iter(examples), None))
    return text, None if words is None else CommandLine(line.root, tuple(words), is_example=True)


def _repair_once(error: click.UsageError, line: CommandLine) -> Repair:
    match error:
        case UnknownCommand():
            return _repair_command(error, line)
        case click.NoSuchOption():
            return _repair_option(error, line)
        case click.MissingParameter():
            return _add_missing(error, line)
        case click.BadOptionUsage():
            return _repair_option_use(error, line)
        case UnexpectedWords():
            return _name_words(error, line)
        case click.BadParameter():
            return _repair_value(error, line)
    return error.format_message().removesuffix("."), None


def _repair_command(error: UnknownCommand, line: CommandLine) -> Repair:
    """Name the commands that were meant. Without a guess, name those of a recovery."""
    group = line.parts[0].command_path.removeprefix(PROGRAM).split()
    typed = " ".join([*group, error.name])
    near = [" ".join([*group, each]) for each in near_names(error.name, error.known)]
    meant = MEANINGS.get(typed.lower(), near)
    text = f'no command "{quote_name(typed)}"'
    if not meant:
        known = first_of([each for each in SECTIONS["Recover"] if each in error.known] or list(error.known))
        return f"{text}; known: {', '.join(known)}", None
    behind = line.words[len(group) + 1 :]
    quoted = [f'"{each}"' for each in meant]
    named = " or ".join([", ".join(quoted[:-1]), quoted[-1]] if quoted[1:] else quoted)
    words = [HELP_OPTION] if meant[0] in WRITES_AT_ONCE else behind
    return f"{text}; did you mean {named}?", line.with_words(*meant[0].split(), *words).with_question()


def _long_options(line: CommandLine) -> list[str]:
    return [each for option in line.options() for each in option.opts if each.startswith("--")]


def _named_options(name: str, line: CommandLine) -> list[str]:
    """Return the options of the command that have this meaning, else those whose names start with it."""
    known = _long_options(line)
    meant = [each for each in OPTION_MEANINGS.get(name, ()) if each in known]
    return meant[:1] or [each for each in known if name[2:] and each.startswith(f"--{name}")]


def _repair_option(error: click.NoSuchOption, line: CommandLine) -> Repair:
    name = error.option_name
    text = f"no option {quote_name(name)}"
    typed = next((word for word in line.words if word == name or word.startswith(f"{name}=")), "")
    if not typed:
        return text, None
    value = typed.removeprefix(name)
    if isinstance(line.command, click.Group):
        moved = _move_behind(typed, line)
        return f"{text} before a command; write it behind the command" if moved else text, moved
    bare = name.lstrip("-").lower()
    if near := _named_options(bare, line):
        return f"{text}; did you mean {' or '.join(near)}?", line.replaced(typed, f"{near[0]}{value}")
    if named := _name_word(bare, line):
        return f"{text}; did you mean {shlex.join(named)}?", line.replaced(typed, *named)
    if near := difflib.get_close_matches(f"--{bare}", _long_options(line), n=2, cutoff=CLOSE):
        return f"{text}; did you mean {' or '.join(near)}?", line.replaced(typed, f"{near[0]}{value}")
    return text, line.without(typed)


def _move_behind(option: str, line: CommandLine) -> CommandLine | None:
    """Return the line with an option, and perhaps its value, at the end."""
    at = line.words.index(option)
    for count in (2, 1):
        moved = line.with_words(*line.words[:at], *line.words[at + count :], *line.words[at : at + count])
        if moved.find_error() is None:
            return moved
    return None


def _name_word(word: str, line: CommandLine) -> list[str]:
    """Return a word behind the option that it is a value of; empty if it is a value of none."""
    given = line.raw_values()[0]
    free = (each for each in line.options() if given.get(each.name or "") in (None, [], "") and not each.is_flag)
    option = next((each for each in free if word in line.choices(each)), None)
    return [option.opts[0], word] if option else []


def _name_words(error: UnexpectedWords, line: CommandLine) -> Repair:
    arguments = [each for each in line.command.params if isinstance(each, click.Argument)]
    if arguments and "TEXT" in _parameter_label(arguments[-1], line):
        return _quote_text(error, arguments[-1], line)
    named = [each for word in error.words for each in _name_word(word, line)]
    words = list(line.words)
    for word in reversed(error.words):
        at = len(words) - 1 - words[::-1].index(word)
        words[at : at + 1] = _name_word(word, line) or [word]
    meant = f"; did you mean {shlex.join(named)}?" if named else ""
    unknown = [word for word in error.words if not _name_word(word, line)]
    repaired = line.with_words(*words)
    return f"{error.format_message()}{meant}", repaired.without(*unknown) if unknown else repaired


def _quote_text(error: UnexpectedWords, parameter: click.Parameter, line: CommandLine) -> Repair:
    """Return the line with the words in the quotation of the text before them."""
    text = [str(line.raw_values()[0].get(parameter.name or "")), *error.words]
    places, end = list[int](), len(line.words)
    for word in reversed(text):
        end -= 1 + line.words[end - 1 :: -1].index(word)
        places.append(end)
    behind = [word for place, word in enumerate(line.words) if place > end and place not in places]
    return "the text needs quotation marks", line.with_words(*line.words[:end], " ".join(text), *behind)


def _parameter_label(parameter: click.Parameter, line: CommandLine) -> str:
    """Return the name by which a person knows a parameter."""
    return parameter.opts[0] if isinstance(parameter, click.Option) else parameter.make_metavar(line.parts[0])


def _as_words(parameter: click.Parameter, value: str) -> list[str]:
    return [parameter.opts[0], value] if isinstance(parameter, click.Option) else [value]


def _add_missing(error: click.MissingParameter, line: CommandLine) -> Repair:
    if (parameter := error.param) is None:
        return f"missing {', '.join(error.param_hint or ())}", None
    name, choices, example = _parameter_label(parameter, line), line.choices(parameter), line.example_value(parameter)
    kind = "option" if isinstance(parameter, click.Option) else "argument"
    text = f"missing {kind} {name}"
    if typed := next((word for word in line.raw_values()[1] if word in choices), ""):
        named = _as_words(parameter, typed)
        return f"{text}; did you mean {shlex.join(named)}?", line.replaced(typed, *named)
    value = example if example in choices or not choices else choices[0]
    completed = replace(line.with_words(*line.words, *_as_words(parameter, value)), is_example=True)
    if choices:
        text = f"{text}. Choose: {', '.join(first_of(choices, MOST_CHOICES))}"
    elif value:
        text = f"{text}. Example: {shlex.join(_as_words(parameter, value))}"
    return text, completed if value else None


def _repair_option_use(error: click.BadOptionUsage, line: CommandLine) -> Repair:
    """Repair an option without its value, or a flag with one."""
    name = error.option_name
    option = next((each for each in line.options() if name in each.opts), None)
    if option is None:
        return error.format_message().removesuffix("."), None
    if option.is_flag:
        typed = next((word for word in line.words if word.startswith(f"{name}=")), "")
        return f"{name} takes no value", line.replaced(typed, name) if typed else None
    value = line.example_value(option)
    if value:
        completed = replace(line.with_words(*line.words, value), is_example=True)
        return f"{name} needs a value. Example: {name} {shlex.quote(value)}", completed
    return f"{name} needs a value: {option.help}", line.without(name)


def _repair_value(error: click.BadParameter, line: CommandLine) -> Repair:
    if (parameter := error.param) is None:
        return error.format_message().removesuffix("."), None
    choices, name, near = line.choices(parameter), _parameter_label(parameter, line), list[str]()
    raw = line.raw_values()[0].get(parameter.name or "")
    bad = raw if isinstance(raw, str) else next(iter(raw or ()), "")
    if not choices:
        value, text = line.example_value(parameter), f"{name}: {error.message.removesuffix('.')}"
    else:
        near = difflib.get_close_matches(bad, choices, n=1)
        value = next(iter(near), choices[0])
        text = f'"{quote_name(bad)}" is no value of {name}. Choose: {", ".join(first_of(choices, MOST_CHOICES))}'
    typed = next((word for word in line.words if word in (bad, f"{name}={bad}")), "")
    if value and typed:
        repaired = line.replaced(typed, typed.removesuffix(bad) + value)
        return text, replace(repaired, is_example=line.is_example or not near)
    return text, line.without(name, bad) if name in line.words else None
