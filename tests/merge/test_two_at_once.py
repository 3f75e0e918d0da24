"""Two labels, automatic steps or watches at one instant: one pauses before a call, and the other one runs completely."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from ops.core.errors import Decision
from ops.core.run_record import read_record
from ops.watch.judgment import WatchResult
from sandbox.faults import Fault
from tests.conftest import Incident, Outcome, World, job_environ
from tests.gate.conftest import job
from tests.gate.support import Job
from tests.gate.test_label import add_two_labels
from tests.support.in_process import answered_in_process
from tests.support.relapse import Relapse
from tests.support.shop import Shop
from tests.watch.test_automatic_step import relapse
from tests.watch.test_watch import incident, shop, watch

__all__ = ["incident", "job", "relapse", "shop"]


@contextmanager
def before_call(world: World, nth: int, run: Callable[[], object]) -> Iterator[list[object]]:
    """Run something right before the nth call to Cloudflare or GitHub. Yield a list that gets its result.

    The call waits for it, so none takes a socket, whose timeout a busy machine could reach. If another thread makes that
    call, the next one of this thread waits: both commands would go on else, and share streams and variables.
    """
    left, results, is_busy = nth, list[object](), False
    waiting = threading.current_thread()

    def count() -> None:
        nonlocal left, is_busy
        if is_busy or results:
            return
        left -= 1
        if left <= 0 and threading.current_thread() is waiting:
            is_busy = True
            results.append(run())
            is_busy = False

    sandbox = world.sandbox
    faults = [
        place.add(Fault(method="*", path="**", times=None, is_prompt=True, before=count))
        for place in (sandbox.faults, sandbox.github.faults)
    ]
    with answered_in_process():
        yield results
    for each in faults:
        each.remove()


@pytest.mark.sampled(4)
@pytest.mark.parametrize("nth", range(1, 10))
def test_two_labels_at_once_are_both_refused(job: Job, nth: int) -> None:
    """The gates of both run in any order, the last time one after the other. Neither accepts, and no label stays."""
    first, second = add_two_labels(job)
    first = {**first, "issue": {**first["issue"], "labels": second["issue"]["labels"]}}  # GitHub adds both, then tells

    with before_call(job.world, nth, lambda: job.gate(second).code) as other:
        one = job.gate(first)
    codes = {one.code, *other} if other else {one.code, job.gate(second).code}

    assert not other or nth < 9, "a gate sends more requests"
    assert codes == {3}, one.err
    assert not {"recover:api-on", "recover:api-off"} & set(job.labels)


@pytest.mark.sampled(6)
@pytest.mark.parametrize("nth", range(1, 43, 2))
def test_two_automatic_steps_at_once_are_one_step_back(relapse: Relapse, nth: int) -> None:
    """Two jobs of one relapse, the last time one alone. Both may deploy the next older version, and none a further one."""
    shop, relapsed = relapse.shop, relapse.deployment

    with before_call(shop.world, nth, lambda: relapse.step(relapsed=relapsed, run=7002)) as other:
        one = relapse.step(relapsed=relapsed)

    assert not other or nth < 41, "a step sends more requests"
    outcomes = [one, *(each for each in other if isinstance(each, Outcome))]
    assert shop.live == {shop.old: 100}
    assert 0 in {each.code for each in outcomes}
    for each in outcomes:
        assert each.code in {0, 3, 4}, each.err
        assert each.code == 0 or each.result["reason"] in {"world_moved", "no_automatic_step"}, each.result
        assert each.code != 3 or "nothing was changed" in each.result["message"]


@pytest.mark.sampled(3)
@pytest.mark.parametrize("nth", range(1, 23, 3))
def test_two_reports_at_once_leave_one_report(shop: Shop, incident: Incident, nth: int) -> None:
    """GitHub's lists are behind both of them. The one that came later closes its own report, and says why."""
    hub, number = incident.github, str(incident.number)
    rolled_back = ("rollback-worker", "--service", "web", "--environment", "live", "--yes", "--incident", number)
    assert shop.ops(*rolled_back, **job_environ(hub)).code == 0

    def report() -> Outcome:
        return shop.ops("incident", "report", number, **job_environ(hub))

    with before_call(shop.world, nth, report) as other:
        results = [report()]
    results += [each for each in other if isinstance(each, Outcome)]

    assert [each.code for each in results] == [0, 0]
    first, *others = (issue for issue in hub.issues if issue.find_label("post-incident"))
    assert first.state == "open"
    assert all(each.out.startswith(f"#{first.number} ") for each in results)
    assert [(each.state, f"#{first.number}" in each.comments[0].body) for each in others] in ([], [("closed", True)])


@pytest.mark.sampled(3)
@pytest.mark.parametrize("nth", range(1, 13))
def test_two_watches_at_once_say_the_same(shop: Shop, incident: Incident, nth: int) -> None:
    """Two runners start a watch of one service. Both may end it, with one word, and neither leaves it open."""
    with before_call(shop.world, nth, lambda: watch(shop, incident.number)) as other:
        results = [watch(shop, incident.number)]
    results += [each for each in other if isinstance(each, WatchResult)]

    assert len(results) == 2
    assert Decision.MITIGATED in {each.decision for each in results} <= {Decision.MITIGATED, Decision.NOTHING_TO_DO}
    records = [record for body in incident.bodies if (record := read_record(body)) and record.source == "watch"]
    assert {each.decision for each in records} == {"mitigated"}
    assert len(records) <= 2
