"""Render the recovery menu: the comment on each incident that lists its recoveries."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ops.core.names import CHECK_OUTAGE
from ops.core.run_record import RunRecord, embed_record
from ops.github.comments import MAX_TEXT
from ops.github.issues import MENU
from ops.render import code_span, collapse_blank_lines, load_templates


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
class MenuParts:
    """Parts of a menu. A menu has the head, the sections of one or all services, and the foot."""

    head: str
    sections: dict[str, str]
    """Service → its recoveries."""
    foot: str

    def render(self, services: Iterable[str]) -> str:
        """Return the menu of these services; of all, if none of them is known."""
        known = [name for name in services if name in self.sections] or [*self.sections]
        text, left_out = self.head, []
        for name in known:
            if len(text) + len(self.sections[name]) > MAX_TEXT:
                left_out.append(name)
            else:
                text += "\n\n" + self.sections[name]
        more = f"\n\nToo long for one comment, and left out: {', '.join(left_out)}." if left_out else ""
        return embed_record(f"{text}{more}\n\n{self.foot}", RunRecord(MENU, source=MENU))

    def to_json(self) -> dict[str, Any]:
        """Return the parts as lists of lines. The hidden record ends the foot."""
        foot = embed_record(self.foot, RunRecord(MENU, source=MENU))
        sections = {name: text.splitlines() for name, text in self.sections.items()}
        return {"head": self.head.splitlines(), "sections": sections, "foot": foot.splitlines()}


def render_section(service: str, rows: Sequence[MenuRow], variables: str, page: str) -> str:
    """Return the recoveries of a service.

    `variables`: those that the commands need, with their places. `page`: URL of the operations repository.
    """
    template = load_templates().get_template("menu.md.j2")
    text = template.render(service=service, rows=rows, variables=variables, page=page)
    return collapse_blank_lines(text).strip()


def render_head(number: str, *, has_labels: bool, responders: Sequence[str] = ()) -> str:
    """Return the start of the menu. `responders`: those of the whole file; empty: everyone with write access."""
    who = f" Only {', '.join(map(code_span, responders))} may start them." if responders else ""
    start = "Add a label to this issue. Or open" if has_labels else "Open"
    return (
        f"### Recover\n\n{start} a link, press **Run workflow**, choose the values named here, and type `{number}` as "
        f"incident.{who}\n\n"
        f"Our fault or an outage? Add the label **`{CHECK_OUTAGE}`**, or press the button of that name. It only reads."
    )


def render_foot(program: str, number: str) -> str:
    return f'Add manual steps to the timeline, in UTC: `{program} incident note {number} "13:05 text"`'
