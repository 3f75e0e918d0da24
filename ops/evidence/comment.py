"""A collection of exhibits as one comment: a line for each source in sight, the tables folded, within the limit."""

from datetime import datetime

from ops.cloudflare.types.evidence_table import FOUND, NONE_FOUND, NOT_ASKED, Cell, Collection, Exhibit
from ops.publish.comment import BUDGET
from ops.render.markdown import cell, squeezed, templates
from ops.render.terminal import one_line

LONGEST_CELL = 160


def text(collection: Collection) -> str:
    """With as many rows of each table as there is room for."""
    most = max([len(exhibit.rows) for exhibit in collection.exhibits], default=0)
    while len(shown := _text(collection, most)) > BUDGET and most > 0:
        most = most * 3 // 4
    return shown


def _text(collection: Collection, most: int) -> str:
    template = templates().get_template("evidence.md.j2")
    return squeezed(template.render(collection=collection, most=most, outcome=outcome, shown=_shown))


def outcome(exhibit: Exhibit) -> str:
    """What became of the question, in words of ours."""
    if exhibit.outcome == FOUND:
        return f"{len(exhibit.rows)} found"
    if exhibit.outcome in {NONE_FOUND, NOT_ASKED}:
        return exhibit.outcome
    return "not kept for so long"


def lines(collection: Collection) -> list[str]:
    """The same for a terminal: one line for each source, and below it why it could not be asked."""
    told = []
    for exhibit in collection.exhibits:
        told.append(f"{exhibit.title}: {outcome(exhibit)}{_reach(exhibit)}")
        if exhibit.why:
            told.append(f"  {one_line(exhibit.why)}; it needs the permission {exhibit.permission}")
    return told


def _reach(exhibit: Exhibit) -> str:
    return f" (nothing is known of before {exhibit.reaches_to:%Y-%m-%d %H:%M} UTC)" if exhibit.reaches_to else ""


def _shown(value: Cell) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    if value is None or value == "":
        return "–"
    return str(value) if isinstance(value, int) else cell(value, LONGEST_CELL)
