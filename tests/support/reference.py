"""Generate the parts of docs/reference that come from the code."""

import ast
import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import Any

import click

from benchmarks.structure import find_pairs, read_imports
from ops import config
from ops.app.registry import added_runbook_names
from ops.cli import cli
from ops.cli.help import ExampleCommand, sections_of
from ops.core import errors, timeline
from ops.core.errors import EXIT_CODES, Reason
from ops.core.timeline import EventKind
from ops.drills.faults import Rule
from ops.evidence import tables as evidence_tables
from ops.evidence.tables import EvidenceTable
from ops.github.actions import GATE_OUTPUTS
from ops.limits import file as limits_file
from ops.platform.measurements import describe_expected, read_assumptions
from ops.report import timeline as incident_timeline
from ops.report.timeline import MomentName
from tests.conftest import ROOT
from tests.support.messages import places
from tests.support.scenarios import shipped
from tests.support.syntax import parsed


def table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table between two empty lines, which the published form requires."""
    head = list(columns)
    lines = [head, ["---"] * len(head), *rows]
    return "\n" + "".join(f"| {' | '.join(map(one_cell, cells))} |\n" for cells in lines) + "\n"


def one_cell(text: str) -> str:
    """Return a cell of a table. GitHub and the site show `|` within code in no common way but this one."""
    with_pipe = re.compile(r"`([^`]*\|[^`]*)`")
    text = with_pipe.sub(lambda code: f"<code>{escape(code[1]).replace('|', '&#124;')}</code>", " ".join(text.split()))
    return text.replace("|", "\\|")


def modules() -> str:
    """Return a table of the files of each package, with the first line of each; an `__init__` only if it has functions."""
    tables = []
    for folder in sorted({path.parent for path in (ROOT / "ops").rglob("*.py")}):
        found = [(path, parsed(path)) for path in sorted(folder.glob("*.py"))]
        texts = [
            (path.stem, ast.get_docstring(tree))
            for path, tree in found
            if path.stem != "__init__" or any(isinstance(each, ast.FunctionDef) for each in tree.body)
        ]
        rows = [(f"`{name}`", text.splitlines()[0]) for name, text in texts if text]
        if rows:
            tables.append(f"\n## `{folder.relative_to(ROOT)}`\n{table(('file', 'holds'), rows)}")
    return "".join(tables)


def packages() -> str:
    """Return every package of `ops` by its level in the import rule, with the text and examples of its docstring."""
    rows = []
    for level, names in enumerate(levels(), 1):
        for name in names:
            text = ast.get_docstring(ast.parse((ROOT / "ops" / name / "__init__.py").read_text())) or ""
            parts = dict(re.findall(r"^(Subjects|Examples): (.+?)\.$", text, re.MULTILINE | re.DOTALL))
            subjects = parts.get("Subjects", "")
            functions = ". ".join(filter(None, (text.partition(".\n")[0], subjects[:1].upper() + subjects[1:])))
            examples = " ".join(f"`{each}`" for each in parts["Examples"].split(", "))
            rows.append((str(level), f"`{name}`", functions, examples))
    return table(("level", "package", "its functions", "examples"), rows)


def files_with_messages() -> str:
    """Return the files of each package that make messages."""
    rows: dict[str, list[str]] = {}
    for path in sorted({place.key.partition(" ")[0] for place in places()}):
        package, _, file = path.removeprefix("ops/").removesuffix(".py").partition("/")
        rows.setdefault(package, []).append(f"`{file}`")
    return table(("package", "files that make messages"), ((f"`{name}`", " ".join(rows[name])) for name in rows))


def levels() -> list[list[str]]:
    """Return the packages of `ops` by level of the import rule, the lowest level first."""
    rule = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]["layers"]
    return [names.split(" | ") for names in reversed(rule)]


def import_picture() -> str:
    """Return a row for each level with the levels that it imports, without those that follow from another row.

    Packages that import others of their level have a row of their own above those.
    """
    found = {(one.removeprefix("ops."), other.removeprefix("ops.")) for one, other in find_pairs(read_imports())}
    level_of = {name: level for level, names in enumerate(levels(), 1) for name in names}
    imports = [(one, other) for one, other in sorted(found) if {one, other} <= level_of.keys()]
    upper = {one for one, other in imports if level_of[one] == level_of[other]}
    boxes: dict[tuple[int, bool], list[str]] = {}
    for name, level in level_of.items():
        boxes.setdefault((level, name in upper), []).append(name)
    box_of = {name: box for box, names in boxes.items() for name in names}
    reached: dict[tuple[int, bool], set[tuple[int, bool]]] = {}
    rows: list[tuple[str, str, str]] = []
    for box in sorted(boxes):
        below = {box_of[other] for one, other in imports if box_of[one] == box} - {box}
        indirect = set().union(*(reached[other] for other in below))
        reached[box] = below | indirect
        imported = ", ".join(map(_box_name, sorted(below - indirect)))
        rows.insert(0, (_box_name(box), " · ".join(boxes[box]), imported or "none"))
    return table(("level", "packages", "imports levels"), rows)


def _box_name(box: tuple[int, bool]) -> str:
    level, is_upper = box
    return f"{level}{'b' if is_upper else ''}"


def commands(group: click.Group = cli, words: tuple[str, ...] = ("ops",)) -> Iterator[tuple[str, click.Command]]:
    """Yield each command of this repository with its name, including those of groups."""
    context = click.Context(group)
    for name in group.list_commands(context):
        if name in added_runbook_names():
            continue
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, (*words, name))
        if not isinstance(command, click.Group) or command.invoke_without_command:
            yield " ".join([*words, name]), command


def common_options() -> list[click.Parameter]:
    """Return the options that the commands of all runbooks share."""
    own = [[*each.params] for name, each in commands() if name.removeprefix("ops ") in shipped()]
    same = [{text_of(option) for option in options} for options in own]
    return [option for option in own[0] if all(text_of(option) in texts for texts in same)]


def text_of(option: click.Parameter) -> tuple[str, str]:
    """Return the option as typed, and its help."""
    if isinstance(option, click.Argument):
        return f"`{option.make_metavar(click.Context(click.Command('ops')))}`", ""
    assert isinstance(option, click.Option)
    flag = option.opts[-1]
    if option.is_flag:
        return f"`{flag}`", option.help or ""
    value = option.make_metavar(click.Context(click.Command("ops")))
    return f"`{flag} {value}`", option.help or ""


def all_commands() -> str:
    """Return every command with its help, its own options and its examples, in the sections of `ops --help`."""
    common = {text_of(option) for option in common_options()}
    text = ""
    for section, found in commands_by_section():
        text += f"\n## {section}\n"
        for name, command in found:
            of_runbook = name.removeprefix("ops ") in shipped()
            rows = [row for row in map(text_of, command.params) if not of_runbook or row not in common]
            text += f"\n### {name}\n\n{paragraphs(command.help or '')}\n"
            text += table(("option", "meaning"), rows) if rows else ""
            text += "\n".join(["", "```sh", *examples(command), "```", ""])
    return text + "\n"


def commands_by_section() -> Iterator[tuple[str, list[tuple[str, click.Command]]]]:
    """Yield the sections of `ops --help` with their commands; the hidden commands come last."""
    made = list(commands())
    lines = list(cli.help_lines(click.Context(cli)))
    sections = [*sections_of(lines), ("Used by jobs and schedules", [line for line in lines if not line.section])]
    for section, found in sections:
        names = [f"ops {line.name}" for line in found if line.name not in added_runbook_names()]
        yield section, [each for name in names for each in made if each[0] == name or is_in_group(each[0], name)]


def is_in_group(command: str, name: str) -> bool:
    """Return whether the command is in the group of that name: `ops limits plan`, but not `ops maintenance due`."""
    return command.startswith(f"{name} ") and isinstance(cli.commands.get(name.removeprefix("ops ")), click.Group)


def examples(command: click.Command) -> list[str]:
    assert isinstance(command, ExampleCommand)
    return command.examples()


def paragraphs(text: str) -> str:
    """Return help text as Markdown, in lines of at most 120 characters."""
    cleaned = [" ".join(each.split()) for each in text.replace("\b", "").split("\n\n")]
    return "\n\n".join("\n".join(wrap(each)) for each in cleaned if each)


def wrap(text: str) -> Iterator[str]:
    line = ""
    for word in text.split():
        if line and len(line) + len(word) >= 120:
            yield line
            line = word
        else:
            line = f"{line} {word}".strip()
    yield line


def common_options_table() -> str:
    return table(("option", "meaning"), map(text_of, common_options()))


def decisions_table() -> str:
    rows = (
        (f"[`{decision}`](outcomes.md#{decision})", str(code), decision_texts()[decision.name])
        for decision, code in EXIT_CODES.items()
    )
    return table(("decision", "exit code", "meaning"), rows)


def reasons_table() -> str:
    rows = ((f"[`{reason}`](reasons.md#{reason})", reason_texts()[reason.name]) for reason in Reason)
    return table(("reason", "meaning"), rows)


def outcome_sections(kind: str) -> str:
    """Return a section for each word, from outcomes.json and its text in the code. `kind`: decisions or reasons."""
    words = json.loads((ROOT / "docs/reference/outcomes.json").read_text(encoding="utf-8"))[kind]
    texts = {each.value: text for each, text in _words(kind)}
    assert words.keys() == texts.keys(), "describe each word in docs/reference/outcomes.json"
    return "".join(f"\n{_section(name, text, words[name])}" for name, text in texts.items()) + "\n"


def _words(kind: str) -> list[tuple[StrEnum, str]]:
    if kind == "decisions":
        return [(each, f"{decision_texts()[each.name]} Exit code {code}.") for each, code in EXIT_CODES.items()]
    return [(each, reason_texts()[each.name]) for each in Reason]


def _section(name: str, meaning: str, word: Mapping[str, str]) -> str:
    titles = {"state": "State now", "next": "Next step", "evidence": "Evidence"}
    assert word.keys() == titles.keys(), name
    assert all(len(text) > 3 and text.endswith(".") for text in word.values()), name
    lines = [line for key, title in titles.items() for line in _item(f"**{title}:** {word[key]}")]
    return "\n".join([f"## `{name}`", "", *wrap(meaning), "", *lines, ""])


def _item(text: str) -> Iterator[str]:
    first, *rest = wrap(text)
    yield f"- {first}"
    yield from (f"  {line}" for line in rest)


def decision_texts() -> Mapping[str, str]:
    return attribute_texts(Path(errors.__file__), "Decision")


def reason_texts() -> Mapping[str, str]:
    return attribute_texts(Path(errors.__file__), "Reason")


def switches_table() -> str:
    """Return the switches of the sandbox, with their defaults."""
    from sandbox.switches import Switches

    documented = attribute_texts(ROOT / "sandbox/switches.py", "Switches")
    rows = ((f"`{name}`", f"`{value}`", documented[name]) for name, value in vars(Switches()).items())
    return table(("switch", "default", "meaning"), rows)


def checked_assumptions() -> str:
    """Return the assumptions that a run of `ops verify-platform` checks, without the shapes of answers."""
    rows = (
        (
            f"`{each.id}`",
            each.text,
            f"`{describe_expected(each)}`",
            each.source,
            listed(each.switches),
            each.check,
            listed(each.runbooks),
        )
        for each in read_assumptions()
        if each.check and not each.reads
    )
    columns = ("id", "assumption", "expected", "source", "switches", "step", "runbooks that rely on it")
    return table(columns, rows)


def declared_shapes() -> str:
    """Return the declared reads."""
    rows = (
        (f"`{each.id}`", "<br>".join(f"`{read}`" for read in each.reads), each.source)
        for each in read_assumptions()
        if each.check and each.reads
    )
    return table(("id", "read", "source"), rows)


def unchecked_assumptions() -> str:
    """Return the assumptions that no run checks, with the reason."""
    rows = (
        (f"`{each.id}`", each.text, each.reason, each.source, listed(each.switches))
        for each in read_assumptions()
        if not each.check
    )
    return table(("id", "assumption", "not provable because", "source", "switches"), rows)


def listed(names: Iterable[str]) -> str:
    return " ".join(f"`{name}`" for name in names) or "–"


def faults_table() -> str:
    """Return the fields of a rule of `ops sandbox --faults`, with their defaults."""
    documented = attribute_texts(ROOT / "ops/drills/faults.py", "Rule")
    values = {
        name: {"default": field.get_default(call_default_factory=True)} for name, field in Rule.model_fields.items()
    }
    rows = ((f"`{name}`", default(value, required=False), documented[name]) for name, value in values.items())
    return table(("field", "default", "meaning"), rows)


def limits_table() -> str:
    """Return the keys of a limit in `limits.yml`."""
    path = Path(limits_file.__file__)
    rows = [(f"`{name}`", attribute_texts(path, "Limit")[name]) for name in limits_file.Limit.model_fields]
    below = attribute_texts(path, "Temporary")
    rows += [(f"`temporary.{name}`", below[name]) for name in limits_file.Temporary.model_fields]
    return table(("key", "meaning"), rows)


def moments_table() -> str:
    documented = attribute_texts(Path(incident_timeline.__file__), "MomentName")
    return table(("moment", "source"), ((moment.value, documented[moment.name]) for moment in MomentName))


def events_table() -> str:
    documented = attribute_texts(Path(timeline.__file__), "EventKind")
    return table(("event", "meaning"), ((f"`{kind}`", documented[kind.name]) for kind in EventKind))


def evidence_table() -> str:
    """Return the tables of `ops evidence`, with the permission that each source needs."""
    named = {
        "DEPLOYMENTS": "each Worker",
        "HANDLED": "each Worker",
        "PAGES": "each site",
        "REQUESTS": "each host",
    }
    found = {name: each for name, each in vars(evidence_tables).items() if isinstance(each, EvidenceTable)}
    rows = ((each.title.format(named.get(name, "")), f"*{each.permission}*") for name, each in found.items())
    return table(("table", "permission"), rows)


def contract_example(name: str) -> str:
    """Return the example of a document of the runtime contract, which its schema holds."""
    (example,) = contract_schema()["$defs"][name]["examples"]
    return f"\n```json\n{compact_json(example)}\n```\n\n"


def contract_schema() -> dict[str, Any]:
    schema: dict[str, Any] = json.loads((ROOT / "docs/reference/runtime-contract.schema.json").read_text("utf-8"))
    return schema


def compact_json(value: object, depth: int = 0) -> str:
    """Return JSON with each object on one line that fits, else with a line for each key."""
    line = json.dumps(value)
    if not isinstance(value, dict) or (depth and len(line) + 2 * depth <= 100):
        return line
    below = "  " * (depth + 1)
    rows = [f"{below}{json.dumps(key)}: {compact_json(item, depth + 1)}" for key, item in value.items()]
    return "{\n" + ",\n".join(rows) + f"\n{'  ' * depth}}}"


def gate_outputs_table() -> str:
    return table(("output", "value"), ((f"`{name}`", meaning) for name, meaning in GATE_OUTPUTS.items()))


def attribute_texts(path: Path, name: str) -> Mapping[str, str]:
    """Return the text below each attribute of a class."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    body = next(each.body for each in tree.body if isinstance(each, ast.ClassDef) and each.name == name)
    found = {}
    for before, after in pairwise(body):
        target = before.target if isinstance(before, ast.AnnAssign) else getattr(before, "targets", [None])[0]
        if isinstance(target, ast.Name) and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            found[target.id] = " ".join(str(after.value.value).split())
    return found


def keys_of_ops_yml() -> str:
    """Return each object of `ops.yml` with its keys; its heading is its first location."""
    schema = config.config_schema()
    text = ""
    waiting: list[tuple[str, Mapping[str, Any]]] = [("", schema)]
    seen: set[str] = set()
    while waiting:
        place, each = waiting.pop(0)
        rows = []
        for key, value in each.get("properties", {}).items():
            rows.append(
                (f"`{key}`", kind(value), default(value, required=key in each.get("required", ())), meaning(value))
            )
            for below, name in objects(value, f"{place}.{key}".lstrip(".")):
                if name not in seen:
                    seen.add(name)
                    waiting.append((below, schema["$defs"][name]))
        text += f"\n### {f'`{place}`' if place else 'The file'}\n\n"
        text += "" if not place else f"{paragraphs(each.get('description', ''))}\n"
        text += table(("key", "value", "default", "meaning"), rows)
    return text + "\n"


def objects(value: Mapping[str, Any], place: str) -> Iterator[tuple[str, str]]:
    """Yield the location and the name of each object that a key may hold."""
    if "$ref" in value:
        yield place, value["$ref"].rpartition("/")[2]
    for below in (value.get("items"), *value.get("anyOf", ())):
        if isinstance(below, Mapping):
            yield from objects(below, place)
    for below in (*value.get("patternProperties", {}).values(), value.get("additionalProperties")):
        if isinstance(below, Mapping):
            yield from objects(below, f"{place}.NAME")


def kind(value: Mapping[str, Any]) -> str:
    if "enum" in value:
        return ", ".join(f"`{each}`" for each in value["enum"])
    if "const" in value:
        return f"`{json.dumps(value['const'])}`"
    if "anyOf" in value:
        return " or ".join(dict.fromkeys(kind(each) for each in value["anyOf"]))
    if "$ref" in value:
        return "object"
    if value.get("type") == "array":
        return f"list of {kind(value['items'])}" if "items" in value else "list"
    if value.get("type") == "object":
        return "object by name" if "patternProperties" in value else "object"
    if "pattern" in value and re.search(r"\(ms\|s\|m\|h\)\$$", value["pattern"]):
        return "duration"
    if isinstance(value.get("type"), list):
        return "value"
    return {"string": "text", "integer": "number", "boolean": "true or false"}.get(value.get("type", ""), "value")


def default(value: Mapping[str, Any], *, required: bool) -> str:
    if required:
        return "required"
    given = value.get("default")
    if given is None or given in ([], {}):
        return "none"
    if isinstance(given, list):
        return ", ".join(f"`{each}`" for each in given)
    return f"`{str(given).lower() if isinstance(given, bool) else given}`"


def meaning(value: Mapping[str, Any]) -> str:
    return str(value.get("description", ""))


def decision_records() -> str:
    """Return the decision records, by number."""
    rows = []
    for page in sorted((ROOT / "docs" / "decisions").glob("0*.md")):
        title = page.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
        number, _, words = title.partition(" ")
        rows.append((number.rstrip(".:"), f"[{words}]({page.name})"))
    return table(("number", "decision"), rows)
