"""What a run may do, read from the file: jobs, groups, secrets; and the copy that act gets."""

import re
from typing import Any

import pytest
import yaml

from sandbox.actions.checkout import for_act, with_ref
from sandbox.actions.expressions import HIDDEN, Unsupported
from sandbox.actions.plan import Claim, Plan, checked_out, make, read, secrets, variables
from tests.support.workflows import generated

WORKFLOWS = sorted((generated() / ".github" / "workflows").glob("*.yml"))
SHA = "5" * 40
INCIDENT = (generated() / ".github/workflows/incident.yml").read_text()


def labelled(label: str, state: str = "open") -> dict[str, Any]:
    event = {
        "action": "labeled",
        "label": {"name": label},
        "issue": {"number": 7, "state": state},
        "sender": {"type": "User", "id": 2},
    }
    return {"github": {"event": event}, "inputs": {}, "vars": {}}


def planned(jobs: dict[str, Any], **more: Any) -> Plan:
    whole = {name: {"runs-on": "ubuntu-latest", "steps": [], **rules} for name, rules in jobs.items()}
    return make({"on": "push", "jobs": whole, **more}, {"github": {"ref": "main"}, "inputs": {}, "vars": {}})


def test_an_unrelated_label_may_run_no_job_and_claims_no_group() -> None:
    plan = make(read(INCIDENT), labelled("triage"))

    assert [job.may_run for job in plan.jobs] == [False] * len(plan.jobs)
    assert plan.claims == ()


def test_a_label_that_asks_claims_its_issue_and_every_environment_that_it_may_mean() -> None:
    plan = make(read(INCIDENT), labelled("recover:rollback-api"))

    assert all(job.may_run for job in plan.jobs)
    assert plan.claims[:2] == (Claim("gate-7-2", False, True), Claim(f"recover-{HIDDEN}", False, True))
    assert all(job.permissions["issues"] == "write" for job in plan.jobs)


@pytest.mark.parametrize(
    ("label", "runs"), [("recover:all-clear", True), ("report", True), ("recover:rollback-api", False)]
)
def test_on_a_closed_issue_only_the_report_and_the_all_clear_may_run_a_job(label: str, runs: bool) -> None:
    plan = make(read(INCIDENT), labelled(label, "closed"))

    assert {job.may_run for job in plan.jobs} == {runs}


CLOSED = (
    # Who closes it, who opened it, as whom, in which repository; whether that starts a job.
    ({"id": 5}, 5, "NONE", "public", False),
    ({"id": 5}, 5, "CONTRIBUTOR", "public", False),
    ({"id": 5}, 5, "COLLABORATOR", "public", True),
    ({"id": 5}, 5, "NONE", "private", True),
    ({"id": 2}, 5, "NONE", "public", True),
    ({"id": 2, "type": "Bot"}, 5, "NONE", "public", False),
)


@pytest.mark.parametrize(("sender", "author", "association", "visibility", "runs"), CLOSED)
def test_a_stranger_who_closes_an_incident_of_his_own_starts_no_job(
    sender: dict[str, Any], author: int, association: str, visibility: str, runs: bool
) -> None:
    context = labelled("unused", "closed")
    issue = {"labels": [{"name": "incident"}], "user": {"id": author}, "author_association": association}
    event = context["github"]["event"]
    event |= {"action": "closed", "repository": {"private": visibility == "private"}}
    event["issue"] |= issue
    event["sender"] |= sender

    assert {job.may_run for job in make(read(INCIDENT), context).jobs} == {runs}


def test_each_job_is_given_only_what_it_names_of_its_own_environment() -> None:
    vaults = {"recovery": {"CF": "writes", "OTHER": "other"}, "report": {"CF": "reads"}, "security": {"CF": "routes"}}
    uses = {"env": {"A": "${{ secrets.CF }}", "B": "${{ secrets.GITHUB_TOKEN }}", "C": "${{ secrets.none }}"}}
    plan = planned(
        {"gate": uses, "recover": {"environment": "recovery", **uses}, "report": {"environment": "report", **uses}}
    )

    given = secrets(plan, lambda name: vaults.get(name or "", {}))

    assert given == {"J1_CF": "writes", "J2_CF": "reads"}


def test_a_variable_that_differs_between_jobs_is_refused_aloud() -> None:
    uses = {"env": {"A": "${{ vars.CF }}"}}

    with pytest.raises(Unsupported, match=r"vars\.CF is one thing"):
        variables(planned({"a": uses, "b": {"environment": "b", **uses}}), lambda name: {"CF": name or ""})


@pytest.mark.parametrize("inside", ["toJSON(secrets)", "secrets['CF']"])
def test_secrets_without_a_name_are_refused_aloud(inside: str) -> None:
    with pytest.raises(Unsupported, match="other than by a name"):
        secrets(planned({"one": {"env": {"A": f"${{{{ {inside} }}}}"}}}), lambda _: {})


def test_a_job_whose_need_was_skipped_is_skipped_unless_it_runs_always() -> None:
    gate = {"if": "github.ref == 'other'"}
    plan = planned(
        {"then": {"needs": "gate"}, "gate": gate, "report": {"needs": ["gate"], "if": "always()"}}, permissions={}
    )

    assert [(job.id, job.may_run) for job in plan.jobs] == [("then", False), ("gate", False), ("report", True)]


@pytest.mark.parametrize(
    "rules",
    [
        {"strategy": {"matrix": {"a": [1]}}},
        {"uses": "./.github/workflows/x.yml"},
        {"concurrency": {"group": "g", "queue": "max", "cancel-in-progress": True}},
        {"needs": "nobody"},
        {"permissions": "write-all"},
        {"environment": "${{ needs.gate.outputs.environment }}", "needs": "gate"},
    ],
)
def test_what_is_not_known_is_refused_aloud(rules: dict[str, Any]) -> None:
    with pytest.raises(Unsupported):
        planned({"gate": {}, "one": rules})


def without_what_act_rejects(workflow: Any) -> Any:
    for place in (workflow, *workflow["jobs"].values()):
        for key, inner in (("concurrency", "queue"), ("environment", "deployment")):
            if isinstance(place.get(key), dict):
                place[key].pop(inner, None)
    return workflow


@pytest.mark.sampled(4)
@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_act_is_given_our_workflows_but_for_two_keys_the_refs_of_checkouts_and_the_names_of_secrets(path: Any) -> None:
    whole = path.read_text()

    copy = for_act(whole, ref="refs/heads/main", sha=SHA)
    same_names = re.sub(r"secrets\.J\d+_(\w+)", r"secrets.\1", copy).replace("secrets.GITHUB_TOKEN", "github.token")
    same_names = same_names.replace(f"'{SHA}'", "github.sha")

    expected = with_ref(without_what_act_rejects(yaml.safe_load(whole)), "refs/heads/main")
    assert yaml.safe_load(same_names) == expected
    kept = [line for line in whole.splitlines() if line.strip() not in {"queue: max", "deployment: false"}]
    pairs = list(zip(same_names.splitlines(), kept, strict=True))
    assert all(copied == line or "ref: 'refs/heads/main'" in copied for copied, line in pairs)


STEPS = """\
on: push
jobs:
  a:
    steps:
      - uses: actions/checkout@v5
        with: {ref: "${{ github.event.pull_request.base.sha }}", persist-credentials: false}
  b:
    steps:
      - uses: actions/checkout@v5
        with:
          ref: main # of the base
          fetch-depth: 0
      - uses: acme/release@v1
        with: {ref: v1}
      - run: echo ${{ github.sha }} github.sha
"""


def test_a_checkout_with_a_ref_has_the_run_s_own_in_act_s_copy_and_the_sha_is_the_run_s() -> None:
    copy = for_act(STEPS, ref="refs/pull/7/merge", sha=SHA)

    assert [line.strip() for line in copy.splitlines() if "ref" in line or "sha" in line] == [
        "with: {ref: 'refs/pull/7/merge', persist-credentials: false}",
        "ref: 'refs/pull/7/merge' # of the base",
        "with: {ref: v1}",
        f"- run: echo ${{{{ '{SHA}' }}}} github.sha",
    ]


def test_a_checkout_with_what_is_not_known_is_refused_aloud() -> None:
    plan = planned({"a": {"steps": [{"uses": "actions/checkout@v5", "with": {"repository": "a/b", "fetch-depth": 0}}]}})

    with pytest.raises(Unsupported, match="of actions/checkout, repository"):
        checked_out(plan, str, "0")


def checking_out(*refs: str) -> Plan:
    """A job for each ref, none of them where it is empty."""
    gives = [{"with": {"ref": ref}} if ref else {} for ref in refs]
    steps = [[{"uses": "actions/checkout@v5", **given}] for given in gives]
    jobs: dict[str, Any] = {f"j{index}": {"steps": one} for index, one in enumerate(steps)}
    return planned({**jobs, "off": {"if": "false", "steps": [{"uses": "actions/checkout@v5", "with": {"ref": "x"}}]}})


@pytest.mark.parametrize(
    ("refs", "sha"),
    [
        (["base", "base"], "1"),
        (["base", "1"], "1"),
        (["${{ github.ref }}"], "0"),
        (["", "main"], "0"),
        ([], "0"),
        (["${{ github.head_ref }}"], "0"),
    ],
)
def test_the_jobs_check_out_the_commit_that_they_name(refs: list[str], sha: str) -> None:
    assert checked_out(checking_out(*refs), {"base": "1", "1": "1", "main": "0"}.get, "0") == sha


@pytest.mark.parametrize(
    ("refs", "reason"),
    [
        (["base", "main"], "base and main"),
        (["", "base"], "check out one commit here"),
        (["nope"], "there is no nope"),
        (["${{ steps.a.outputs.ref }}"], "hangs on what a job says"),
    ],
)
def test_checkouts_that_cannot_be_laid_out_are_refused_aloud(refs: list[str], reason: str) -> None:
    with pytest.raises(Unsupported, match=reason):
        checked_out(checking_out(*refs), {"base": "1", "main": "0"}.get, "0")


def test_a_secret_has_another_name_in_each_job_and_the_token_is_one() -> None:
    steps = "    steps:\n      - env: {A: '${{ secrets.CF }} secrets.CF', B: '${{ github.token }}'}\n"
    copy = for_act(f"on: push\njobs:\n  a:\n{steps}  b:\n{steps}", ref="refs/heads/main", sha=SHA)

    assert [line.strip() for line in copy.splitlines() if "env" in line] == [
        f"- env: {{A: '${{{{ secrets.J{n}_CF }}}} secrets.CF', B: '${{{{ secrets.J{n}_GITHUB_TOKEN }}}}'}}"
        for n in (0, 1)
    ]


def test_a_key_that_cannot_be_left_out_by_its_line_is_refused_aloud() -> None:
    with pytest.raises(Unsupported, match="line of its own"):
        for_act("on: push\njobs:\n  a:\n    concurrency: {group: x, queue: max}\n", ref="refs/heads/main", sha=SHA)
