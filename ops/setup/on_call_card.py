"""The on-call card: a page of the operations repository and a printable sheet, from ops.yml.

Each symptom of the recovery menu has one entry for all services, so that the card of forty services stays short.
"""

import re
import shlex
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from ops.app.menu import build_menu
from ops.core.clock import format_seconds, unparse_duration
from ops.core.drill_result import DrillTrend
from ops.core.errors import ConfigError
from ops.core.names import CHECK_OUTAGE, STOP_LABEL
from ops.github.actions import repository_page
from ops.render import collapse_blank_lines, load_templates
from ops.setup import team_file
from ops.setup.workflows import FileAction, FileDifference, apply_difference

if TYPE_CHECKING:
    from ops.config import Config
    from ops.config.types import Contact

PAGE, SHEET = "on-call.md", "on-call.html"
"""Files beside ops.yml: for GitHub, and to print."""
NUMBER = "NUMBER"
"""Placeholder for the incident in commands."""
MOST_NAMES = 3
"""Labels or services that an entry names."""
PLACES = frozenset({"service", "environment", "database"})
"""Fields of a button that say where. Entries of several services leave them open."""
DIFFERS = 2
"""Exit code of a card that is out of date."""
_MARK = re.compile(r"<!-- backout:on-call-card config=([0-9a-f]{16}) text=([0-9a-f]{16}) -->\n")


@dataclass(frozen=True)
class CardWay:
    """A button that helps, with its labels and its command."""

    title: str
    """The button with what to choose and to type, such as `maintenance: state on, until 2h`."""
    address: str
    labels: tuple[str, ...]
    services: tuple[str, ...]
    """Services that have it; empty if all have."""
    command: str
    people: str
    """People who may start it, in words, if they differ from those of the whole card; empty if not."""
    approval: str
    """Button by which another person approves it; empty if nobody must."""
    times: str
    """Time of the last drill, and the target."""


@dataclass(frozen=True)
class CardEntry:
    """A symptom, and what to press."""

    when: str
    ways: tuple[CardWay, ...]


@dataclass(frozen=True)
class OnCallCard:
    page: str
    """URL of the operations repository."""
    program: str
    entries: tuple[CardEntry, ...]
    responders: tuple[str, ...]
    """Those of the whole file; empty: everyone with write access."""
    contacts: "tuple[Contact, ...]"
    variables: tuple[str, ...]
    """Variables of a laptop, one line for each environment."""
    approvals: tuple[str, ...]
    """Jobs that wait for a reviewer, one line for each environment."""
    has_labels: bool

    @property
    def places(self) -> Mapping[str, str]:
        """Return fixed names that the templates show."""
        return {"check": CHECK_OUTAGE, "stop": STOP_LABEL, "form": f"{self.page}/issues/new?template=incident.yml"}


def build_card(config: "Config", page: str, drills: DrillTrend | None) -> OnCallCard:
    """Return the card. `drills`: results to take the times from; None without any."""
    program = config.github.laptop_program
    menu = build_menu(config, (program,), NUMBER, page)
    rows = [(section.service, row) for section in menu.sections for row in section.rows]
    entries = []
    for when in dict.fromkeys(row.when for _, row in rows):
        starts = [(service, start) for service, row in rows if row.when == when for start in row.starts]
        kinds = [
            (_describe_card_button(start.runbook, (*start.chosen, *start.typed)), *_list_card_options(start.command))
            for _, start in starts
        ]
        ways = []
        for kind in dict.fromkeys(kinds):
            alike = [each for each, other in zip(starts, kinds, strict=True) if other == kind]
            first, services = alike[0][1], tuple(dict.fromkeys(service for service, _ in alike))
            ways.append(
                CardWay(
                    kind[0],
                    first.address(page),
                    tuple(label for _, start in alike for label in start.labels),
                    services if len(services) < len(config.service_names) else (),
                    _generalize_commands([start.command for _, start in alike]),
                    _describe_people([(start.responders, start.is_for_nobody) for _, start in alike]),
                    first.approval,
                    _describe_recovery_times(config, first.runbook, drills),
                )
            )
        entries.append(CardEntry(when, tuple(ways)))
    return OnCallCard(
        page,
        program,
        tuple(entries),
        config.responders,
        config.contacts,
        tuple(f"{name}: {each.laptop_variables()}" for name, each in config.environments.items()),
        tuple(_list_approvals(config)),
        any(way.labels for entry in entries for way in entry.ways),
    )


def _describe_card_button(runbook: str, fields: Iterable[tuple[str, str]]) -> str:
    options = ", ".join(f"{name} {value}" for name, value in fields if name not in PLACES)
    return f"{runbook}: {options}" if options else runbook


def _list_card_options(command: str) -> list[str]:
    return [word for word in shlex.split(command) if word.startswith("--")]


def _generalize_commands(commands: Sequence[str]) -> str:
    """Return one command for all, which have the same options.

    A value that differs becomes the name of its option, such as `--service SERVICE`.
    """
    split = [shlex.split(each) for each in dict.fromkeys(commands)]
    words = []
    for number, same in enumerate(zip(*split, strict=True)):
        name = split[0][number - 1].removeprefix("--").upper().replace("-", "_")
        words.append(shlex.quote(same[0]) if len({*same}) == 1 else name)
    return " ".join(words)


def _describe_people(lists: Collection[tuple[tuple[str, ...], bool]]) -> str:
    """Return who may start a recovery of some services. Each has its list, and whether nobody may."""
    if len({*lists}) > 1:
        return "responders differ by service: the first comment of the incident names them"
    ((people, is_for_nobody),) = {*lists}
    if is_for_nobody:
        return "nobody: its lists of responders have no common login"
    return f"only {', '.join(people)}" if people else ""


def _describe_recovery_times(config: "Config", runbook: str, drills: DrillTrend | None) -> str:
    """Return how long the last passed drill took, and the target; unknown is said."""
    last, target = drills.find_last(runbook) if drills else None, config.recovery_targets.get(runbook)
    seconds = last.result.verified.seconds if last else None
    taken = "unknown" if drills and drills.problem else "not drilled"
    if last and seconds is not None:
        taken = f"{format_seconds(seconds)} in the drill of {last.result.started:%Y-%m-%d}"
    return f"{taken}; target {unparse_duration(target.recovery)}" if target else taken


def _list_approvals(config: "Config") -> Iterator[str]:
    for name, environment in config.environments.items():
        if environment.approval:
            jobs = ", ".join(environment.approval)
            yield f"{name}: a reviewer of {environment.approval_environment} approves each job of {jobs}"


def render_files(config: "Config", page: str, drills: DrillTrend | None) -> dict[str, str]:
    """Return file name → text of page and sheet.

    The first line holds digests of the card without times, and of the text: an edit by a person shows.
    """
    card = build_card(config, page, drills)
    templates, plain = load_templates(), build_card(config, page, None)
    texts = {}
    for name in (PAGE, SHEET):
        template = templates.get_template(f"{name.replace('on-call', 'on_call_card')}.j2")
        text, without_times = (
            f"{collapse_blank_lines(template.render(card=each, most=MOST_NAMES)).strip()}\n" for each in (card, plain)
        )
        texts[name] = (
            f"<!-- backout:on-call-card config={_card_digest(without_times)} text={_card_digest(text)} -->\n{text}"
        )
    return texts


def _card_digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:16]


def find_card_differences(
    root: Path, config: "Config", environ: Mapping[str, str], drills: DrillTrend | None
) -> list[FileDifference]:
    """Return the files that differ. Times of drills that were not read do not count.

    Raises ConfigError if the name of the repository is unknown.
    """
    page = repository_page(environ)
    if not page:
        hint = "Run it in a checkout of the operations repository, or `export GITHUB_REPOSITORY=OWNER/NAME`."
        raise ConfigError("the card has links to the operations repository, whose name is unknown", hint=hint)
    wanted, has_times = render_files(config, page, drills), drills is not None and not drills.problem
    compared = ((name, team_file.find_text(root / name), text) for name, text in wanted.items())
    found = (_compare_card_file(root / name, old, text, with_times=has_times) for name, old, text in compared)
    return [each for each in found if each]


def _compare_card_file(path: Path, old: str | None, new: str, *, with_times: bool) -> FileDifference | None:
    if old is None:
        return FileDifference(path, FileAction.WRITE, "is missing", desired=new)
    mark, wanted = _MARK.match(old), _MARK.match(new)
    if mark is None:
        return FileDifference(path, FileAction.KEEP, "is a file of yours", old, new)
    is_edited, is_current = mark[2] != _card_digest(old[mark.end() :]), wanted is not None and mark[1] == wanted[1]
    if is_current and (is_edited or not with_times or old == new):
        return None
    if is_edited:
        return FileDifference(path, FileAction.KEEP, "was edited, and is older than ops.yml", old, new)
    why = "has the times of older drills" if is_current else "differs from ops.yml"
    return FileDifference(path, FileAction.WRITE, why, old, new)


def has_card(root: Path) -> bool:
    """Return whether the team keeps a card that we wrote."""
    return any(_MARK.match(team_file.read_text(root / name)) for name in (PAGE, SHEET))


def write_card(
    root: Path,
    config: "Config",
    environ: Mapping[str, str],
    drills: DrillTrend | None,
    *,
    check: bool,
    force: bool,
    echo: Callable[[str], object],
) -> int:
    """Write the files that differ, and return the exit code: 0, or 2 if one differs with `check`, or was kept."""
    differences, is_open = find_card_differences(root, config, environ, drills), False
    for each in differences:
        is_kept = each.action is FileAction.KEEP and not force
        is_open |= check or is_kept
        if not check and not is_kept:
            apply_difference(each)
        verb = "kept" if is_kept else "would write" if check else "written"
        echo(f"{verb}: {each.path.name} ({each.why})")
    program = config.github.laptop_program
    if drills and drills.problem:
        echo(f"The times of the drills are unknown: {drills.problem}")
    if not differences:
        echo("The card is as ops.yml has it.")
    elif is_open:
        kept = any(each.action is FileAction.KEEP for each in differences)
        echo(f"Run `{program} on-call-card{' --force' if kept else ''}`, then commit the files.")
    else:
        echo(f"Commit {PAGE} and {SHEET}. Print {SHEET} from a browser.")
    return DIFFERS if is_open else 0
