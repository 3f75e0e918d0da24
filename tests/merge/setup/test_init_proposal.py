"""Text of a proposed `ops.yml`: no name or answer changes its structure."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ops.config.strict_yaml import read_yaml
from ops.setup.init.proposal import ConfigProposal, EnvironmentProposal, ProbeProposal, ServiceProposal, render_config
from ops.setup.init.resources import Address, Resource
from tests.support.hostile import WORDS

NAMES = st.lists(WORDS, max_size=3).map(tuple)


def read_back(resource: Resource, notes: tuple[str, ...], place: str, contact: str) -> tuple[object, tuple[Any, ...]]:
    """Return the data of the rendered file without place and contact, and those two."""
    probe = ProbeProposal("health", "/health", 200, "application/json", {"status": "ok"}, "version.id")
    service = ServiceProposal("web", resource, Address("https://shop.example"), probe=probe, notes=notes)
    environment = EnvironmentProposal("production", "1a" * 16, (service,))
    document = read_yaml(render_config(ConfigProposal((environment,), "acme/backout", "ops", "x", place, contact)))
    assert (document.problems, document.complete) == ((), True)
    found: Any = document.data
    values = found["environments"]["production"].pop("token_location"), found["contacts"][0].pop("contact")
    return found, values


PLAIN, _ = read_back(Resource("worker", "shop-web", "1a" * 16), (), "safe", "Dana")


@given(secrets=NAMES, stores=NAMES, notes=NAMES, place=WORDS, contact=WORDS)
def test_hostile_text_is_a_comment_or_one_value(
    secrets: tuple[str, ...], stores: tuple[str, ...], notes: tuple[str, ...], place: str, contact: str
) -> None:
    hostile = Resource("worker", "shop-web", "1a" * 16, secrets=secrets, objects=stores, stores=stores)
    found, values = read_back(hostile, notes, place, contact)

    assert found == PLAIN
    assert all(isinstance(value, str) for value in values)


def test_labels_of_long_names_stay_unique() -> None:
    service = ServiceProposal("a" * 36, Resource("worker", "a", "1a" * 16), Address("https://a.example"))
    environments = tuple(EnvironmentProposal(f"account-{n}", f"{n}a" * 16, (service,)) for n in range(4))

    document = read_yaml(render_config(ConfigProposal(environments, labeled={service.name})))

    assert document.problems == ()
    assert all(len(label) <= 50 for label in document.data["labels"])
