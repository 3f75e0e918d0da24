"""Print every string that a person may read on a bad night, on one sheet.

    ./run tests.support.message_sheet

Read it from top to bottom before a release, as a person at 3 a.m. would.
"""

import ast
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import click

from ops.app.registry import discover_runbooks
from ops.cli import cli
from ops.core import errors
from ops.core.errors import Decision
from ops.core.result import describe_decision
from ops.core.run_summary import RunSummary, icon
from ops.core.timeline import EventKind, RunEvent
from ops.core.verdict import NO_OBSERVATION, Verdict
from ops.publish.chat import chat_message
from ops.setup.doctor.examination import CHECKS
from tests.support.syntax import nodes
from tests.support.team_files import allowed

ROOT = Path(__file__).parents[2]
AT = datetime(2026, 11, 25, 3, 12, 20, tzinfo=UTC)
ERRORS = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)} | {
    "RefusedRequest"
}
TEXTS = {"message", "hint", "summary", "done", "proves", "healthy_before", "done_when"}
"""Arguments of a plan, a change or an error that people read."""
PLANS = {"Plan", "Change", "Section"}
FINDINGS = {"Finding", "NotProvable"}
"""Answers of `ops doctor`: text, fix and command."""


class Message(NamedTuple):
    """Texts of one call, with inserted values as {names}."""

    where: str
    call: str
    texts: Mapping[str, str]


@cache
def messages() -> list[Message]:
    """Return every error, refusal, plan and event that the code makes, by file and line."""
    return [message for path in sorted((ROOT / "ops").rglob("*.py")) for message in _messages_of(path)]


def _messages_of(path: Path) -> Iterator[Message]:
    found, file = nodes(path), str(path.relative_to(ROOT))
    subclasses = {
        node.name
        for node in found
        if isinstance(node, ast.ClassDef) and ERRORS & {ast.unparse(base) for base in node.bases}
    }
    known, named = ERRORS | subclasses | PLANS | FINDINGS, assigned_texts(found)
    for node in found:
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if name in known:
                yield Message(f"{file}:{node.lineno}", name, {key: put_in(text, named) for key, text in _texts(node)})
            elif name == "record" and len(node.args) > 1:
                where = f"{file}:{node.lineno}"
                yield Message(where, ast.unparse(node.args[0]), {"event": put_in(text_of(node.args[1]), named)})


TEXT_NODES = (ast.Constant, ast.JoinedStr, ast.Tuple, ast.List, ast.BinOp, ast.IfExp)
"""Expressions that `text_of` returns as more than their code."""


def assigned_texts(tree: Iterable[ast.AST]) -> dict[str, str]:
    """Return variable → the texts that the module assigns to it."""
    found: dict[str, list[str]] = {}
    for node in tree:
        if (
            isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and isinstance(node.value, TEXT_NODES)
        ):
            text = text_of(node.value)
            if not text.startswith("{"):
                found.setdefault(node.targets[0].id, []).append(text)
    return {name: " / ".join(texts) for name, texts in found.items()}


def put_in(text: str, named: Mapping[str, str]) -> str:
    """Return a text that is one variable as what the module assigns to it."""
    return named.get(text[1:-1], text) if text.startswith("{") and text.endswith("}") else text


def _texts(call: ast.Call) -> Iterator[tuple[str, str]]:
    if call.args:
        yield "message", text_of(call.args[0])
    if call.args[1:] and ast.unparse(call.func) in FINDINGS:
        yield "fix", text_of(call.args[1])
    for keyword in call.keywords:
        if keyword.arg in TEXTS | {"warnings", "not_undone", "follows", "consequences", "tasks", "reason", "command"}:
            yield keyword.arg or "", text_of(keyword.value)


def text_of(node: ast.expr) -> str:
    """Return a text as it is written, with each value as {its expression}."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=values):
            return "".join(map(text_of, values))
        case ast.FormattedValue(value=value):
            return "{" + ast.unparse(value) + "}"
        case ast.Tuple(elts=elements) | ast.List(elts=elements):
            return " ¶ ".join(map(text_of, elements))
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return text_of(left) + text_of(right)
        case ast.IfExp(body=body, orelse=other):
            return f"[{text_of(body)} | {text_of(other)}]"
        case _:
            return "{" + ast.unparse(node) + "}"


def endings() -> Iterator[tuple[str, str, str]]:
    """Yield each runbook with each decision: the heading of its comment and the line in the chat."""
    done: dict[str, str] = {}
    for message in messages():
        if message.call == "Plan" and message.texts.get("done"):
            done.setdefault(Path(message.where.partition(":")[0]).stem.replace("_", "-"), message.texts["done"])
    for runbook in discover_runbooks():
        for decision in Decision:
            page = _page(runbook, done.get(runbook, ""), decision)
            yield f"{runbook}, {decision}", f"{icon(page)} {page.headline}", chat_message(page)


def _page(runbook: str, done: str, decision: Decision) -> RunSummary:
    is_sent = decision not in {Decision.PLANNED, Decision.REFUSED, Decision.NOTHING_TO_DO}
    kinds: list[tuple[EventKind, str, Mapping[str, Any]]] = [
        (EventKind.REQUESTED, "x (alice)", {"runbook": runbook, "environment": "production", "service": "api"}),
        (EventKind.PLANNED, "plan", {"plan": {"done": done}}),
    ]
    kinds += [(EventKind.WRITTEN, "", {}), (EventKind.READ_BACK, "", {})] if is_sent else []
    kinds += [(EventKind.VERIFIED, Verdict.HEALTHY.value, {})] if decision == Decision.RECOVERED else []
    kinds.append((EventKind.ENDED, decision.value, {"message": "(message)"}))
    events = tuple(RunEvent(n, AT, float(n), *kind) for n, kind in enumerate(kinds, 1))
    return RunSummary("20261125T031220-abcd", events)


def results() -> Iterator[str]:
    """Yield the sentence of each decision that the probes lead to."""
    from ops.core.plan import Plan

    plan: Plan[None] = Plan("Worker fortunet-api: 0ffae05a → 2c8b7e91", (), details=None)
    for decision in Decision:
        for before in Verdict:
            for wrote in (True, False):
                if decision not in {Decision.REFUSED, Decision.FAILED, Decision.UNKNOWN_OUTCOME, Decision.INTERRUPTED}:
                    said = describe_decision(decision, before, plan, wrote=wrote, after=NO_OBSERVATION)
                    yield f"{decision}, {before} before, {'sent' if wrote else 'nothing sent'}: {said}"


def helps(command: click.Command, name: str) -> Iterator[str]:
    yield f"{name}: {command.help or ''}"
    for option in command.params:
        if isinstance(option, click.Option):
            yield f"  {option.opts[0]}: {option.help or ''}"
    if isinstance(command, click.Group):
        context = click.Context(command, info_name=name)
        for each in command.list_commands(context):
            found = command.get_command(context, each)
            if found:
                yield from helps(found, f"{name} {each}")


def sheet() -> Iterator[str]:
    yield "# Every message of a bad night\n\n## Results"
    yield from results()
    yield "\n## Heading of the comment, and chat"
    for about, heading, chat in endings():
        yield f"{about}\n  {heading}\n  {chat}"
    for title, calls in (("Errors and refusals", None), ("Plans", PLANS), ("Events", {"event"})):
        yield f"\n## {title}"
        for message in messages():
            is_event = "event" in message.texts
            kind = {"event"} if is_event else (PLANS if message.call in PLANS else None)
            if kind == calls and message.texts:
                yield f"{message.where} {message.call}"
                yield from (f"  {name}: {text}" for name, text in message.texts.items())
    yield "\n## Checks of doctor"
    yield from (f"{each.id}: {each.question} {each.why}" for each in CHECKS)
    yield "\n## Help"
    yield from helps(cli, "ops")
    for folder in (".github/ISSUE_TEMPLATE", ".github/workflows"):
        yield f"\n## {folder}"
        for path in sorted((ROOT / folder).glob("*.yml")):
            with allowed():
                lines = [line.strip() for line in path.read_text().splitlines()]
            said = [line for line in lines if line.startswith(("description:", "name:"))]
            yield from (f"{path.name}: {line}" for line in dict.fromkeys(said) if line)
    yield "\n## Templates"
    for path in sorted((ROOT / "templates").glob("*.j2")):
        yield f"### {path.name}\n{path.read_text()}"


def main() -> None:
    for line in sheet():
        print(line)


if __name__ == "__main__":
    main()
