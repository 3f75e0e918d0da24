"""`ops remove-banner`: after the last public update of an incident its banner goes, in a bakery; others stay."""

import json
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.conftest import ACCOUNT, Outcome, World
from tests.status_page.desk import Desk, open_desk
from tests.support.configurations import BAKERY, with_banner
from tests.support.switches import NAMESPACE, PERMISSIONS, PUT

KEY = "ops/switch/banner"
TOKEN = "baking"


@dataclass(frozen=True)
class Bakery:
    """A desk, and the shop that shows the banner of its incident."""

    desk: Desk

    @property
    def world(self) -> World:
        return self.desk.world

    @property
    def state(self) -> str:
        return str(json.loads(self.world.sandbox.kv.get(NAMESPACE, KEY) or "{}").get("state"))

    @property
    def writes(self) -> int:
        return len([each for each in self.world.sandbox.requests if each.method == "PUT"])

    def run(self, *arguments: str, waits: bool = True) -> Outcome:
        """Run a command as a job with the token of the bakery. KV shows a write everywhere after a minute."""
        self.world.sandbox.clock.advance(60 if waits else 0)
        where = ["--environment", "live", "--config", str(self.world.config), "--yes"]
        environ = {**self.world.sandbox.github.environ(), "BAKERY_TOKEN": TOKEN, "CLOUDFLARE_API_TOKEN": None}
        return self.world.ops(*arguments, *where, **environ)

    def show(self, incident: int | None, *, waits: bool = True) -> Outcome:
        of = ["--incident", str(incident)] if incident else []
        return self.run("feature", "--name", "banner", "--state", "identified", *of, waits=waits)

    def remove(self, *, waits: bool = True) -> Outcome:
        return self.run("remove-banner", waits=waits)


def open_bakery(world: World) -> Bakery:
    desk = open_desk(world)
    world.config.write_text(with_banner(BAKERY.read_text(), NAMESPACE).replace("5d" * 16, ACCOUNT))
    sandbox = world.sandbox
    sandbox.switches.kv_staleness_seconds = sandbox.switches.propagation_seconds = 0
    sandbox.kv.add(NAMESPACE)
    sandbox.add_token(TOKEN, PERMISSIONS)
    sandbox.route("shop.bakery.example", "bakery-shop")
    declared = {"limits": {}, "switches": {"banner": {"normal": "off", "on_unknown": "off"}}}
    bound = [{"type": "kv_namespace", "name": "OPS_RUNTIME", "namespace_id": NAMESPACE}]
    version = sandbox.upload(
        "bakery-shop", code="shop", bindings=bound, behaviour={"runtime": declared, "paths": {"/up": {"status": 200}}}
    )
    sandbox.deploy("bakery-shop", version)
    return Bakery(desk)


@pytest.fixture
def bakery(world: World) -> Bakery:
    made = open_bakery(world)
    done = made.show(made.desk.incident)
    assert (done.code, made.state, made.writes) == (0, "identified", 1), done.err
    return made


def test_banner_goes_once_its_incident_is_resolved(bakery: Bakery) -> None:
    desk = bakery.desk
    assert (desk.put_label("status:identified").code, desk.outputs.get("over")) == (0, None)
    assert (bakery.remove().code, bakery.state) == (0, "identified")
    assert (desk.put_label("status:resolved").code, desk.outputs["over"]) == (0, "true")
    done = bakery.remove()

    assert (done.code, bakery.state, bakery.writes) == (0, "off", 2), done.err
    assert "remove-banner" in desk.answers[-2]
    undo = f"ops feature --environment live --incident {desk.incident} --name banner --state identified"
    assert undo in done.out
    assert desk.put_label("status:resolved").code == 0
    assert desk.outputs["over"] == "true"
    comments = len(desk.answers)
    assert (bakery.remove().code, bakery.writes, len(desk.answers)) == (0, 2, comments)


def test_lost_answer_of_the_write_removes_the_banner_once(bakery: Bakery) -> None:
    bakery.desk.put_label("status:resolved")
    bakery.world.sandbox.fault(**PUT, lost="after")
    comments = len(bakery.desk.answers)
    done = bakery.remove()
    assert (done.code, bakery.state, len(bakery.desk.answers)) == (0, "off", comments + 1), done.err


def test_banner_that_kv_still_hides_goes_too(world: World) -> None:
    bakery = open_bakery(world)
    bakery.world.sandbox.switches.kv_api_staleness_seconds = 60
    assert bakery.show(bakery.desk.incident, waits=False).code == 0
    bakery.desk.put_label("status:resolved")
    assert (bakery.remove(waits=False).code, bakery.state) == (0, "off")


def test_banner_goes_when_a_maintenance_is_completed(bakery: Bakery) -> None:
    bakery.desk.press("in progress")
    assert bakery.desk.press("completed").code == 0
    assert (bakery.remove().code, bakery.state) == (0, "off")


def _edit(bakery: Bakery) -> None:
    bakery.desk.put_label("status:resolved")
    hub, number = bakery.world.sandbox.github, bakery.desk.incident
    hub.edit_comment(number, hub.issue(number).comments[-1].id, hub.issue(number).comments[-1].body + " ", "ben")


def _relapse(bakery: Bakery) -> None:
    bakery.desk.put_label("status:resolved")
    bakery.desk.put_label("status:investigating")


@pytest.mark.parametrize("arrange", [lambda _: None, _relapse, _edit], ids=["no update", "relapse", "edited record"])
def test_banner_stays_without_a_trusted_end(bakery: Bakery, arrange: Callable[[Bakery], object]) -> None:
    arrange(bakery)
    assert (bakery.remove().code, bakery.state, bakery.writes) == (0, "identified", 1)


def test_banner_of_another_incident_stays(bakery: Bakery) -> None:
    other = bakery.world.sandbox.github.open_issue("Orders are late", "", ["incident"], "anna")
    assert bakery.show(other).code == 0
    bakery.desk.put_label("status:resolved")

    assert (bakery.remove().code, bakery.state) == (0, "identified")
    assert (bakery.remove().code, bakery.writes) == (0, 3)


def test_banner_without_an_incident_stays(world: World) -> None:
    bakery = open_bakery(world)
    done = bakery.show(None)
    assert done.code == 0, done.out
    bakery.desk.put_label("status:resolved")
    assert (bakery.remove().code, bakery.state) == (0, "identified")


def test_banner_stays_if_github_cannot_be_read(bakery: Bakery) -> None:
    bakery.desk.put_label("status:resolved")
    bakery.world.sandbox.github.fault(method="GET", path="/repos/**", status=503, times=None)
    assert (bakery.remove().code, bakery.state) == (4, "identified")
