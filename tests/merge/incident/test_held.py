"""What an incident holds: live at Cloudflare, else as its runs recorded it, and the difference of both."""

import pytest

from ops.core.incident_state import HELD
from tests.conftest import Incident, World
from tests.support.held_states import KINDS, HeldState


def show(incident: Incident, **environ: str | None) -> tuple[set[str], list[str]]:
    """Return kind and sort of source of each held state, and what the records say and the live state does not."""
    shown = incident.show("--json", **environ).result
    held = {f"{each['kind']} {each['source'].split()[0].strip(',')}" for each in shown["held"]}
    return held, [each["why"] for each in shown["unknown"] if each["what"] == HELD and "run record" in each["why"]]


def press(incident: Incident, place: HeldState, *, holds: bool) -> None:
    done = place.press(incident.number, holds=holds, more=(), **incident.github.environ())
    assert done.code == 0, done.err


@pytest.mark.sampled(2)  # one of maintenance and one of switches: records and texts know these two
@pytest.mark.parametrize("kind", KINDS)
def test_held_state_is_live_else_recorded_and_a_difference_is_named(world: World, kind: str) -> None:
    with KINDS[kind](world) as place:
        hub = world.sandbox.github
        hub.add_user("alice")
        incident = Incident(world, hub.open_issue("Down", "", ["incident"], "alice"))
        other = hub.open_issue("Another", "", ["incident"], "alice")
        name = "maintenance" if kind in {"routes", "site"} else "switches"
        missing = dict.fromkeys(place.environ, None)
        assert show(incident, **place.environ)[0] == set()

        press(incident, place, holds=True)
        assert show(incident, **place.environ) == ({f"{name} live"}, [])
        assert show(incident, **missing)[0] == {f"{name} run"}

        press(incident, place, holds=False)
        assert show(incident, **place.environ) == (set(), [])
        assert show(incident, **missing)[0] == set()

        press(Incident(world, other), place, holds=True)
        press(incident, place, holds=True)
        press(incident, place, holds=False)
        shown = incident.show("--json", **place.environ).result
        assert (place.is_held(), shown["held"]) == (True, [])
        assert any(f"#{other}" in each["why"] for each in shown["unknown"])

        press(incident, place, holds=True)
        done = place.press(other, holds=False, more=("--accept-owners", str(incident.number)), **hub.environ())
        assert done.code == 0, done.err
        held, differences = show(incident, **place.environ)
        assert (held, len(differences)) == (set(), 1)
