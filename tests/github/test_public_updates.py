"""Updates of one incident and of all: only those count that our workflow wrote and nobody edited."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from ops.core.public_update import PublicUpdate
from ops.core.redaction import Redactor
from ops.core.run_record import RecordRules, RunRecord, embed_record
from ops.github.client import connect
from ops.github.comments import BOT
from ops.github.public_updates import read_incident_updates, read_updates
from sandbox import Sandbox
from sandbox.github import GitHub
from tests.core.test_public_update import FIRST, SECOND, update

FILE = "publish-update.yml"
RULES = RecordRules({f".github/workflows/{FILE}", ".github/workflows/incident.yml"}, ("mai",))


@dataclass(frozen=True)
class Board:
    """A repository of a bakery with one incident."""

    hub: GitHub
    incident: int

    def publish(self, written: PublicUpdate, *, run: int = 0, incident: int = 0, by: str = BOT) -> int:
        run = run or self.hub.add_run(FILE, conclusion="success")
        record = RunRecord(f"{run}.1-abcd", source="update", update=written.to_json())
        return self.hub.comment(incident or self.incident, embed_record("An update.", record), by)

    def read(self) -> list[PublicUpdate]:
        """Return the updates of the incident, which both readers must give."""
        repository = connect(self.hub.environ(), Redactor(), read_only=True)
        one = read_incident_updates(repository.get_issue(self.incident), RULES)
        every = read_updates(repository, RULES)
        assert one == tuple(each for each in every if each.incident == FIRST)
        return [*one]


@pytest.fixture
def board(world: object) -> Board:
    sandbox: Sandbox = world.sandbox  # type: ignore[attr-defined]
    hub = sandbox.github
    for login in ("mai", "dana"):
        hub.add_user(login)
    hub.add_user("other[bot]", kind="Bot")
    return Board(hub, hub.open_issue("Orders of @dana fail on shop-1", "", ["incident"], "mai"))


def test_updates_are_read_in_order(board: Board) -> None:
    written = [update("investigating", 1), update("identified", 2), update("resolved", 3)]
    for each in written:
        board.publish(each)
    assert board.read() == written


def test_update_of_a_run_that_goes_on_counts(board: Board) -> None:
    board.publish(update(), run=board.hub.add_run(FILE))
    board.publish(update(number=2), run=board.hub.add_run(FILE, conclusion="failure"))
    assert board.read() == [update(), update(number=2)]


def test_one_update_counts_once(board: Board) -> None:
    board.publish(update())
    board.publish(update())
    assert board.read() == [update()]


FORGERIES: dict[str, Callable[[Board], object]] = {
    "edited by a responder": lambda board: board.hub.edit_comment(
        board.incident, board.publish(update()), board.hub.issue(board.incident).comments[-1].body + " ", "mai"
    ),
    "written by a responder": lambda board: board.publish(update(), by="mai"),
    "written by another bot": lambda board: board.publish(update(), by="other[bot]"),
    "written by another workflow": lambda board: board.publish(update(), run=board.hub.add_run("triage.yml")),
    "written on a branch": lambda board: board.publish(update(), run=board.hub.add_run(FILE, branch="dana/fix")),
    "of a run that GitHub deleted": lambda board: board.publish(update(), run=99),
}


@pytest.mark.parametrize("forge", FORGERIES.values(), ids=FORGERIES)
def test_forged_update_does_not_count(board: Board, forge: Callable[[Board], object]) -> None:
    forge(board)
    assert board.read() == []


def test_edited_json_does_not_count(board: Board) -> None:
    run = RunRecord(f"{board.hub.add_run(FILE)}.1-abcd", source="update", update={"id": "1", "components": "Shop"})
    board.hub.comment(board.incident, embed_record("An update.", run), BOT)
    assert board.read() == []


def test_sixty_incidents_take_few_requests(board: Board) -> None:
    board.hub.add_commit("Publish", "mai", files={f".github/workflows/{FILE}": "on: workflow_dispatch\njobs: {}\n"})
    for number in range(60):
        incident = board.hub.open_issue("Cart fails", "", ["incident"], "mai")
        written = replace(update(incident=SECOND), id=f"{number:012x}", incident=f"{number + 10:012x}")
        board.publish(written, incident=incident)
    repository = connect(board.hub.environ(), Redactor(), read_only=True)
    before = len(board.hub.requests)
    assert len(read_updates(repository, RULES)) == 60
    assert len(board.hub.requests) - before <= 4


def test_incident_with_over_a_hundred_comments_is_read_alone(board: Board) -> None:
    for _ in range(101):
        board.hub.comment(board.incident, "Still looking.", "mai")
    board.publish(update())
    assert board.read() == [update()]
