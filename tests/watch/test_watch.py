"""Watch a shop: relapse, mitigation, another runner, foreign deployments, and no data."""

import re
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from itertools import pairwise
from typing import Any

import pytest

from ops.app.scope import Place
from ops.core.errors import Decision, Reason
from ops.core.redaction import Redactor
from ops.core.run_record import read_record
from ops.github.comments import BOT
from ops.watch.judgment import WatchResult
from ops.watch.start import WatchPlace, watch_services
from tests.conftest import Incident, Outcome, World, job_environ
from tests.support.shop import WORKER, Shop, open_shop
from tests.support.users import send_requests

RIGHTS = ["Workers Scripts Read", "Pages Read", "Account Analytics Read"]
TWENTY_MINUTES, HALF_HOUR = timedelta(minutes=20), timedelta(minutes=30)


class Killed(BaseException):
    """The runner is gone."""


@pytest.fixture
def shop(world: World) -> Shop:
    """A shop that was rolled back just now; its analytics are without delay and samples."""
    found = open_shop(world)
    world.sandbox.switches.propagation_seconds = 0
    world.sandbox.deploy(WORKER, found.good, author="mai@shop.example")
    world.sandbox.clock.advance(60)
    return found


@pytest.fixture
def incident(shop: Shop) -> Incident:
    shop.world.sandbox.github.add_user("mai")
    return Incident(shop.world, shop.world.sandbox.github.open_issue("Cart fails", "", ["incident"], "mai"))


def at_round(actions: dict[int, Callable[[], object]]) -> Callable[[WatchResult], None]:
    """Return a listener that does something after a number of rounds."""

    def listen(result: WatchResult) -> None:
        actions.get(len(result.state.rounds), lambda: None)()

    return listen


def watch(shop: Shop, number: int | None = None, service: str = "web", **given: Any) -> WatchResult:
    """Watch in this process for twenty minutes; `actions`: number of rounds → what happens after them."""
    sandbox = shop.world.sandbox
    environ = {**sandbox.environ(), **job_environ(sandbox.github), "SHOP_TOKEN": sandbox.add_token("watcher", RIGHTS)}
    (result,) = watch_services(
        [WatchPlace(Place("live", service), number)],
        shop.world.config,
        environ,
        Redactor(),
        duration=given.get("duration", TWENTY_MINUTES),
        on_round=at_round(given.get("actions", {})),
    )
    return result


def kill() -> None:
    raise Killed


def fail(shop: Shop) -> Callable[[], object]:
    return lambda: shop.world.sandbox.deploy(WORKER, shop.bad, author="bot@shop.example")


def command(shop: Shop, *arguments: str, number: int = 1, **environ: str) -> Outcome:
    github = shop.world.sandbox.github.environ()
    return shop.ops("watch", "--service", "web", "--incident", str(number), *arguments, **{**github, **environ})


def serve(shop: Shop) -> Callable[[], object]:
    """Return a function that sends requests of users."""
    return partial(send_requests, shop.world.sandbox.edge_url, "web.shop.example", "/cart", 120)


@pytest.mark.slow
def test_healthy_service_is_mitigated_since_its_first_healthy_round(shop: Shop, incident: Incident) -> None:
    began, cpu = shop.world.sandbox.clock.now(), time.process_time()

    outcome = command(shop, "--json")

    assert outcome.code == 0, outcome.err
    assert (outcome.result["decision"], outcome.result["reason"]) == ("mitigated", "verified")
    assert outcome.result["mitigated_at"] == outcome.result["started_at"]
    assert outcome.result["rounds"] == "h" * 60
    assert shop.world.sandbox.clock.now() - began >= HALF_HOUR
    assert time.process_time() - cpu < 10  # the machine may be loaded, and the sandbox is in this process
    (body,) = incident.bodies
    assert "web in live is mitigated: healthy since" in body
    assert shop.world.writes() == []


@pytest.mark.slow
def test_relapse_is_found_in_four_minutes_and_reopens_the_incident(shop: Shop, incident: Incident) -> None:
    issue = shop.world.sandbox.github.issue(incident.number)

    def relapse() -> None:
        shop.world.sandbox.edge_fault(path="/cart", status=500, times=None)
        issue.state = "closed"

    found = watch(shop, incident.number, actions={8: relapse})

    assert (found.decision, found.reason, found.exit_code) == (Decision.RELAPSED, Reason.RELAPSED, 7)
    assert found.state.rounds == "h" * 8 + "u" * 8
    assert found.state.foreign == ()
    assert issue.state == "open"
    watched, notice = incident.bodies
    assert "relapsed: probes: 8 of 8 rounds failed since " in watched
    assert "cart unhealthy: status 500, wanted 200" in watched
    assert "ops rollback-worker --service web" in notice
    assert "mermaid" not in notice
    assert shop.world.writes() == []


def test_killed_watch_is_continued_without_a_gap(shop: Shop, incident: Incident) -> None:
    with pytest.raises(Killed):
        watch(shop, incident.number, actions={10: kill})

    assert "web in live: watching until" in incident.bodies[0]
    assert "If this line is older than five minutes" in incident.bodies[0]
    assert "ops watch --service web" in incident.bodies[0]

    found = watch(shop, incident.number)

    assert found.state.rounds == "h" * 40
    assert len(incident.bodies) == 1
    record = read_record(incident.bodies[0])
    assert record is not None
    assert [row.kind for row in record.rows] == ["requested", "verified", "ended"]


@pytest.mark.slow
def test_late_continuation_shows_the_time_without_probes(shop: Shop, incident: Incident) -> None:
    with pytest.raises(Killed):
        watch(shop, incident.number, actions={10: kill})
    shop.world.sandbox.clock.advance(95)

    found = watch(shop, incident.number)

    assert found.state.rounds == "h" * 10 + ".." + "h" * 28
    assert found.judgment.green_since == found.state.time_of(12)
    assert "38 healthy, 2 not probed" in incident.bodies[0]


@pytest.mark.parametrize("options", [(), ("--incident", "1")], ids=["all incidents", "one incident"])
def test_stopped_watch_is_found_and_continued(shop: Shop, incident: Incident, options: tuple[str, ...]) -> None:
    sandbox = shop.world.sandbox
    with pytest.raises(Killed):
        watch(shop, incident.number, actions={5: kill})
    early = shop.ops("watch", "--stopped", *options, **sandbox.github.environ())
    sandbox.clock.advance(331)
    sandbox.github.issue(incident.number).state = "closed"

    done = shop.ops("watch", "--stopped", *options, **sandbox.github.environ())
    again = shop.ops("watch", "--stopped", *options, **sandbox.github.environ())

    assert (done.code, "MITIGATED" in done.out) == (0, True), done.err
    assert re.search("(30|70) healthy, 10 not probed", incident.bodies[0])
    assert [each.out for each in (early, again)] == ["No watch has lost its runner.\n"] * 2


def test_watch_of_a_stranger_or_of_no_service_is_not_continued(shop: Shop, incident: Incident) -> None:
    hub = shop.world.sandbox.github
    with pytest.raises(Killed):
        watch(shop, incident.number, actions={10: kill}, duration=HALF_HOUR)
    (comment,) = hub.issue(incident.number).comments
    shop.world.sandbox.clock.advance(600)
    hub.add_user("zoe", "read")
    hub.comment(incident.number, comment.body, "zoe")
    hub.issue(incident.number).comments.remove(comment)

    done = shop.ops("watch", "--stopped", **hub.environ())

    assert (done.code, done.out) == (0, "No watch has lost its runner.\n")


@pytest.mark.slow
@pytest.mark.parametrize(("minutes_without", "seen", "rounds"), [(40, 31, 120), (54, 3, 120), (80, 1, 170)])
def test_watch_that_lost_its_runner_is_extended_once(
    shop: Shop, incident: Incident, minutes_without: int, seen: int, rounds: int
) -> None:
    """A runner that begins after the end looks once."""
    with pytest.raises(Killed):
        watch(shop, incident.number, actions={10: kill}, duration=HALF_HOUR)
    shop.world.sandbox.clock.advance(60 * minutes_without)

    found = watch(shop, incident.number)

    assert found.state.rounds == "h" * 10 + "." * (rounds - 10 - seen) + "h" * seen
    if seen < 27:
        assert (found.decision, found.exit_code) == (Decision.NO_EVIDENCE, 8)
    else:
        assert (found.decision, found.judgment.green_since) == (Decision.MITIGATED, found.state.time_of(120 - seen))
    assert "Extended once to " in incident.bodies[0]


def test_share_that_may_fail_unseen_is_a_plain_number(shop: Shop, incident: Incident) -> None:
    """Two rounds of an hour had a runner, and the second one failed."""
    with pytest.raises(Killed):
        watch(shop, incident.number, actions={5: kill}, duration=HALF_HOUR)
    shop.world.sandbox.clock.advance(60 * 80)
    fail(shop)()

    found = watch(shop, incident.number)

    assert (found.decision, found.state.rounds[-1]) == (Decision.NO_EVIDENCE, "u")
    assert "up to 100 % of the rounds" in incident.bodies[0]


@pytest.mark.slow
def test_two_watches_become_one(shop: Shop, incident: Incident) -> None:
    def start_another() -> None:
        with pytest.raises(Killed):
            watch(shop, incident.number, actions={6: kill})

    found = watch(shop, incident.number, actions={3: start_another})

    assert (found.decision, found.reason) == (Decision.NOTHING_TO_DO, Reason.CONTINUED_ELSEWHERE)
    assert found.exit_code == 0
    assert len(incident.bodies) == 1


@pytest.mark.sampled(3)
@pytest.mark.parametrize("sleeps_at", range(1, 17))
def test_runner_that_wakes_up_overwrites_no_decision(shop: Shop, incident: Incident, sleeps_at: int) -> None:
    """Its machine was suspended in a round; another runner went on with the watch to its end, and saw a relapse."""
    ends = list[str]()

    def sleep() -> None:
        fail(shop)()
        other = watch(shop, incident.number)
        assert other.decision == Decision.RELAPSED
        ends.append(incident.bodies[0])
        shop.world.sandbox.deploy(WORKER, shop.good, author="mai@shop.example")

    found = watch(shop, incident.number, actions={sleeps_at: sleep})

    assert (found.decision, found.reason) == (Decision.NOTHING_TO_DO, Reason.CONTINUED_ELSEWHERE)
    assert incident.bodies[0] == ends[0]
    assert len(incident.bodies) == 2, "the watch and the notice of the relapse"


@pytest.mark.slow
def test_watch_on_a_newer_incident_replaces_the_older_one(shop: Shop, incident: Incident) -> None:
    hub = shop.world.sandbox.github
    other = hub.open_issue("Cart fails again", "", ["incident"], "mai")

    def start_another() -> None:
        old = incident.bodies[0]

        def overwrite() -> None:
            hub.issue(incident.number).comments[0].body = old

        shop.world.sandbox.clock.advance(1)
        with pytest.raises(Killed):
            watch(shop, other, actions={1: overwrite, 2: overwrite, 6: kill})

    found = watch(shop, incident.number, actions={3: start_another})

    assert (found.decision, found.reason) == (Decision.NOTHING_TO_DO, Reason.CONTINUED_ELSEWHERE)
    (body,) = incident.bodies
    assert body.startswith(f"### web in live: a newer watch of it continues on #{other}")
    record = read_record(body)
    assert record is not None
    assert (record.decision, record.rows[-1].kind) == ("nothing_to_do", "ended")
    assert watch(shop, other).decision == Decision.MITIGATED


def test_early_relapse_on_a_newer_incident_is_published(shop: Shop, incident: Incident) -> None:
    """Its first rounds write the end of the older watch."""
    with pytest.raises(Killed):
        watch(shop, incident.number, actions={2: kill})
    hub = shop.world.sandbox.github
    second = hub.open_issue("Cart fails again", "", ["incident"], "mai")
    shop.world.sandbox.deploy(WORKER, shop.bad, author="bot@shop.example")

    found = watch(shop, second)

    assert (found.decision, len(found.state.rounds), found.is_published) == (Decision.RELAPSED, 5, True)
    record = read_record(hub.issue(second).comments[0].body)
    assert record is not None
    assert record.decision == "relapsed"


@pytest.mark.slow
def test_watch_of_another_service_goes_on(shop: Shop, incident: Incident) -> None:
    shop.world.site(timedelta(0), "docs")
    other = shop.world.sandbox.github.open_issue("Docs fail", "", ["incident"], "mai")

    watch_docs = partial(watch, shop, other, service="docs", duration=timedelta(minutes=2))

    found = watch(shop, incident.number, actions={3: watch_docs})

    assert found.decision == Decision.MITIGATED


@pytest.mark.slow
def test_foreign_deployment_is_named_and_stops_automatic_steps(shop: Shop, incident: Incident) -> None:
    found = watch(shop, incident.number, actions={5: fail(shop)})

    assert found.decision == Decision.RELAPSED
    (foreign,) = found.state.foreign
    assert "by bot@shop.example" in foreign.text
    assert "Foreign deployment, so no automatic step follows" in incident.bodies[0]
    assert "Ask the author of the newer deployment first" in incident.bodies[1]


@pytest.mark.slow
def test_rehearsal_is_no_newer_deployment(shop: Shop, incident: Incident) -> None:
    message = f"ops1 incident=42 run=20261124T030500-beef blames=- rehearsed={shop.old}"
    splits = ({shop.good: 100, shop.old: 0}, {shop.good: 100})
    steps = [partial(shop.world.sandbox.deploy, WORKER, split, message=message) for split in splits]

    found = watch(shop, incident.number, actions=dict(enumerate(steps, 3)), duration=timedelta(minutes=5))

    assert found.decision == Decision.MITIGATED
    assert found.state.newer == ()


def test_mark_of_a_rehearsal_that_moves_traffic_is_a_foreign_deployment(shop: Shop, incident: Incident) -> None:
    """Somebody forged it, or a rehearsal restored the deployment of somebody else."""
    message = f"ops1 incident=42 run=20261124T030500-beef blames=- rehearsed={shop.old}"
    step = partial(shop.world.sandbox.deploy, WORKER, shop.old, message=message)

    found = watch(shop, incident.number, actions={3: step}, duration=timedelta(minutes=5))

    assert len(found.state.foreign) == 1


@pytest.mark.slow
def test_secret_in_a_deployment_is_masked(shop: Shop, incident: Incident) -> None:
    secret = shop.world.sandbox.github.environ()["GITHUB_TOKEN"]

    found = watch(
        shop, incident.number, actions={3: lambda: shop.world.sandbox.deploy(WORKER, shop.old, author=secret)}
    )

    assert len(found.state.foreign) == 1
    assert secret not in str(found) + "".join(incident.bodies)


def test_site_is_watched_by_its_probes(shop: Shop) -> None:
    shop.world.site(timedelta(0), "docs")

    found = watch(shop, service="docs")

    assert found.decision == Decision.RELAPSED  # its live deployment lost the text
    assert "for a site" in found.notes[0]


@pytest.mark.slow
def test_minute_has_at_most_four_calls(shop: Shop, incident: Incident) -> None:
    sandbox = shop.world.sandbox
    counts: list[int] = []

    def count() -> None:
        counts.append(len(sandbox.requests) + len(sandbox.github.requests))

    watch(shop, incident.number, actions=dict.fromkeys(range(2, 20, 2), count))

    minutes = [after - before for before, after in pairwise(counts)]
    assert len(minutes) == 8
    assert max(minutes) <= 4


def test_outage_of_github_does_not_end_the_watch(shop: Shop, incident: Incident) -> None:
    hub = shop.world.sandbox.github

    found = watch(
        shop,
        incident.number,
        actions={30: lambda: hub.fault(path="/repos/**", status=503, times=None)},
    )

    assert found.decision == Decision.MITIGATED
    assert any("not up to date" in note for note in found.notes)


@pytest.mark.slow
def test_end_is_sent_again_after_an_outage(shop: Shop, incident: Incident) -> None:
    hub = shop.world.sandbox.github

    found = watch(shop, incident.number, actions={20: lambda: hub.fault(path="/repos/**", status=503, times=2)})

    assert (found.decision, found.is_published) == (Decision.MITIGATED, True)
    assert "is mitigated" in incident.bodies[0]


def test_lost_answer_makes_no_second_comment(shop: Shop, incident: Incident) -> None:
    path = "/repos/**/issues/*/comments"
    incident.github.fault(method="POST", path=path, sends="watching until", lost="after")
    incident.github.fault(method="POST", path=path, sends="relapsed:", lost="after")

    found = watch(shop, incident.number, actions={2: fail(shop)})

    assert (found.decision, found.is_published) == (Decision.RELAPSED, True)
    records = [read_record(body) for body in incident.bodies]
    assert [each.decision if each else "notice" for each in records] == ["relapsed", "notice"]


def test_refused_edit_of_our_own_comment_makes_no_second_one(shop: Shop, incident: Incident) -> None:
    """The next edit succeeds; a second comment would leave an open watch behind, which would be continued."""
    hub = shop.world.sandbox.github
    edits = {"method": "PATCH", "path": "/repos/**/issues/comments/*", "status": 403}

    found = watch(shop, incident.number, actions={5: lambda: hub.fault(**edits)})

    assert (found.decision, found.is_published, len(incident.bodies)) == (Decision.MITIGATED, True, 1)


@pytest.mark.slow
def test_without_a_token_the_probes_decide(shop: Shop, incident: Incident) -> None:
    done = command(shop, "--json", "--for", "20m", SHOP_TOKEN="")

    assert done.code == 0, done.err
    assert done.result["decision"] == "mitigated"
    assert any("SHOP_TOKEN is not set" in note for note in done.result["notes"])


@pytest.mark.slow
def test_record_of_a_stranger_is_not_continued(shop: Shop, incident: Incident) -> None:
    with pytest.raises(Killed):
        watch(shop, incident.number, actions={10: kill})
    hub = shop.world.sandbox.github
    hub.add_user("zoe", "read")
    hub.comment(incident.number, incident.bodies[0].replace("hhhhhhhhhh", "uuuuuuuuuu"), "zoe")

    assert watch(shop, incident.number).state.rounds == "h" * 40


def edit_by_maintainer(shop: Shop, incident: Incident, old: str, new: str) -> None:
    hub = shop.world.sandbox.github
    comment = hub.issue(incident.number).comments[0]
    assert old in comment.body
    hub.add_user("mallory", "maintain")
    hub.edit_comment(incident.number, comment.id, comment.body.replace(old, new), "mallory")


@pytest.mark.parametrize("workflow", ["edited", "triage.yml"])
def test_forged_state_is_not_continued(shop: Shop, incident: Incident, workflow: str) -> None:
    """A maintainer edits it, or another workflow posts it as the same bot."""
    with pytest.raises(Killed):
        watch(shop, incident.number, actions={10: kill})
    forged = incident.bodies[0].replace("hhhhhhhhhh", "uuuuuuuuuu")
    hub = shop.world.sandbox.github
    if workflow == "edited":
        edit_by_maintainer(shop, incident, "hhhhhhhhhh", "uuuuuuuuuu")
    else:
        number = hub.add_run(workflow)
        hub.issue(incident.number).comments.clear()
        hub.comment(incident.number, re.sub('"job":"[^"]+"', f'"job":"{number}.1"', forged), BOT)

    found = watch(shop, incident.number)

    assert (found.decision, found.state.rounds) == (Decision.MITIGATED, "h" * 40)


@pytest.mark.parametrize(
    ("old", "new"),
    [('"decision":""', '"decision":"mitigated"'), ('"newer":[]', f'"newer":[],"usual_failures":{10**400}')],
    ids=["ended", "unusable"],
)
def test_forged_state_does_not_stop_a_watch(shop: Shop, incident: Incident, old: str, new: str) -> None:
    """A maintainer edits its comment, such as that it ended: the watch reads that, goes on, and finds the relapse."""

    def end() -> None:
        edit_by_maintainer(shop, incident, old, new)

    found = watch(shop, incident.number, actions={7: end, 8: fail(shop)})  # the eighth round reads its comment

    assert found.decision == Decision.RELAPSED
    assert len(found.state.rounds) > 8


def test_watch_of_the_former_release_begins_again_in_its_comment(shop: Shop, incident: Incident) -> None:
    """Release 0.1.1 named no workflow run, so another workflow could have written its state."""
    with pytest.raises(Killed):
        watch(shop, incident.number, actions={10: kill})
    comment = shop.world.sandbox.github.issue(incident.number).comments[0]
    comment.body = re.sub(',"job":"[^"]+"', "", comment.body.replace("hhhhhhhhhh", "uuuuuuuuuu"))

    found = watch(shop, incident.number)

    assert (found.decision, found.state.rounds) == (Decision.MITIGATED, "h" * 40)
    assert len(incident.bodies) == 1


@pytest.mark.slow
def test_rounds_of_the_future_are_no_evidence(shop: Shop, incident: Incident) -> None:
    """The runner had a wrong clock."""
    with pytest.raises(Killed):
        watch(shop, incident.number, actions={2: kill})
    incident.github.comment(incident.number, incident.bodies[0].replace("hh", "h" * 20), BOT)

    began = shop.world.sandbox.clock.now()

    found = watch(shop, incident.number)

    assert (found.decision, found.state.rounds) == (Decision.MITIGATED, "h" * 40)
    assert found.state.started_at >= began


@pytest.mark.slow
def test_next_step_after_a_rollback_goes_on_to_an_older_version(shop: Shop, incident: Incident) -> None:
    fail(shop)()
    environ = shop.world.sandbox.github.environ()
    where = ("--service", "web", "--environment", "live", "--incident", str(incident.number))
    assert shop.ops("rollback-worker", *where, "--yes", **environ).code == 0
    shop.world.sandbox.edge_fault(path="/cart", status=500, times=None)
    watch(shop, incident.number)
    step = re.search(r"rollback-worker .*--relapsed \w+", incident.bodies[-1].replace("\\\n", ""))
    assert step, incident.bodies[-1]

    outcome = shop.ops(*step[0].split(), "--yes", **environ)

    assert outcome.code == 6, outcome.err  # the page fails with each version
    assert shop.live == {shop.old: 100}


@pytest.mark.slow
@pytest.mark.usefixtures("one_machine")
def test_recovery_of_a_site_is_watched_from_the_beginning(shop: Shop, incident: Incident) -> None:
    """A rollback makes no newer deployment. The rounds before it say nothing about it."""
    fault = shop.world.sandbox.edge_fault(path="/", host="docs.shop.example", status=500, times=None)
    with pytest.raises(Killed):
        watch(shop, incident.number, "docs", actions={2: kill})
    fault.remove()
    where = ("--service", "docs", "--environment", "live", "--config", str(shop.world.config), "--yes")
    done = incident.rollback_pages(*where, **shop.environ())
    assert done.result["decision"] in {"recovered", "healthy_as_before"}, done.err
    began = shop.world.sandbox.clock.now()

    found = watch(shop, incident.number, "docs")

    assert found.state.started_at >= began
    assert found.state.rounds == 40 * "h"
    assert found.state.foreign == ()


def test_watch_says_which_data_centers_answered(shop: Shop) -> None:
    shop.world.sandbox.deploy(WORKER, shop.good)
    shop.world.sandbox.switches.edge_place = "IAD"

    assert "seen from IAD by this runner" in watch(shop).notes
