"""`ops label`: start on a laptop the recovery that a label starts."""

import json

import pytest

from ops import cli
from ops.core.run_record import read_record
from tests.conftest import World
from tests.support.shop import Shop, open_shop

LABELS = """\
labels:
  recover:web: {runbook: rollback-worker, environment: live, params: {service: web, reason: a broken cart}}
  recover:docs: {runbook: rollback-pages, environment: live, params: {service: docs}}
  recover:none: {runbook: rollback-worker, environment: live, params: {service: gone}}
"""


@pytest.fixture
def shop(world: World) -> Shop:
    opened = open_shop(world)
    with world.config.open("a") as file:
        file.write(LABELS)
    return opened


@pytest.mark.parametrize("label", ["recover:web", "Recover:WEB"])
def test_label_runs_its_recovery(shop: Shop, label: str) -> None:
    """A broken label beside it does not matter."""
    hub = shop.world.sandbox.github
    hub.add_user("alice")
    number = hub.open_issue("The cart fails", "", ["incident"], "alice")

    done = shop.ops("label", label, "--incident", str(number), "--yes", "--json", **hub.environ())

    assert (done.code, done.result["decision"]) == (0, "recovered"), done.err
    assert (done.result["runbook"], done.result["environment"]) == ("rollback-worker", "live")
    assert shop.live == {shop.good: 100}
    (body,) = [comment.body for comment in hub.issue(number).comments]
    record = read_record(body)
    assert record is not None
    assert record.decision == "recovered"
    assert "a broken cart" in body


def test_label_asks_like_its_runbook(shop: Shop) -> None:
    """Without a terminal and without --yes it is a dry run."""
    done = shop.ops("label", "recover:web", "--incident", "1", "--json")

    assert (done.code, done.result["decision"], shop.live) == (9, "planned", {shop.bad: 100})


@pytest.mark.parametrize(
    ("label", "reason", "said"),
    [
        ("recover:wbe", "unknown_label", '"recover:web"'),
        ("recover:$(id)", "unknown_label", "recover:docs, recover:web"),
        ("recover:none", "config_invalid", "recover:none"),
    ],
)
def test_unusable_label_is_refused(shop: Shop, label: str, reason: str, said: str) -> None:
    done = shop.ops("label", label, "--incident", "1", "--yes", "--json")

    assert (done.code, json.loads(done.out)["reason"]) == (2, reason)
    assert said in done.err
    assert shop.live == {shop.bad: 100}


def test_label_needs_an_incident(shop: Shop) -> None:
    assert shop.ops("label", "recover:web", "--yes").code == 2
    assert shop.live == {shop.bad: 100}


def test_interrupted_label_is_described_like_its_runbook() -> None:
    """Outside of a run, neither has changed anything."""
    _, *of_label = cli.describe_interrupted(["label", "recover:web", "--incident", "1"])
    _, *of_runbook = cli.describe_interrupted(["rollback-worker", "--service", "web"])

    assert of_label == of_runbook
