"""Render the recovery menu: the comment on each incident that lists its recoveries.

A menu of many services shows those first that fail their probes or changed within the hour. The others are folded.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ops.core.names import CHECK_OUTAGE
from ops.core.outage import LiveSigns, ServiceSigns
from ops.core.recent_change import RecentChanges
from ops.core.run_record import RunRecord, embed_record
from ops.core.verdict import Verdict
from ops.github.comments import MAX_TEXT
from ops.github.issues import INCIDENT, MENU
from ops.render import code_span, collapse_blank_lines, load_templates

WHOLE, SHORT = 8_000, 4_000
"""Characters of the longest menu with every recovery of all services; and of the longest other menu."""
MOST_NAMES = 1_200
"""Characters of the names of services in a short menu."""
MOST_PLACES = 3
"""Places of an unknown sign that are named."""
MOST_LIKELY = 8
"""Services that a short menu shows with their recoveries."""


@dataclass(frozen=True)
class MenuStart:
    """A way to start a recovery: labels, a button and a command with the same parameters."""

    labels: tuple[str, ...]
    runbook: str
    chosen: tuple[tuple[str, str], ...]
    """Fields of the button with several options, and the option to choose."""
    typed: tuple[tuple[str, str], ...]
    """Fields of the button to fill in, besides the incident."""
    command: str
    approval: str = ""
    """Button by which another person approves it; empty if nobody must."""
    responders: tuple[str, ...] = ()
    """People who may start it, if a list of its own narrows the responders."""
    is_for_nobody: bool = False
    """Whether its lists of responders have no common login."""

    @property
    def title(self) -> str:
        """Return the workflow with the options to choose, such as `maintenance: state off`."""
        chosen = ", ".join(f"{name} {value}" for name, value in self.chosen)
        return f"{self.runbook}: {chosen}" if chosen else self.runbook

    def address(self, page: str) -> str:
        return f"{page}/actions/workflows/{self.runbook}.yml"


@dataclass(frozen=True)
class MenuRow:
    """A symptom, and each way to start the recovery for it."""

    when: str
    starts: Sequence[MenuStart]


@dataclass(frozen=True)
class MenuSection:
    """Recoveries of a service in some environments."""

    service: str
    environments: tuple[str, ...]
    rows: Sequence[MenuRow]
    variables: str
    """Variables that its commands need, with their places."""


@dataclass(frozen=True)
class RecoveryMenu:
    """The recoveries of an incident, and what was seen of the services when it was made."""

    number: str
    """Number of the incident."""
    program: str
    page: str
    """URL of the operations repository."""
    sections: Sequence[MenuSection]
    """One for each service."""
    likely: Sequence[MenuSection] = ()
    """One for each service in one environment that may be the cause, most likely first."""
    responders: Sequence[str] = ()
    """Those of the whole file; empty: everyone with write access."""
    signs: LiveSigns | None = None
    """None: nothing was read."""
    note: str = ""
    """Answer to a name that ops.yml does not have."""
    recent: RecentChanges | None = None
    """Changes in the hour before the incident; None if nothing was read."""

    def render(self, services: Iterable[str] = ()) -> str:
        """Return the menu of these services; of all, if none of them is known."""
        names = {*services}
        known = [each for each in self.sections if each.service in names]
        text = self._render_whole(known or self.sections)
        return text if len(text) <= (MAX_TEXT if known else WHOLE) else self._render_short(known or self.sections)

    def _render_whole(self, sections: Sequence[MenuSection]) -> str:
        """Return every recovery, also as commands. If a service is likely, the others are folded."""
        order = list(dict.fromkeys(each.service for each in self.likely))
        likely = sorted((each for each in sections if each.service in order), key=lambda e: order.index(e.service))
        others = [each for each in sections if each not in likely]
        return self._render_menu(shown=likely or others, folded=others if likely else [])

    def _render_short(self, sections: Sequence[MenuSection]) -> str:
        """Return the likely services, as many as fit, and the names of the others."""
        names = dict.fromkeys(each.service for each in sections)
        likely = [each for each in self.likely if each.service in names]
        shown = min(len(likely), MOST_LIKELY)
        if shown == 1 and len(text := self._render_first(1, likely, names, is_whole=True)) <= SHORT:
            return text
        while len(text := self._render_first(shown, likely, names)) > SHORT and shown:
            shown -= 1
        return text

    def _render_first(
        self, shown: int, likely: Sequence[MenuSection], names: Iterable[str], *, is_whole: bool = False
    ) -> str:
        """Return a menu with the first likely services. `is_whole`: with all their recoveries."""
        first, rest = likely[:shown], [each.service for each in likely[shown:]]
        others = [name for name in dict.fromkeys([*rest, *names]) if name not in {each.service for each in first}]
        parts = {"shown": first} if is_whole else {"likely": first}
        return self._render_menu(**parts, hidden=len(rest), others=others)

    @property
    def calm(self) -> str:
        """Return what was checked, if nothing is likely to be the cause; "" if nothing was read."""
        if self.signs is None or self.likely:
            return ""
        seen = self.signs.services.values()
        healthy = sum(each.verdict == Verdict.HEALTHY for each in seen)
        changes = "" if any(each.recent_deployment is None for each in seen) else "; no deployment within the hour"
        return f"{healthy} of {len(seen)} pass their probes now ({self.signs.read_at:%H:%M} UTC){changes}."

    def _render_menu(self, **parts: Any) -> str:
        starts = [start for each in self.sections for row in each.rows for start in row.starts]
        text = (
            load_templates()
            .get_template("menu.md.j2")
            .render(
                menu=self,
                has_labels=any(start.labels for start in starts),
                check=CHECK_OUTAGE,
                incident=INCIDENT,
                unseen=list(_unseen_lines(self.signs)),
                **{"shown": (), "folded": (), "likely": (), "hidden": 0, "others": (), **parts},
            )
        )
        return embed_record(collapse_blank_lines(text).strip(), RunRecord(MENU, source=MENU))

    def states(self, section: MenuSection) -> list[str]:
        """Return the states of the service: in the environments of the section, and in others where it is likely."""
        if self.signs is None:
            return []
        is_place = section in self.likely
        states = (
            (environment, _describe_signs(signs, self.signs.read_at))
            for (environment, service), signs in self.signs.services.items()
            if service == section.service
            and (environment in section.environments or (signs.is_likely and not is_place))
        )
        return [f"{environment}: {state}" for environment, state in states if state]

    def names(self, services: Sequence[str]) -> str:
        """Return the names, as many as a short menu can show."""
        shown, length = 0, 0
        for name in services:
            length += len(name) + len(", ``")
            shown += length <= MOST_NAMES
        more = f" and {len(services) - shown} more" if len(services) > shown else ""
        return ", ".join(map(code_span, services[:shown])) + more


def _describe_signs(signs: ServiceSigns, at: datetime) -> str:
    """Return what was seen of a service; "" if nothing was."""
    verdicts = {Verdict.UNHEALTHY: "fails its probes now", Verdict.HEALTHY: "passes its probes now"}
    health = f"{verdicts[signs.verdict]} ({at:%H:%M} UTC)" if signs.verdict in verdicts else ""
    return "; ".join(filter(None, (health, signs.recent_deployment)))


def _unseen_lines(signs: LiveSigns | None) -> Iterator[str]:
    """Yield what is unknown, with its reason and some of the places."""
    for what, places in signs.unseen if signs else ():
        named = [f"{service} in {environment}" for environment, service in places[:MOST_PLACES]]
        more = f" and {len(places) - MOST_PLACES} more" if len(places) > MOST_PLACES else ""
        yield f"{what}: {', '.join(named)}{more}"
