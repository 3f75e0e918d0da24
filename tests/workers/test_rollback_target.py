"""Choice of the target over random histories; named ones: test_rollback_worker_target.py."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import assume
from hypothesis import strategies as st

from ops.cloudflare.marks import DeploymentMark
from ops.cloudflare.types.workers import WorkerDeployment, WorkerVersion, leave_out_rehearsals
from ops.workers import rollback_target
from ops.workers.history import WorkerHistory
from tests.support.properties import holds_for
from tests.support.simulated_history import INCIDENTS, as_history, name_of, number_of, pasts
from tests.support.target_reference import MIN_SERVED, Judge, Past

FAST, SLOW = 15, 1500
incidents = st.sampled_from(INCIDENTS)


@pytest.mark.slow
@holds_for(FAST, SLOW, past=pasts)
def test_target_matches_the_reference_rules(past: Past) -> None:
    judge = Judge(past)

    choice = rollback_target.choose_target(as_history(past), incident=None)

    chosen = number_of(choice.candidates[0]) if choice.candidates else None
    assert number_of(choice.suspect) == judge.suspect
    assert chosen == (None if judge.is_undecided() else judge.target())
    if any(not judge.may_have_been_reverted(number_of(candidate)) for candidate in choice.candidates):
        assert not any(judge.may_have_been_reverted(number_of(candidate)) for candidate in choice.candidates)
    for candidate in map(number_of, choice.candidates):  # the others are named to people
        assert not judge.is_blamed(candidate)
        assert judge.served(candidate) >= MIN_SERVED
        assert candidate not in past.undeployable
        assert candidate in judge.live or judge.release(candidate) != judge.release(judge.suspect)
    assert len({judge.release(number_of(c)) for c in choice.candidates}) == len(choice.candidates)


@holds_for(FAST, SLOW, past=pasts, incident=incidents, later=st.sampled_from([0, 29, 30, 31, 1439, 1440]))
def test_active_rollback_matches_the_reference_rules(past: Past, incident: int | None, later: int) -> None:
    past.now += later

    choice = rollback_target.choose_target(as_history(past), incident=incident)

    assert (choice.active_rollback is not None) == Judge(past).stops_a_press(incident)


@pytest.mark.parametrize(
    ("to", "by_rule", "blamed"),
    [
        ("A", True, True),
        ("A", False, True),
        ("A@60,B@40", False, True),
        ("A2", False, True),
        ("A2@60,B@40", False, True),
        ("D", False, False),
        ("A@90,C@10", False, False),
        ("A@90,D@10", False, False),
        ("A@100,D@0", False, True),
        ("A@100,C@0", False, False),
    ],
)
def test_mark_blames_only_if_all_live_versions_are_older(to: str, by_rule: bool, blamed: bool) -> None:
    past = Past()
    numbers = {name: past.upload(name[0]) for name in ("A", "B", "C", "D", "A2")}
    for name in ("A", "B", "C"):
        past.deploy((numbers[name], 100))
    parts = [part.partition("@") for part in to.split(",")]
    split = tuple((name_of(numbers[name]), float(share or 100)) for name, _, share in parts)
    suspect = name_of(numbers["C"])

    assert rollback_target.version_to_blame(as_history(past), suspect, split, by_rule=by_rule) == (
        suspect if blamed else None
    )


def knows_bases_of_secret_edits(past: Past, read: set[int]) -> bool:
    """The release of an edit is unknown if the previous version is neither listed nor deployed (see docs)."""
    seen = {u.number for u in past.uploads if u.number in read or u.number not in past.undeployable}
    return all(u.number - 1 in seen for u in past.uploads if u.secret_edit and u.number in seen)


@pytest.mark.slow
@holds_for(FAST, SLOW, past=pasts, at_once=st.integers(2, 6))
def test_unread_history_never_blames_the_chosen_target(past: Past, at_once: int) -> None:
    read, choice = read_in_batches(past, at_once)
    assume(choice.candidates)
    judge = Judge(past)
    served = {number for row in past.rows for number in row.serving}
    first = {min(judge.members(number) & served, key=judge.start) for number in read & served}
    assume(first <= read)  # see docs: a revert of code not read yet
    assume(not past.assets or knows_bases_of_secret_edits(past, set(read)))

    chosen = number_of(choice.candidates[0])

    assert number_of(choice.suspect) == judge.suspect
    assert judge.may_be_chosen(chosen)


def test_version_blamed_in_unread_history_is_not_chosen() -> None:
    past = Past()
    old, edited = past.upload("a"), past.upload("a", secret_edit=True)
    for number in (old, edited, old):  # the last one takes the edit back
        past.deploy((number, 100))
        past.now += 60
    again, bad = past.upload("a"), past.upload("b")
    for shares in ([(again, 100)], [(bad, 50), (edited, 50)], [(bad, 100)]):
        past.deploy(*shares)
        past.now += 60
    past.undeployable = {again}

    choice = rollback_target.choose_target(as_history(past, read={bad, edited, again}), incident=None)

    assert choice.candidates == ()
    assert rollback_target.choose_target(as_history(past), incident=None).candidates == (name_of(old),)


@pytest.mark.sampled
@pytest.mark.parametrize("page", [None, ()], ids=["unreadable", "empty"])
def test_unreadable_or_empty_page_ends_the_history(
    page: tuple[WorkerDeployment, ...] | None,
) -> None:
    past = Past()
    past.deploy((past.upload("a"), 100))
    history = replace(as_history(past), is_read_to_end=False)

    longer = history.with_older_deployments([page], most=100)

    assert longer.is_read_to_end
    assert ("not be read" in longer.coverage) is (page is None)
    assert longer.deployments == history.deployments


@pytest.mark.slow
@holds_for(FAST, SLOW, past=pasts, size=st.integers(1, 6))
def test_overlapping_pages_equal_one_list(past: Past, size: int) -> None:
    """A deployment between two reads shifts the older ones by one."""
    whole = as_history(past)
    rows = whole.deployments
    pages = [rows[max(0, at - 1) : at + size] for at in range(size, len(rows) + size, size)]

    read = replace(whole, deployments=rows[:size], is_read_to_end=False).with_older_deployments(pages, most=100)

    assert read.deployments == rows


def read_in_batches(past: Past, at_once: int) -> tuple[set[int], rollback_target.TargetChoice]:
    """Read as the runbook does: live versions, then earlier ones, latest first, until a candidate is found."""
    wanted = list(dict.fromkeys(number for row in reversed(past.rows) for number, _ in row.shares))
    for count in range(at_once, len(wanted) + at_once, at_once):
        choice = rollback_target.choose_target(as_history(past, read=wanted[:count]), incident=None)
        if choice.candidates:
            return set(wanted[:count]), choice
    return set(wanted), rollback_target.choose_target(as_history(past, read=wanted), incident=None)


@pytest.mark.slow
@holds_for(
    FAST, SLOW, past=pasts, waits=st.lists(st.sampled_from([0, 5, 29, 31, 600, 3000, 50_000]), min_size=2, max_size=5)
)
def test_incident_writes_at_most_one_rollback(past: Past, waits: list[int]) -> None:
    if not past.press(incident=7):
        past.deploy((past.upload("bad"), 100))
        assume(past.press(incident=7))

    for wait in waits:
        past.now += wait
        assert not past.press(incident=7)


@pytest.mark.slow
@holds_for(FAST, SLOW, past=pasts, waits=st.lists(st.sampled_from([31, 45, 600, 3000]), min_size=2, max_size=6))
def test_new_incidents_never_return_to_a_removed_release(past: Past, waits: list[int]) -> None:
    judge, left, last = Judge(past), set[object](), past.rows[-1].serving
    for incident, wait in enumerate(waits, start=100):
        past.now += wait
        suspect = Judge(past).release(Judge(past).suspect)
        is_pressed, serving = past.press(incident), {judge.release(number) for number in past.rows[-1].serving}
        if is_pressed and suspect not in serving:  # a secret edit as canary leaves its release live
            left.add(suspect)
        assert not left & {judge.release(number) for number in past.rows[-1].serving}, (left, last)


@holds_for(FAST, SLOW, past=pasts, incident=incidents, where=st.integers(0, 40), share=st.floats(0, 1), data=st.data())
def test_secret_only_deployment_changes_no_choice(
    past: Past, incident: int | None, where: int, share: float, data: st.DataObject
) -> None:
    """Deploying the live versions again changes no blame, serving time, suspect or active rollback."""
    history = as_history(past)
    index = where % len(history.deployments)
    mark = DeploymentMark(incident=incident, run="r2", blames=None)
    mark = data.draw(
        st.sampled_from(
            [
                replace(mark, rotated=("K",)),
                replace(mark, revoked=("K",)),
                replace(mark, reset=("K",)),
            ]
        )
    )
    before = history.deployments[index]
    at = before.created_on + share * (history.ended_at(index) - before.created_on)
    again = replace(before, id="again", created_on=at, message=str(mark))
    more = (*history.deployments[:index], again, *history.deployments[index:])

    choice = rollback_target.choose_target(replace(history, deployments=more), incident=incident)

    assert choice == rollback_target.choose_target(history, incident=incident)


def can_be_rehearsed(latest: WorkerDeployment, first: WorkerDeployment, shown: WorkerDeployment) -> bool:
    """Return whether a rehearsal can deploy `shown` and then `latest` again, as `leave_out_rehearsals` knows it."""
    is_soon = latest.created_on - first.created_on < timedelta(minutes=5)
    return is_soon and all(share > 0 for _, share in (*latest.split, *shown.split))


@pytest.mark.slow
@holds_for(FAST, SLOW, past=pasts, incident=incidents, where=st.integers(0, 40), older=st.integers(1, 3))
def test_repaired_accident_of_a_rehearsal_changes_no_choice(
    past: Past, incident: int | None, where: int, older: int
) -> None:
    """A rehearsal deploys for a second what was live some rows before, and then the latest row again."""
    history = as_history(past)
    rows = history.deployments
    fit = [at for at in range(len(rows) - older) if can_be_rehearsed(rows[at], rows[at + older - 1], rows[at + older])]
    assume(fit)
    index = fit[where % len(fit)]
    latest, shown = rows[index], rows[index + older]
    mark = DeploymentMark(incident=None, run="r9", blames=None, rehearsed=name_of(9))
    start, end = (
        replace(shown, id=name, created_on=latest.created_on, split=split, message=str(mark))
        for name, split in (("start", (*shown.split, (name_of(9), 0.0))), ("end", latest.split))
    )
    listed = (*rows[:index], end, start, *rows[index:])

    left = leave_out_rehearsals(listed)
    choice = rollback_target.choose_target(replace(history, deployments=left), incident=incident)

    assert left == rows
    before = rollback_target.choose_target(history, incident=incident)
    assert (choice.suspect, choice.candidates) == (before.suspect, before.candidates)
    assert choice.active_rollback or not before.active_rollback


FORGED = st.tuples(st.sampled_from(INCIDENTS), st.none() | st.integers(0, 24))


@pytest.mark.slow
@holds_for(FAST, SLOW, past=pasts, incident=incidents, forged=st.lists(FORGED, min_size=1, max_size=6))
def test_message_on_a_new_version_changes_no_choice(
    past: Past, incident: int | None, forged: list[tuple[int | None, int | None]]
) -> None:
    """No message can end a run with "already rolled back"."""
    honest, lying = replace(past, rows=list(past.rows)), replace(past, rows=list(past.rows))
    served: set[int] = set()
    for index, row in enumerate(past.rows):
        if not served.issuperset(row.serving):
            honest.rows[index] = replace(row, ours=None)
            who, blamed = forged[index % len(forged)]
            before = past.rows[index - 1].serving if index else row.serving
            lying.rows[index] = replace(row, ours=(who, None if blamed is None else before[blamed % len(before)]))
        served.update(row.serving)

    answers = [rollback_target.choose_target(as_history(each), incident=incident) for each in (honest, lying)]

    assert answers[0].candidates == answers[1].candidates
    assert answers[0].rejected == answers[1].rejected
    assert [a.active_rollback and a.active_rollback.removed_version for a in answers] == [
        answers[0].active_rollback and answers[0].active_rollback.removed_version
    ] * 2


@pytest.mark.slow
@holds_for(FAST, SLOW, past=pasts, incident=incidents)
def test_suggested_target_is_never_blamed(past: Past, incident: int | None) -> None:
    history, judge = as_history(past), Judge(past)

    choice = rollback_target.choose_target(history, incident=incident)

    for way in rollback_target.list_fallbacks(history, choice):
        assert not judge.is_blamed(number_of(way.version))
        is_suspect = judge.release(number_of(way.version)) == judge.release(judge.suspect)
        assert judge.is_undecided() or not is_suspect  # where two releases began at once, either may be the bad one
        assert number_of(way.version) not in past.undeployable


junk_ids = st.sampled_from([name_of(number) for number in range(6)])
junk_moments = st.integers(0, 5).map(lambda hours: datetime(2026, 11, 1, hours, tzinfo=UTC))
junk_messages = st.one_of(
    st.just(""),
    st.text(max_size=20),
    st.builds("ops1 incident={} run=r blames={}".format, st.sampled_from(["-", "0", "42", "9" * 900]), junk_ids),
    st.sampled_from(["ops1 incident=- run=r blames=-", "ops1 incident=x run= blames=", "ops1 "]),
)
junk_splits = st.one_of(
    st.tuples(st.tuples(junk_ids, st.just(100.0))),
    st.lists(junk_ids, min_size=2, max_size=2, unique=True).flatmap(
        lambda ids: st.floats(0, 100).map(lambda share: ((ids[0], 100 - share), (ids[1], share)))
    ),
)
junk_deployments = st.builds(WorkerDeployment, st.just(""), junk_moments, junk_splits, message=junk_messages)
junk_versions = st.builds(
    WorkerVersion,
    junk_ids,
    number=st.none() | st.integers(-1, 4),
    created_on=st.none() | junk_moments,
    triggered_by=st.sampled_from(["", "secret", "upload", "\x00"]),
    is_detailed=st.booleans(),
    etag=st.none() | st.sampled_from(["", "e1", "e2"]),
    bindings=st.sampled_from([{}, {("assets", "A"): "{}"}, {("secret_text", "K"): "{}"}]),
)


@st.composite
def junk_histories(draw: st.DrawFn) -> WorkerHistory:
    """Generate histories with missing versions, and missing, equal or impossible times, numbers and etags."""
    deployments = [
        replace(deployment, id=f"d{index}")
        for index, deployment in enumerate(draw(st.lists(junk_deployments, min_size=1, max_size=8)))
    ]
    return WorkerHistory(
        deployments=tuple(sorted(deployments, key=lambda d: d.created_on, reverse=True)),
        versions={version.id: version for version in draw(st.lists(junk_versions, max_size=6))},
        deployable=frozenset(draw(st.lists(junk_ids))),
        now=draw(junk_moments),
        min_served=draw(st.sampled_from([0, 600, 1e9])),
        static_assets=draw(st.booleans()),
    )


@holds_for(50, 500, cuts=st.lists(st.integers(1, 600_000_000 - 1), min_size=1, max_size=6, unique=True))
def test_service_in_parts_is_as_long_as_the_whole(cuts: list[int]) -> None:
    """Microseconds that do not add up as floats can make ten minutes of service look like less."""
    begin = datetime(2026, 11, 24, tzinfo=UTC)
    version, begun = name_of(1), [begin + timedelta(microseconds=cut) for cut in (0, *sorted(cuts))]
    rows = [WorkerDeployment(f"d{number}", at, ((version, 100.0),)) for number, at in enumerate(begun)]
    versions = {version: WorkerVersion(version, number=1, created_on=begin)}
    history = WorkerHistory(
        tuple(reversed(rows)), versions, frozenset(versions), begin + timedelta(minutes=10), min_served=600
    )

    assert history.seconds_served(version) == 600
    assert history.has_served_well(frozenset([version]), before=len(rows))


@pytest.mark.slow
@holds_for(FAST, SLOW, history=junk_histories(), incident=incidents)
def test_choice_is_deterministic_for_any_history(history: WorkerHistory, incident: int | None) -> None:
    shuffled = replace(history, versions=dict(list(history.versions.items())[::-1]))

    choice = rollback_target.choose_target(history, incident=incident)

    assert choice == rollback_target.choose_target(shuffled, incident=incident)
    assert set(choice.candidates) <= history.deployable - {choice.suspect}
    assert not set(choice.candidates) & {over.version for over in choice.rejected}
