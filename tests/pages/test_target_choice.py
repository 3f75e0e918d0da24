"""Choice of the target of a Pages rollback: a table of rules, and records of earlier runs."""

from collections.abc import Collection
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.cloudflare.types.pages import PagesDeployment
from ops.core.run_record import RecordRow, RunRecord
from ops.pages.target_choice import TargetFacts, blamed_deployments, choose_target
from tests.pages.test_live_deployment import LIST, NOW, A, B, C, D, deployment_named


def facts(blamed: Collection[str] = (), digests: str = "") -> TargetFacts:
    """`digests`: one character for each deployment of LIST, newest first."""
    own = {each.id: digest for each, digest in zip(LIST, digests, strict=False)}
    return TargetFacts(NOW, 0, own, frozenset(blamed))


CHOICES: dict[
    str, tuple[tuple[PagesDeployment, ...], PagesDeployment, set[str], PagesDeployment | None, list[str], bool]
] = {
    "the one before": (LIST, D, set(), C, [], False),
    "not a blamed one": (LIST, D, {C.id}, B, [C.id], False),
    "not the same commit": ((D, replace(C, commit="4"), B), D, set(), B, [C.id], False),
    "unknown commit": (
        (replace(D, commit=""), replace(C, commit="")),
        replace(D, commit=""),
        set(),
        replace(C, commit=""),
        [],
        False,
    ),
    "not a failed one": ((D, replace(C, status="failure"), B), D, set(), B, [], False),
    "not a skipped one": ((D, replace(C, is_skipped=True), B), D, set(), B, [], False),
    "not a preview": ((D, replace(C, environment="preview"), B), D, set(), B, [], False),
    "newest deployment failed": ((replace(D, status="failure"), C, B), C, set(), B, [], False),
    "rolled back by hand": (LIST, B, set(), A, [], True),
    "rolled back beyond the list": ((D, C), B, set(), None, [], True),
    "the oldest": (LIST, A, set(), None, [], True),
    "the only one": ((D,), D, set(), None, [], False),
    "all are blamed": (LIST, D, {A.id, B.id, C.id}, None, [C.id, B.id, A.id], False),
    "empty list": ((), D, set(), None, [], True),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("deployments", "serving", "blamed", "goes_to", "rejected", "stepped_back"), CHOICES.values(), ids=CHOICES
)
def test_choose_target(
    deployments: tuple[PagesDeployment, ...],
    serving: PagesDeployment,
    blamed: set[str],
    goes_to: PagesDeployment | None,
    rejected: list[str],
    stepped_back: bool,
) -> None:
    choice = choose_target(deployments, serving, facts(blamed))

    assert choice.target == goes_to
    assert [over.version for over in choice.choice.rejected] == rejected
    assert choice.is_rolled_back is stepped_back


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[PagesDeployment], PagesDeployment, set[str]]:
    kinds = st.tuples(
        st.integers(0, 9),
        st.sampled_from(["", "1", "2"]),
        st.sampled_from(["success", "failure", "active"]),
        st.sampled_from(["production", "production", "preview"]),
    )
    rows = draw(st.lists(kinds, min_size=1, max_size=10))
    found = [deployment_named(f"{number:x}", *row) for number, row in enumerate(rows)]
    newest_first = sorted(found, key=lambda deployment: deployment.created_on, reverse=True)
    return newest_first, draw(st.sampled_from(found)), draw(st.sets(st.sampled_from([d.id for d in found])))


@pytest.mark.slow
@settings(max_examples=50, deadline=None)
@given(histories())
def test_target_is_always_an_older_good_deployment(
    past: tuple[list[PagesDeployment], PagesDeployment, set[str]],
) -> None:
    deployments, serving, blamed = past

    choice = choose_target(deployments, serving, facts(blamed))

    good = [
        d
        for d in deployments
        if (d.environment, d.stage, d.status) == ("production", "deploy", "success")
        and d.created_on < serving.created_on
        and d.id not in blamed
        and (d.commit != serving.commit or d.commit == "")
    ]
    assert choice.target is None or choice.target in good
    assert all(over.why for over in choice.choice.rejected)


# Records of earlier runs


def run(before: str, after: str, *, kind: str = "written", **fields: str) -> RunRecord:
    given = {"runbook": "rollback-pages", "service": "site", "environment": "production", **fields}
    versions = (("Pages site", before, after),)
    return RunRecord("1", versions=versions, rows=(RecordRow(NOW, kind, "x"),), **given)  # type: ignore[arg-type]


def seen(live: str, newer: str, **fields: str) -> RunRecord:
    text = f"already rolled back: {live} is live instead of the newer {newer}, created 2026-11-24 11:50 UTC"
    return replace(run(live, newer, **fields), versions=(), rows=(RecordRow(NOW, "planned", text),))


BLAMES: dict[str, tuple[list[RunRecord], set[str]]] = {
    "a rollback": ([run("dddddddd", "cccccccc")], {D.id}),
    "two rollbacks": ([run("dddddddd", "cccccccc"), run("cccccccc", "bbbbbbbb")], {D.id, C.id}),
    "roll forward": ([run("cccccccc", "dddddddd")], set()),
    "an undo": ([run("dddddddd", "cccccccc"), run("cccccccc", "dddddddd")], set()),
    "a run that wrote nothing": ([run("dddddddd", "cccccccc", kind="planned")], set()),
    "another service": ([run("dddddddd", "cccccccc", service="other")], set()),
    "another environment": ([run("dddddddd", "cccccccc", environment="staging")], set()),
    "another runbook": ([run("dddddddd", "cccccccc", runbook="failover-pages")], {D.id}),
    "a redeployment": ([run("dddddddd", "commit 0123456789ab", runbook="redeploy-pages")], {D.id}),
    "a redeployment that is rolled back": (
        [run("cccccccc", "commit 0123456789ab", runbook="redeploy-pages"), run("dddddddd", "cccccccc")],
        {D.id},
    ),
    "redeployment over an unknown deployment": ([run("not known", "commit 0123456789ab")], set()),
    "a redeployment that wrote nothing": ([run("dddddddd", "commit 0123456789ab", kind="planned")], set()),
    "not a commit": ([run("dddddddd", "commit"), run("dddddddd", "commit main")], set()),
    "no longer listed": ([run("ffffffff", "cccccccc")], set()),
    "a rollback that a run saw": ([seen("bbbbbbbb", "dddddddd")], {D.id}),
    "one that a run on another service saw": ([seen("bbbbbbbb", "dddddddd", service="other")], set()),
    "a rollback before the one of a run": (
        [replace(run("bbbbbbbb", "aaaaaaaa"), rows=(RecordRow(NOW, "planned", "x"), RecordRow(NOW, "written", "x")))],
        {B.id, C.id, D.id},
    ),
    "malformed ids": ([run("", ""), run("d", "c"), run(".*", "cccccccc")], set()),
}


@pytest.mark.sampled
@pytest.mark.parametrize(("runs", "blamed"), BLAMES.values(), ids=BLAMES)
def test_deployment_replaced_by_an_earlier_run_is_blamed(runs: list[RunRecord], blamed: set[str]) -> None:
    assert blamed_deployments(runs, LIST, service="site", environment="production") == blamed


@pytest.mark.parametrize(
    ("digests", "target"),
    [("1213", A), ("1111", C), ("1231", B), ("1221", B), ("1 21", C)],
    ids=["returned, with the one between blamed", "no path differs", "two between", "two equal ones between", "unread"],
)
def test_content_that_came_back_is_the_old_release(digests: str, target: PagesDeployment | None) -> None:
    """`1213`: D shows what B showed, and C in between showed something else."""
    own = facts(digests=digests)
    known = {name: None if digest == " " else digest for name, digest in own.digests.items()}

    choice = choose_target(LIST, D, replace(own, digests=known))

    assert choice.target == target
