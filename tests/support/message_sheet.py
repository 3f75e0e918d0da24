"""The golden sheet of the messages that people read on a bad night: `tests/messages.json`, and its print for people.

    ./run tests.support.message_sheet

Read it from top to bottom before a release, as a person at 3 a.m. would. `./run pytest TESTS --update-golden` writes
the texts of all places, and the examples that these tests make (docs/decisions/0015-tests-on-the-sandbox.md).
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import click

from ops.cli import cli
from ops.core.run import EndedRun, headline_icon
from ops.publish.chat import chat_message
from ops.setup.doctor.examination import CHECKS
from tests.support.messages import ROOT, Place, Position, places
from tests.support.messages_never_made import NEVER
from tests.support.team_files import allowed

GOLDEN = ROOT / "tests" / "messages.json"
UPDATE = "./run pytest -n0 TESTS --update-golden"
STALE_LENGTH = 120
"""Of a line that names a result which no longer occurs."""
Row = dict[str, Any]
"""Text of each field as the code has it; `example` holds those with inserted values as a run showed them."""


@dataclass
class Record:
    """What the tests of a run made."""

    places: dict[tuple[str, Position], list[dict[str, str]]] = field(default_factory=dict)
    """Kind and position of a call → some texts that it made."""
    results: dict[str, list[str]] = field(default_factory=dict)
    """Runbook and decision → the messages of its results."""
    headings: dict[str, list[str]] = field(default_factory=dict)
    """Runbook and decision → heading of the comment and line in the chat."""

    def add(self, found: Any) -> None:
        for kind, *position, texts in found["places"]:
            self.places.setdefault((kind, Position(*position)), []).extend(texts)
        for name, messages in found["results"].items():
            known = self.results.setdefault(name, [])
            known += [each for each in messages if each not in known]
        self.headings = found["headings"] | self.headings

    def to_json(self) -> Any:
        found = [[kind, *position, texts] for (kind, position), texts in self.places.items()]
        return {"places": found, "results": self.results, "headings": self.headings}

    def has(self, place: Place) -> bool:
        return (place.kind, place.position) in self.places

    def examples(self, place: Place) -> list[dict[str, str]]:
        """Return the texts that the place made, the shortest first."""
        found = self.places.get((place.kind, place.position), [])
        return sorted(found, key=lambda each: (not all(map(str.isprintable, each.values())), len(str(each)), str(each)))


def headings(result: EndedRun) -> list[str]:
    """Return the heading of the run's comment, and its line in the chat."""
    message = chat_message(result)
    return [f"{headline_icon(result)} {result.headline}", message.text if message else ""]


def read() -> tuple[dict[str, Row], dict[str, Row]]:
    """Return the messages and the results of the golden file."""
    found = json.loads(GOLDEN.read_text(encoding="utf-8")) if GOLDEN.exists() else {}
    return found.get("messages", {}), found.get("results", {})


def is_shown(text: str, key: str, field_name: str = "message") -> bool:
    """Whether the text has what the golden file has for this place of the code, with any values, in any case."""
    parts = re.split(r"\{[^{}]*\}", read()[0][key][field_name])
    return re.search(".*".join(map(re.escape, parts)), text, re.IGNORECASE) is not None


def find_differences() -> list[str]:
    """Return how the golden file differs from the code, without a run."""
    golden, _ = read()
    found = {place.key: place for place in places()}
    wrong = [f"{key}: no longer in the code" for key in golden.keys() - found.keys()]
    wrong += [f"NEVER names {key}, which is not in the code" for key in NEVER.keys() - found.keys()]
    for key, place in found.items():
        row = golden.get(key)
        if row is None or texts_of(place) != {name: text for name, text in row.items() if name != "example"}:
            wrong.append(f"{key}, line {place.line}: not as the code has it")
        elif "example" in row and not is_example(place, row["example"]):
            wrong.append(f"{key}, line {place.line}: no example; let TESTS be one that makes this message")
    wrong += [] if list(golden) == sorted(golden) else ["the rows are not sorted"]
    return sorted(wrong)


@dataclass(frozen=True)
class Judgment:
    """What a run of all tests says about the sheet and the code."""

    missing: list[str]
    """Messages that no test made."""
    stale: list[str]
    """What is different by now, without being wrong."""
    has_skipped: bool
    """A skipped test, such as one that needs a browser, makes no messages, which is no fault."""

    @property
    def is_failure(self) -> bool:
        return bool(self.missing) and not self.has_skipped

    def sections(self) -> Iterator[tuple[str, list[str]]]:
        """Yield titles with their lines; what fails the run is last, where the reader of a long log looks first."""
        if self.stale:
            title = "tests/messages.json or tests/support/messages_never_made.py is out of date"
            yield title, [each[:STALE_LENGTH] for each in self.stale]
        if self.missing:
            first = "tests were skipped; else this would fail. " if self.has_skipped else ""
            yield f"{first}messages that no test made: write a test, or remove the message", self.missing


def judge(record: Record, *, has_skipped: bool) -> Judgment:
    """Compare what a run of all tests made with the code and the golden file."""
    return Judgment(find_missing(record), find_stale(record), has_skipped)


def find_missing(record: Record) -> list[str]:
    """Return the messages that a run of all tests did not make."""
    return [f"{place.key}, line {place.line}" for place in places() if place.key not in NEVER and not record.has(place)]


def find_stale(record: Record) -> list[str]:
    """Return what a run of all tests showed to be different by now, without being wrong."""
    _, results = read()
    found = [f"{place.key} is in NEVER" for place in places() if place.key in NEVER and record.has(place)]
    return found + [
        f"{name} never ended so: {row['message']}"
        for name, row in results.items()
        if not _is_among(row["message"], record.results.get(name, []))
    ]


def _is_among(message: str, found: list[str]) -> bool:
    """Whether a run ended with the message, perhaps with other numbers."""
    return re.sub(r"\d+", "0", message) in {re.sub(r"\d+", "0", each) for each in found}


def update(record: Record, *, is_whole: bool) -> None:
    """Write the golden file: texts from the code, examples from the run, and known examples that are still right."""
    golden, results = read()
    messages = {}
    for place in places():
        row: Row = dict(texts_of(place))
        known = golden.get(place.key, {}).get("example", {})
        seen = [_with_values(place, each) for each in record.examples(place)]
        is_stale = is_whole and seen and not any(text.has_words for text in place.texts.values()) and known not in seen
        fitting = [each for each in ([] if is_stale else [known]) + seen if is_example(place, each)]
        if fitting and needs_example(place):
            row["example"] = fitting[0]
        messages[place.key] = row
    for name, found in record.results.items():
        if name not in results or (is_whole and not _is_among(results[name]["message"], found)):
            heading, chat = record.headings[name]
            results[name] = {"message": found[0], "heading": heading, "chat": chat}
    if is_whole:
        results = {name: row for name, row in results.items() if name in record.results}
    content = {"messages": dict(sorted(messages.items())), "results": dict(sorted(results.items()))}
    GOLDEN.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def texts_of(place: Place) -> dict[str, str]:
    return {name: text.shown for name, text in place.texts.items()}


def needs_example(place: Place) -> bool:
    """Whether the code alone does not show what people read."""
    return place.key not in NEVER and any(text.has_values for text in place.texts.values())


def is_example(place: Place, example: Mapping[str, str]) -> bool:
    """Whether the place can make these texts; an empty text is not in an example."""
    return bool(example) and all(
        re.fullmatch(place.texts[name].pattern, text, re.DOTALL)
        for name, text in example.items()
        if name in place.texts
    )


def _with_values(place: Place, example: Mapping[str, str]) -> dict[str, str]:
    return {name: example[name] for name, text in place.texts.items() if text.has_values and name in example}


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


TITLES = {
    "Errors and refusals": ("OpsError", "UsageError", "RefusedRequest"),
    "Plans": ("Plan", "Change", "PlanSection", "RunOutcome"),
    "Findings of doctor": ("Finding",),
    "Events": ("RunEvent",),
}


def sheet() -> Iterator[str]:
    messages, results = read()
    kinds = {place.key: place.kind for place in places()}
    yield "# Every message of a bad night\n\n## Results, as runs of tests ended"
    for name, row in results.items():
        yield f"{name}\n  {row['heading']}\n  {row['message']}\n  chat: {row['chat']}"
    for title, shown in TITLES.items():
        yield f"\n## {title}"
        for key, row in messages.items():
            if kinds.get(key) in shown:
                texts = {
                    name: row.get("example", {}).get(name, text) for name, text in row.items() if name != "example"
                }
                yield "\n".join([key, *(f"  {name}: {_indented(text)}" for name, text in texts.items())])
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


def _indented(text: str) -> str:
    return text.replace("\n", "\n    ")


def main() -> None:
    for line in sheet():
        print(line)


if __name__ == "__main__":
    main()
