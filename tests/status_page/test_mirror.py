"""A page that the team has: the same updates on Statuspage and Instatus, each once, against strict fakes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ops.config.status_page import StatusPageConfig
from ops.core.public_update import AffectedComponent, ComponentCondition, PublicState, PublicUpdate
from ops.status_page.mirror import MirrorOutcome, list_provider_components, mirror_update
from sandbox import Sandbox
from sandbox.hosted_pages.page import HostedPage

KEY = "canary-key-of-the-page"
AT = datetime(2026, 11, 25, 3, 10, tzinfo=UTC)
DEGRADED, MAJOR, FINE = ComponentCondition.DEGRADED, ComponentCondition.MAJOR_OUTAGE, ComponentCondition.OPERATIONAL


@dataclass
class Place:
    """A bakery's page at one provider."""

    sandbox: Sandbox
    page: HostedPage
    config: StatusPageConfig
    words: dict[str, str]
    """Our word → the provider's."""

    @property
    def host(self) -> str:
        return {"statuspage": "api.statuspage.io", "instatus": "api.instatus.com"}[self.config.provider or ""]

    @property
    def environ(self) -> dict[str, str]:
        return {**self.sandbox.environ(), "PAGE_KEY": KEY}

    def publish(self, update: PublicUpdate, *earlier: PublicUpdate, **environ: str) -> MirrorOutcome:
        return mirror_update({**self.environ, **environ}, self.config, [*earlier, update], update)

    def fault(self, **rule: Any) -> None:
        self.sandbox.edge_fault(host=self.host, **rule)

    @property
    def writes(self) -> int:
        return sum(each.method != "GET" for each in self.page.requests)


WORDS = {
    "statuspage": {
        **{each.value: each.value for each in PublicState},
        "degraded": "degraded_performance",
        "major_outage": "major_outage",
        "operational": "operational",
        "under_maintenance": "under_maintenance",
    },
    "instatus": {
        **{each.value: each.value.upper() for each in PublicState},
        "scheduled": "NOTSTARTEDYET",
        "in_progress": "INPROGRESS",
        "under_maintenance": "UNDERMAINTENANCE",
        "degraded": "DEGRADEDPERFORMANCE",
        "major_outage": "MAJOROUTAGE",
        "operational": "OPERATIONAL",
    },
}


@pytest.fixture(params=["statuspage", "instatus"])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    config = StatusPageConfig.model_validate(
        {
            "url": "https://status.bakery.example",
            "title": "Bakery status",
            "provider": request.param,
            "page_id": "pagebakery1",
            "token": "PAGE_KEY",
            "components": (
                {"name": "Shop", "services": ("shop",), "id": "compshop1"},
                {"name": "Orders", "services": ("orders",), "id": "comporder1"},
            ),
        }
    )
    with Sandbox(virtual_clock=True) as sandbox:
        sandbox.clock.set(AT)
        provider = getattr(sandbox, request.param)
        page = provider.add_page(
            "pagebakery1", KEY, {"compshop1": "Shop", "comporder1": "Orders", "other12345": "Blog"}
        )
        yield Place(sandbox, page, config, WORDS[request.param])


def make_update(number: int, state: str = "investigating", *, text: str = "", **more: Any) -> PublicUpdate:
    condition = more.pop("condition", MAJOR)
    names = more.pop("names", ("Shop",))
    return PublicUpdate(
        id=f"{number:012x}",
        incident=more.pop("incident", "a1b2c3d4e5f6"),
        state=PublicState(state),
        components=tuple(AffectedComponent(name, condition) for name in names),
        text=text or f"We are at step {number}.",
        at=more.pop("at", AT + timedelta(minutes=5 * (number - 1))),
        number=number,
        **more,
    )


@pytest.mark.parametrize("public_id", ["a1b2c3d4e5f6", "912345678901"])
def test_updates_of_an_incident_appear_once_and_in_order(place: Place, public_id: str) -> None:
    """A random public id of hexadecimal digits may have no letter."""
    course = [
        make_update(1, incident=public_id),
        make_update(2, "identified", names=("Shop", "Orders"), incident=public_id),
        make_update(3, "resolved", condition=FINE, incident=public_id),
    ]
    for end, update in enumerate(course, 1):
        assert place.publish(update, *course[: end - 1]) == MirrorOutcome(was_written=True)
        assert place.publish(update, *course[: end - 1]) == MirrorOutcome()
    assert place.page.shown == [(place.words["resolved"], [(place.words[each.state], each.text) for each in course])]
    assert place.writes == len(course)
    assert {*place.page.states.values()} == {place.words["operational"]}
    incident = place.page.incidents[0]
    assert incident.name == "Problems with Shop"
    assert all(update.notify for update in incident.updates)
    assert place.sandbox.unknown_requests == []


def test_components_have_the_worst_condition_of_all_incidents(place: Place) -> None:
    other = make_update(1, names=("Shop", "Orders"), incident="b1b2c3d4e5f6", condition=DEGRADED)
    first, last = make_update(1, condition=MAJOR), make_update(2, "resolved", condition=FINE)
    place.publish(other)
    place.publish(first, other)
    assert place.page.states["compshop1"] == place.words["major_outage"]
    place.publish(last, other, first)
    assert place.page.states == {
        "compshop1": place.words["degraded"],
        "comporder1": place.words["degraded"],
        "other12345": place.words["operational"],
    }
    assert len(place.page.incidents) == 2


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("effect", [{"lost": "after"}, {"status": 502, "applied": True}, {"truncate": 5}])
def test_a_lost_answer_is_found_again(place: Place, number: int, effect: dict[str, Any]) -> None:
    course = [make_update(1), make_update(2, "identified")]
    for update in course[: number - 1]:
        place.publish(update)
    place.fault(method="POST" if number == 1 or place.config.provider == "instatus" else "PATCH", **effect)
    outcome = place.publish(course[number - 1], *course[: number - 1])
    assert outcome == MirrorOutcome(was_written=True)
    assert [len(each.updates) for each in place.page.incidents] == [number]


@pytest.mark.parametrize("effect", [{"lost": "before"}, {"status": 500}, {"status": 408}])
def test_an_unclear_write_is_not_repeated_until_the_next_press(place: Place, effect: dict[str, Any]) -> None:
    place.fault(method="POST", **effect)
    assert "unclear" in place.publish(make_update(1)).problem
    assert place.page.incidents == []
    assert place.publish(make_update(1)) == MirrorOutcome(was_written=True)
    assert len(place.page.incidents) == 1


def test_an_unreadable_page_is_never_written(place: Place) -> None:
    place.publish(make_update(1))
    for body in (b"<html>busy</html>", b"[7]", b"null", b"{}", b"[" * 100_000):
        place.fault(method="GET", body=body, status=200)
        assert "unclear" in place.publish(make_update(2, "identified"), make_update(1)).problem
    assert place.writes == 1


def test_refusals_name_the_cause_and_change_nothing(place: Place) -> None:
    cases: dict[str, tuple[Callable[[], MirrorOutcome], str]] = {
        "a revoked key": (lambda: place.publish(make_update(1), PAGE_KEY="an-old-key"), "PAGE_KEY"),
        "no key": (lambda: place.publish(make_update(1), PAGE_KEY=""), "PAGE_KEY"),
        "a broken key": (lambda: place.publish(make_update(1), PAGE_KEY="a b"), "PAGE_KEY"),
        "markup": (
            lambda: place.publish(make_update(1, text="<script>alert(1)</script> [a](javascript:b)")),
            "< > [ ]",
        ),
        "maintenance without times": (
            lambda: place.publish(make_update(1, "scheduled", condition=None)),
            "start and end",
        ),
    }
    for name, (press, cause) in cases.items():
        problem = press().problem
        assert cause in problem, name
        assert KEY not in problem
    place.config = place.config.model_copy(update={"page_id": "pageofothers"})
    assert place.publish(make_update(1)).problem
    assert place.page.incidents == []


def test_words_of_a_refusal_are_harmless_and_short(place: Place) -> None:
    said = f"\x1b[2Jname can't be blank\r\n\u202e{'x' * 10_000}"
    place.fault(method="POST", status=422, body=said)
    problem = place.publish(make_update(1)).problem
    assert "(422): [2Jname can't be blank xxx" in problem
    assert problem.isprintable()
    assert len(problem) < 250


def test_an_id_of_the_provider_stays_within_its_path(place: Place) -> None:
    place.publish(make_update(1))
    place.page.incidents[0].id = "../../pages/other"
    assert place.publish(make_update(2, "identified"), make_update(1)).problem
    changes = [each.path for each in place.page.requests if each.method != "GET"]
    assert len(changes) == 2
    assert "..%2F..%2Fpages%2Fother" in changes[1]


def test_an_older_update_never_hides_a_newer_one(place: Place) -> None:
    first, second, third = make_update(1), make_update(2, "identified"), make_update(3, "monitoring")
    place.publish(first)
    place.publish(third, first, second)
    assert "newer" in place.publish(second, first, third).problem
    assert place.page.shown[0][0] == place.words["monitoring"]


def test_an_update_that_failed_does_not_hold_back_the_next(place: Place) -> None:
    first, second = make_update(1), make_update(2, "identified", text="The same words.")
    place.fault(method="POST", status=503)
    assert place.publish(first).problem
    assert place.publish(second, first) == MirrorOutcome(was_written=True)
    assert place.publish(second, first) == MirrorOutcome()
    assert place.page.shown == [(place.words["identified"], [(place.words["identified"], "The same words.")])]


def test_two_updates_within_a_second_are_both_kept(place: Place) -> None:
    first, second = make_update(1, text="One."), make_update(2, text="Two.", at=AT)
    place.publish(first, second)
    place.publish(second, first)
    assert [text for _, text in place.page.shown[0][1]] == ["One.", "Two."]


def test_incidents_of_others_stay_as_they_are(place: Place) -> None:
    course = [make_update(number, incident=f"{number:012x}", names=("Orders",)) for number in range(1, 131)]
    for update in course:
        assert place.publish(update).was_written
        place.sandbox.clock.advance(5)
    before = place.writes
    assert place.publish(course[-1]) == MirrorOutcome()
    assert place.publish(course[0]) == MirrorOutcome()
    assert (place.writes, len(place.page.incidents)) == (before, 130)


def test_maintenance_is_planned_begun_and_completed(place: Place) -> None:
    times: dict[str, Any] = {"starts": AT + timedelta(days=1), "ends": AT + timedelta(days=1, hours=2)}
    course = [
        make_update(1, "scheduled", condition=None, **times),
        make_update(2, "in_progress", condition=ComponentCondition.MAINTENANCE),
        make_update(3, "completed", condition=FINE),
    ]
    states = []
    for end, update in enumerate(course, 1):
        assert place.publish(update, *course[: end - 1]) == MirrorOutcome(was_written=True)
        assert place.publish(update, *course[: end - 1]) == MirrorOutcome()
        states.append(place.page.states["compshop1"])
    incident = place.page.incidents[0]
    assert (incident.starts, incident.ends, incident.name) == (times["starts"], times["ends"], "Maintenance of Shop")
    assert [each.status for each in incident.updates] == [place.words[each.state] for each in course]
    assert states == [place.words[each] for each in ("operational", "under_maintenance", "operational")]


def test_requests_beyond_the_rate_limit_are_refused_and_told(place: Place) -> None:
    if place.config.provider == "instatus":
        place.fault(method="*", status=429, times=None)  # no limit is documented
    else:
        while not place.publish(make_update(1)).problem:
            pass
    assert "too many requests" in place.publish(make_update(2, "identified"), make_update(1)).problem
    place.sandbox.edge_faults.clear()
    place.sandbox.clock.advance(61)
    assert place.publish(make_update(2, "identified"), make_update(1)).problem == ""


def test_a_key_leaves_only_for_the_provider_or_a_sandbox(place: Place) -> None:
    for changed in ({"OPS_EDGE_URL": "https://evil.example"}, {"OPS_EDGE_URL": ""}):
        assert "OPS_EDGE_URL" in place.publish(make_update(1), **changed).problem
    outside = {"PAGE_KEY": KEY, "OPS_EDGE_URL": place.sandbox.edge_url}
    assert mirror_update(outside, place.config, [], make_update(1)).problem
    assert place.page.requests == []


def test_components_are_listed_by_reads_only(place: Place) -> None:
    listed = list_provider_components(place.environ, place.config)
    assert listed == {"compshop1": "Shop", "comporder1": "Orders", "other12345": "Blog"}
    assert place.writes == 0


def test_a_page_of_our_own_has_no_provider(place: Place) -> None:
    own = {"provider": None, "page_id": None, "token": None}
    place.config = place.config.model_copy(update=own)
    assert place.publish(make_update(1)) == MirrorOutcome()


def test_metadata_is_found_whether_it_is_merged_or_replaced(place: Place) -> None:
    switches = place.sandbox.switches
    for merged in (True, False):
        switches.statuspage_metadata_merged = merged
        switches.status_page_oldest_first = not merged
        switches.statuspage_limit_status = 429 if merged else 420
        begun = AT + timedelta(hours=merged)
        course = [
            make_update(number, incident=f"{merged:012x}", at=begun + timedelta(minutes=number)) for number in (1, 2, 3)
        ]
        for end, update in enumerate(course, 1):
            place.publish(update, *course[: end - 1])
        assert place.publish(course[0], *course[1:]) == MirrorOutcome()
    assert [len(each.updates) for each in place.page.incidents] == [3, 3]
