"""Faults of a set-up, each with the check that must find it and the audit's finding that it repeats."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from ops.core.version import __version__
from ops.setup import workflows
from tests.conftest import World
from tests.setup.test_release import generated_by
from tests.support.bakery import DATABASE, NAMESPACE, PERMISSIONS, SITE, TOKEN, WORKER, Bakery
from tests.support.commands import JSON

INCIDENT = ".github/workflows/incident.yml"
PROGRAM = ".github/scripts/tell.py"
RECOVER = ".github/workflows/recover.yml"


@dataclass(frozen=True)
class Fault:
    name: str
    check: str
    apply: Callable[[Bakery], object]
    finding: str = ""
    """Finding of the audit that it repeats: N, S or C with its number; empty for another fault."""


def edit(old: str, new: str, *, sync: bool = False) -> Callable[[Bakery], object]:
    """Return a change of ops.yml; with `sync`, its workflows follow."""

    def apply(made: Bakery) -> None:
        made.edit(old, new)
        if sync:
            made.sync()

    return apply


def token(*permissions: str, **fields: object) -> Callable[[Bakery], object]:
    """Return a replacement of the token."""
    return lambda made: made.sandbox.add_token(TOKEN, permissions or PERMISSIONS, **fields)  # type: ignore[arg-type]


def without(*permissions: str) -> tuple[str, ...]:
    return tuple(each for each in PERMISSIONS if each not in permissions)


def expires_soon(made: Bakery) -> None:
    end = made.sandbox.clock.now() + timedelta(days=10)
    token(expires_on=f"{end:%Y-%m-%dT%H:%M:%SZ}")(made)


def add_stale_button(made: Bakery) -> None:
    made.write(".github/workflows/ai-failover.yml", workflows._with_digest("name: ai-failover\n"))


def add_open_form(made: Bakery) -> None:
    made.write(".github/ISSUE_TEMPLATE/bug.yml", "name: Bug\nlabels: [recover:shop]\nbody: []\n")


def use_node20(made: Bakery) -> None:
    path = ".github/workflows/evidence.yml"
    old = workflows.PINS["upload"].partition("@")[2]
    made.edit(old, "ea165f8d65b6e75b540449e92b4886f43607fa02 # v4.6.2", path)


def use_missing_commit(made: Bakery) -> None:
    made.edit("responders:", "github: {actions: acme/operations}\nresponders:")
    made.sync(pin=f"{'a' * 40} # v{__version__}")


def schedule_often(made: Bakery) -> None:
    made.edit("responders:", "github: {schedules: {reconcile-limits: 5m}}\nresponders:")
    made.sync()


def hide_zone(made: Bakery) -> None:
    made.sandbox.zones.all.clear()
    made.sandbox.route("shop.bakery.example", WORKER)


def unbind_database(made: Bakery) -> None:
    made.release(bindings=made.bound[:1])


def move_database(made: Bakery) -> None:
    made.edit(DATABASE, DATABASE.replace("b0", "c0"))


def bind_missing_database(made: Bakery) -> None:
    made.release(
        bindings=[*made.bound, {"type": "d1", "name": "ORDERS", "id": "0" * 8 + "-0000-4000-8000-" + "0" * 12}]
    )


def serve_files(made: Bakery) -> None:
    made.release(assets=True)
    made.edit(f"worker: {WORKER}", f"worker: {WORKER}\n        static_assets: false")


def break_newest_upload(made: Bakery) -> None:
    queue = {"type": "queue", "name": "MAILS", "queue_name": "mails"}
    made.release(deploy=False, bindings=[*made.bound, queue])
    made.sandbox.delete_resource("mails")


def upload_many_previews(made: Bakery) -> None:
    for _ in range(98):  # with the two releases, the newest hundred are of two days
        made.release(deploy=False)


def serve_elsewhere(made: Bakery) -> None:
    """Let another Worker answer at the host that ops.yml names for the blog."""
    sandbox = made.sandbox
    version = sandbox.upload("news", behaviour={"status": 200, "body": "News"})
    sandbox.deploy("news", version)
    zone = next(iter(sandbox.zones.all.values()))
    sandbox.zones.add_route(zone, "news.bakery.example/*", "news")
    made.edit("https://blog.bakery.example", "https://news.bakery.example")


def send_service_token(duration: timedelta, *, is_known: bool = True, may: bool = True) -> Callable[[Bakery], object]:
    """Return a change that protects the shop with Access, with a service token in the probe.

    `may`: whether the Cloudflare token can list service tokens.
    """

    def apply(made: Bakery) -> None:
        token(*PERMISSIONS, *(["Access: Service Tokens Read"] if may else []))(made)
        access = made.sandbox.account.access
        access.hosts.add("shop.bakery.example" if is_known else "")
        service_token = access.add_token("probes", duration=duration)
        headers = "request_headers: {CF-Access-Client-Id: ACCESS_ID, CF-Access-Client-Secret: ACCESS_SECRET}"
        made.edit("path: /health", f"path: /health\n              {headers}")
        made.sync()
        client_id = service_token.client_id if is_known else "unknown.access"
        made.environ.update(ACCESS_ID=client_id, ACCESS_SECRET=service_token.client_secret)
        for name in ("ACCESS_ID", "ACCESS_SECRET"):
            for github_environment in ("database", "evidence", "limits", "recovery", "report", "security"):
                made.sandbox.github.put_secret(name, "secret", github_environment)

    return apply


def keep_rows(add_bucket: Callable[[Bakery], object]) -> Callable[[Bakery], object]:
    """Return a change that keeps rows in a bucket."""

    def apply(made: Bakery) -> None:
        made.edit("at_least: 1", "at_least: 1\n            keep: true")
        made.edit("    databases:", "    kept_rows: {bucket: bakery-rows}\n    databases:")
        made.sync()
        add_bucket(made)

    return apply


def publish_bucket(made: Bakery) -> None:
    made.sandbox.account.r2.add("bakery-rows").domains["rows.bakery.example"] = True


def disable_r2(made: Bakery) -> None:
    made.sandbox.account.r2.is_enabled = False


def hide_buckets(made: Bakery) -> None:
    made.sandbox.account.r2.add("bakery-rows")
    token(*without("Workers R2 Storage Write"))(made)


def deploy_site_often(made: Bakery) -> None:
    now = made.sandbox.clock.now()
    for number in range(25):
        files = {"index.html": b"bread", "version.txt": f"{number}".encode()}
        made.sandbox.pages.add_deployment(SITE, files=files, at=now - timedelta(hours=25 - number))


def edit_secrets_often(made: Bakery) -> None:
    made.sandbox.switches.deployments_paged = False
    for number in range(11):
        made.sandbox.put_secret(WORKER, "MAIL_KEY", f"value {number}")


def name_admin_token(made: Bakery) -> None:
    till = (
        "durable_objects: {till: {class: Till, reset: /till/reset, token: TILL_TOKEN, token_location: safe}}\n        "
    )
    made.edit("repository: bakery/shop\n        ", f"repository: bakery/shop\n        {till}")
    made.sandbox.github.put_secret("TILL_TOKEN", "secret", "recovery")
    made.sync()


def add_reader(made: Bakery) -> None:
    made.sandbox.github.add_user("omar", "read")
    edit("responders: [dana]", "responders: [dana, omar]", sync=True)(made)


def add_reading_lead(made: Bakery) -> None:
    made.sandbox.github.add_user("omar", "read")
    edit("responders: [dana]", "github: {leads: [omar]}", sync=True)(made)
    made.sandbox.github.add_label("lead:omar", "Hands the lead of the incident over to omar", "d4c5f9")


def require_review(made: Bakery) -> None:
    made.sandbox.github.switches.plan = "enterprise"
    made.sandbox.github.add_environment("recovery", branches=["main"], reviewers=["dana"])


def wait_before_recovery(made: Bakery) -> None:
    made.sandbox.github.switches.plan = "enterprise"
    made.sandbox.github.add_environment("recovery", branches=["main"], wait_timer=5)


def approve_without_reviewer(made: Bakery) -> None:
    made.sandbox.github.add_environment("approve-live", branches=["main"])
    edit("    services:\n", "    approval: [recovery]\n    services:\n", sync=True)(made)


def delete_an_action(made: Bakery) -> None:
    (made.folder / ".github/actions/gate/action.yml").unlink()


def approve_own_requests(made: Bakery) -> None:
    made.sandbox.github.switches.plan = "enterprise"
    made.sandbox.github.add_user("omar")
    made.sandbox.github.add_environment("approve-live", branches=["main"], reviewers=["dana", "omar"])
    edit("    services:\n", "    approval: [recovery]\n    services:\n", sync=True)(made)


def let_the_only_responder_approve(made: Bakery) -> None:
    made.sandbox.github.switches.plan = "enterprise"
    hub = made.sandbox.github
    hub.add_environment("approve-live", branches=["main"], reviewers=["dana"], prevent_self_review=True)
    edit("    services:\n", "    approval: [recovery]\n    services:\n", sync=True)(made)


def keep_secrets_of_the_repository(made: Bakery) -> None:
    """Leave the set-up for GitHub Free, which has no environments, as it was before a change of the plan."""
    github = made.sandbox.github
    made.edit("responders:", "github: {environments: false}\nresponders:")
    made.sync()
    for name in ("DATABASE", "EVIDENCE", "LIMITS", "RECOVERY", "REPORT", "SECURITY"):
        github.remove_environment(name)
        github.put_secret(f"{name}_BAKERY_TOKEN", "secret")


def use_real_clock(made: Bakery) -> None:
    made.environ["OPS_CLOCK_URL"] = None
    made.sandbox.clock.advance(3600)


def set_status(made: Bakery, page: str, component: str) -> None:
    getattr(made.sandbox.edge.public_sites.status, page).states[component] = "partial_outage"


def set_policy(**settings: object) -> Callable[[Bakery], object]:
    """Return a change of the settings of Actions."""
    return lambda made: made.sandbox.github.set_actions_policy(**settings)


def allow_pulls(made: Bakery) -> None:
    made.sandbox.github.switches.actions_may_create_pull_requests = True


def propose_limits(made: Bakery) -> None:
    made.write(".github/workflows/propose-limits.yml", "name: propose-limits\n")


def set_review(made: Bakery, **parameters: object) -> None:
    (ruleset,) = made.sandbox.github._repository.rulesets.values()
    ruleset.rules = [{"type": "pull_request", "parameters": parameters}]


def require_no_approval(made: Bakery) -> None:
    set_review(made, required_approving_review_count=0)


def own_only_docs(made: Bakery) -> None:
    set_review(made, required_approving_review_count=0, require_code_owner_review=True)
    made.write(".github/CODEOWNERS", "* @dana\n/.github/workflows/\n/docs/ @dana\n")


def own_only_workflows(made: Bakery) -> None:
    set_review(made, required_approving_review_count=0, require_code_owner_review=True)
    made.write(".github/CODEOWNERS", "/.github/workflows/ @dana\n")


def own_workflows(made: Bakery) -> None:
    set_review(made, required_approving_review_count=0, require_code_owner_review=True)
    made.write(".github/CODEOWNERS", "/docs/ @dana\n/.github/ @dana\n")


def publish_repository(made: Bakery) -> None:
    edit("repository: bakery/blog", "repository: acme/operations", sync=True)(made)
    made.sandbox.github.add_commit("Own source", "dana", files={"ops.yml": made.config.read_text()})
    made.sandbox.github.switches.private = False


def open_to_strangers(made: Bakery) -> None:
    publish_repository(made)
    made.sandbox.github.set_actions_policy(fork_approval="first_time_contributors_new_to_github")


def use_runners(*online: bool, settings: str = "runs_on: [self-hosted, Bakery]") -> Callable[[Bakery], object]:
    """Return a change after which the jobs need own runners, of which there are as many as flags."""

    def apply(made: Bakery) -> None:
        edit("responders:", f"github: {{{settings}}}\nresponders:", sync=True)(made)
        for number, is_online in enumerate(online):
            made.sandbox.github.add_runner(f"bakery-{number}", "bakery", is_online=is_online)
        made.sandbox.github.add_runner("other", "tools")
        made.sandbox.github.add_runner("shared", "watching", of_owner=True)

    return apply


def show_runners_to_strangers(made: Bakery) -> None:
    publish_repository(made)
    use_runners(True, True)(made)


def hide_settings(made: Bakery) -> None:
    """Answer as GitHub answers a token without the right to administer."""
    made.sandbox.github.fault(path="/repos/*/*/actions/permissions**", status=403, times=None)


FAULTS = (
    Fault("a token named as GitHub's own", "config", edit("BAKERY_TOKEN", "GITHUB_TOKEN"), "S9"),
    Fault("a label without its prefix", "config", edit("recover:shop:", "rescue-shop:"), "S9"),
    Fault(
        "a service without probes",
        "config-warnings",
        edit("        probes:\n          - name: home\n            http:\n              path: /\n", ""),
    ),
    Fault("no place of the token", "token-location", edit('    token_location: "1Password: bakery"\n', "", sync=True)),
    Fault("a contact still to be written", "contacts", edit('"+44 20 7946 0000"', '"[TBD]"')),
    Fault("a form that starts a recovery for everybody", "issue-templates", add_open_form, "S8"),
    Fault("a button that ops.yml cannot use", "workflows", add_stale_button, "N4"),
    Fault(
        "a workflow edited by hand",
        "workflows",
        lambda made: made.edit("timeout-minutes: 5", "timeout-minutes: 6", RECOVER),
    ),
    Fault(
        "a program of the workflows edited by hand",
        "workflows",
        lambda made: made.edit("= 1000\n", "= 9000\n", PROGRAM),
    ),
    Fault("an action on Node 20", "action-runtimes", use_node20, "C1"),
    Fault("a schedule every five minutes", "minutes", schedule_often, "N6"),
    Fault("no limits.yml", "limits-file", lambda made: (made.folder / "limits.yml").unlink()),
    Fault("a limit that ops.yml lacks", "limits-file", lambda made: made.edit("orders:", "order:", "limits.yml")),
    Fault(
        "a probe without its program",
        "probe-tools",
        edit(
            "          - name: home\n",
            "          - {name: check, command: {run: [./check.sh]}}\n          - name: home\n",
        ),
    ),
    Fault("no token here", "token", lambda made: made.environ.update(BAKERY_TOKEN=None), "N2"),
    Fault("an expired token", "token-valid", token(expired=True)),
    Fault("a token that expires in ten days", "token-expiry", expires_soon),
    Fault("another account", "account", edit("5b5b5b5b5b", "5b5b5b5b5c"), "N16"),
    Fault("a token that reads no zones", "token-reads", token(*without("Zone Read"))),
    Fault(
        "a token that writes no routes",
        "token-writes",
        token(*without("Workers Routes Write"), "Workers Routes Read"),
        "S6",
    ),
    Fault("a namespace of another account", "namespace", edit(NAMESPACE, "c" * 32), "C7"),
    Fault(
        "maintenance never prepared", "maintenance", lambda made: made.sandbox.account.workers.pop("ops-maintenance")
    ),
    Fault("a zone out of reach", "routes", hide_zone),
    Fault("a database of another account", "database", move_database),
    Fault("a misspelled table", "database-tables", edit("          cakes:", "          cake:", sync=True)),
    Fault("a misspelled column", "database-tables", edit("ordered_at", "orderd_at", sync=True)),
    Fault("a query of a missing column", "database-tables", edit("WHERE cake NOT", "WHERE bun NOT", sync=True)),
    Fault(
        "rows to keep, and no bucket",
        "kept-rows",
        edit("at_least: 1", "at_least: 1\n            keep: true", sync=True),
    ),
    Fault("a bucket that is not there", "kept-rows", keep_rows(lambda made: None)),
    Fault("an account without R2", "kept-rows", keep_rows(disable_r2)),
    Fault("a bucket that everybody can read", "kept-rows", keep_rows(publish_bucket)),
    Fault("a Worker that does not bind its database", "database-workers", unbind_database),
    Fault("a misspelled Worker", "worker", edit(f"worker: {WORKER}", "worker: shop-wbe")),
    Fault(
        "static assets that Cloudflare does not report",
        "assets",
        lambda made: setattr(made.sandbox.switches, "has_assets_listed", False),
        "C2",
    ),
    Fault("static assets that ops.yml denies", "assets", serve_files, "C2"),
    Fault("a newest version that cannot be deployed", "versions", break_newest_upload),
    Fault("a hundred versions within two days", "horizon", upload_many_previews),
    Fault("a binding to a database that is gone", "bindings", bind_missing_database),
    Fault("a secret that the Worker lacks", "worker-secrets", edit("      MAIL_KEY:", "      POST_KEY:", sync=True)),
    Fault("a misspelled project", "project", edit(f"pages: {SITE}", "pages: bakery-blogg")),
    Fault("a URL of another project", "site-url", serve_elsewhere, "N16"),
    Fault("a path that is equal in two deployments", "compare", edit("compare: [/version.txt]", "compare: [/]"), "C4"),
    Fault(
        "Access before the deployments",
        "compare",
        lambda made: setattr(made.sandbox.switches, "edge_access_before_deployments", True),
        "C4",
    ),
    Fault("a history of secret edits", "rollback", edit_secrets_often, "C5"),
    Fault(
        "a challenge for this machine",
        "url",
        lambda made: setattr(made.sandbox.switches, "edge_challenges_runners", True),
        "C3",
    ),
    Fault(
        "a probe that a cache answers",
        "probes",
        lambda made: made.sandbox.edge_fault(
            host="shop.bakery.example", path="/health", headers={"cf-cache-status": "HIT", "age": "40"}, times=None
        ),
    ),
    Fault("a service token that expires in ten days", "probe-access", send_service_token(timedelta(days=10))),
    Fault("a service token that nobody made", "probe-access", send_service_token(timedelta(0), is_known=False)),
    Fault(
        "too few rounds for a proof without a version",
        "config-warnings",
        edit("path: /health\n              version: version.id", "path: /health\n        verify: {deadline: 10s}"),
        "E10",
    ),
    Fault("a probe of a missing page", "probes", edit("path: /health", "path: /alive")),
    Fault(
        "a switch that the application lacks", "runtime", edit("        ordering:", "        orders-open:", sync=True)
    ),
    Fault("a secret missing on this laptop", "variables", name_admin_token, "N1"),
    Fault("another repository", "github", lambda made: made.environ.update(GITHUB_REPOSITORY="acme/operation")),
    Fault(
        "another default branch",
        "default-branch",
        edit("responders:", "github: {branch: trunk}\nresponders:", sync=True),
        "N1",
    ),
    Fault(
        "workflows for an Enterprise Server",
        "enterprise-server",
        edit("responders:", "github: {enterprise_server: true}\nresponders:", sync=True),
        "C11",
    ),
    Fault(
        "a repository on an Enterprise Server",
        "enterprise-server",
        lambda made: made.environ.update(GITHUB_SERVER_URL="https://git.bakery.example"),
    ),
    Fault(
        "an open default branch",
        "branch-protection",
        lambda made: made.sandbox.github.rulesets[0].__setattr__("enforcement", "disabled"),
        "S6",
    ),
    Fault(
        "an ops.yml that was not pushed",
        "pushed",
        lambda made: made.config.write_text(made.config.read_text() + "# new\n"),
        "N7",
    ),
    Fault(
        "a workflow that was not pushed",
        "pushed",
        lambda made: made.sandbox.github.add_commit("Remove", "dana", files={INCIDENT: None}),
        "N7",
    ),
    Fault(
        "a program of the workflows that was not pushed",
        "pushed",
        lambda made: made.sandbox.github.add_commit("Remove", "dana", files={PROGRAM: None}),
    ),
    Fault(
        "a workflow that GitHub stopped",
        "workflows-enabled",
        lambda made: made.sandbox.github.disable_workflow(INCIDENT),
    ),
    Fault(
        "a missing GitHub environment",
        "environments",
        lambda made: made.sandbox.github.remove_environment("security"),
        "N7",
    ),
    Fault("a plan that has environments by now", "environments-unused", keep_secrets_of_the_repository, "N7"),
    Fault(
        "secrets for every branch",
        "environment-branches",
        lambda made: made.sandbox.github.add_environment("recovery"),
        "S6",
    ),
    Fault("a reviewer before every recovery", "reviewers", require_review, "S3"),
    Fault("a wait before every recovery", "reviewers", wait_before_recovery),
    Fault("an action that the workflows use and nobody copied", "actions", delete_an_action),
    Fault("an approval that nobody can give", "reviewers", approve_without_reviewer),
    Fault("an approval by the requester", "reviewers", approve_own_requests),
    Fault("a reviewer who is the only requester", "reviewers", let_the_only_responder_approve),
    Fault(
        "a secret missing on GitHub",
        "secrets",
        lambda made: made.sandbox.github.remove_secret("BAKERY_TOKEN", "security"),
        "N1",
    ),
    Fault(
        "a token for every branch",
        "repository-secrets",
        lambda made: made.sandbox.github.put_secret("BAKERY_TOKEN", "secret"),
    ),
    Fault("a severity without its label", "labels", lambda made: made.sandbox.github.remove_label("sev1"), "N13"),
    Fault("a recovery without its label", "labels", lambda made: made.sandbox.github.remove_label("recover:blog")),
    Fault("a responder who may only read", "responders", add_reader),
    Fault("a lead who may only read", "responders", add_reading_lead),
    Fault("Actions that are turned off", "actions-policy", set_policy(enabled=False)),
    Fault("a repository that allows only its own actions", "actions-policy", set_policy(allowed="local_only")),
    Fault(
        "a list of allowed actions without those of the workflows",
        "actions-policy",
        set_policy(allowed="selected", github_owned=False, patterns=("docker/*",)),
    ),
    Fault("a token that may write by default", "workflow-token", set_policy(token_writes=True)),
    Fault("pull requests that workflows may approve", "workflow-token", allow_pulls),
    Fault("workflows that one person can change", "workflow-review", require_no_approval),
    Fault("code owners without the workflows", "workflow-review", own_only_docs),
    Fault("code owners without the program of the workflows", "workflow-review", own_only_workflows),
    Fault("strangers whose workflows start at once", "fork-approval", open_to_strangers),
    Fault("own runners of which one is online", "runners", use_runners(True, False)),
    Fault("own runners in a public repository", "runners", show_runners_to_strangers),
    Fault(
        "a runner of the watch that is offline",
        "runners",
        use_runners(False, settings="watch_runner: bakery"),
    ),
    Fault("a token for DNS too", "token-excess", token(*PERMISSIONS, "DNS Write")),
    Fault(
        "a public repository that builds a private site",
        "artifact-privacy",
        lambda made: setattr(made.sandbox.github.switches, "private", False),
        "S7",
    ),
    Fault("a drill 50 days ago", "drill", lambda made: made.sandbox.clock.advance(50 * 86_400)),
    Fault("no network", "internet", lambda made: made.environ.update(OPS_EDGE_URL="http://127.0.0.1:9")),
    Fault("a clock an hour late", "clock", use_real_clock),
    Fault("an outage of Workers", "cloudflare-status", lambda made: set_status(made, "cloudflare", "Workers")),
    Fault("an outage of Actions", "github-status", lambda made: set_status(made, "github", "Actions")),
    Fault("a commit that the repository of the actions lacks", "actions", use_missing_commit),
    Fault("no package index", "packages", lambda made: setattr(made.sandbox.edge.public_sites, "index_status", 503)),
)


@dataclass(frozen=True)
class OtherAnswer:
    """A state with another answer than the usual one of its check."""

    name: str
    check: str
    apply: Callable[[Bakery], object]
    fact: str
    """Name or value in the text."""
    answer: str = "not_provable"


def verify_token(**fields: str) -> Callable[[Bakery], object]:
    """Let Cloudflare verify the token with these fields."""
    answer = {"success": True, "errors": [], "messages": [], "result": {"id": "a" * 32, "status": "active", **fields}}
    rule = {"path": "/user/tokens/verify", "times": None, "body": json.dumps(answer), **JSON}
    return lambda made: made.sandbox.fault(**rule)


def list_no_account(made: Bakery) -> None:
    made.sandbox.fault(path="/accounts", body='{"success": true, "errors": [], "result": []}', times=None, **JSON)


def use_two_commits(made: Bakery) -> None:
    made.edit("responders:", "github: {actions: acme/operations}\nresponders:")
    made.sync(pin=f"{'a' * 40} # v{__version__}")
    made.edit(f"gate@{'a' * 40}", f"gate@{'b' * 40}", RECOVER)


def deploy_during(path: str, reads: int, deploy: Callable[[Bakery], object]) -> Callable[[Bakery], object]:
    """Deploy before the read of that number."""
    return lambda made: made.sandbox.fault(method="GET", path=path, skip=reads, before=lambda: deploy(made))


def deploy_site(made: Bakery) -> None:
    made.sandbox.pages.add_deployment(SITE, files={"index.html": b"<h1>Cake</h1>", "version.txt": b"9"})


def bind_another_worker(made: Bakery) -> None:
    made.sandbox.deploy("kiosk", made.sandbox.upload("kiosk", bindings=made.bound))
    kiosk = "{worker: kiosk, url: 'https://shop.bakery.example', probes: [{name: health, http: {path: /health}}]}"
    made.edit("      blog:\n", f"      kiosk: {kiosk}\n      blog:\n")


OTHER_ANSWERS = (
    OtherAnswer(
        "a token with a space", "token", lambda made: made.environ.update(BAKERY_TOKEN="a token"), "U+0020", "wrong"
    ),
    OtherAnswer("a disabled token", "token-valid", verify_token(status="disabled"), "disabled", "wrong"),
    OtherAnswer("an unreadable expiry", "token-expiry", verify_token(expires_on="soon"), "expiry"),
    OtherAnswer("settings that only an admin reads", "actions-policy", hide_settings, "may not read"),
    OtherAnswer("rights that only an admin reads", "workflow-token", hide_settings, "may not read"),
    OtherAnswer("runners that the owner may share", "runners", use_runners(settings="runs_on: watching"), "runs_on"),
    OtherAnswer("a group of runners", "runners", use_runners(True, settings="runs_on: {group: b}"), "group"),
    OtherAnswer(
        "verified creators, whom GitHub does not name",
        "actions-policy",
        set_policy(allowed="selected", github_owned=False, verified=True),
        "actions/checkout",
    ),
    OtherAnswer("pull requests that workflows may not open", "workflow-token", propose_limits, "may not open", "wrong"),
    OtherAnswer("a token that hides its rights", "token-excess", token(*without("API Tokens Read")), "policies"),
    OtherAnswer("no account", "account", list_no_account, "account"),
    OtherAnswer("a right that only a button needs", "token-writes", token(*without("D1 Write")), "restore-database"),
    OtherAnswer(
        "a token that lists no service tokens",
        "probe-access",
        send_service_token(timedelta(days=90), may=False),
        "Access",
    ),
    OtherAnswer(
        "no probe that reads the version",
        "probes",
        edit("              version: version.id\n", ""),
        "71 healthy rounds",
    ),
    OtherAnswer("a site with 25 deployments in a day", "horizon", deploy_site_often, "newest 25 deployments"),
    OtherAnswer(
        "half a service token",
        "probe-access",
        edit("path: /health", "path: /health\n              request_headers: {CF-Access-Client-Id: ACCESS_ID}"),
        "CF-Access-Client-Secret",
    ),
    OtherAnswer("a token without D1", "database", token(*without("D1 Write")), "D1"),
    OtherAnswer("a token without R2", "kept-rows", keep_rows(hide_buckets), "R2"),
    OtherAnswer(
        "a maintenance Worker of somebody else",
        "maintenance",
        lambda made: made.sandbox.deploy("ops-maintenance", made.sandbox.upload("ops-maintenance", code="theirs")),
        "ops-maintenance",
        "wrong",
    ),
    OtherAnswer(
        "a Worker with the database that it does not name", "database-workers", bind_another_worker, "kiosk", "wrong"
    ),
    OtherAnswer(
        "unreadable bindings",
        "database-workers",
        lambda made: made.sandbox.fault(path=f"/accounts/*/workers/scripts/{WORKER}/settings", times=None, status=500),
        "HTTP 500",
    ),
    OtherAnswer(
        "no status page",
        "cloudflare-status",
        lambda made: made.sandbox.edge_fault(host="www.cloudflarestatus.com", status=503, times=None),
        "www.cloudflarestatus.com",
    ),
    OtherAnswer(
        "a status page without Actions",
        "github-status",
        lambda made: made.sandbox.status_pages.github.states.pop("Actions"),
        "Actions",
    ),
    OtherAnswer(
        "an outage of GitHub",
        "github",
        lambda made: made.sandbox.github.fault(path="/repos/*/*", status=500, times=None),
        "GitHub",
        "wrong",
    ),
    OtherAnswer(
        "a closed service",
        "url",
        lambda made: made.sandbox.edge_fault(
            host="shop.bakery.example", status=503, headers={"ops-maintenance": "RUN"}, times=None
        ),
        "shop.bakery.example",
    ),
    OtherAnswer(
        "a deployment of the site during the check",
        "compare",
        deploy_during("/accounts/*/pages/projects/*/deployments", 2, deploy_site),
        SITE,
    ),
    OtherAnswer(
        "a deployment of the Worker during the check",
        "rollback",
        deploy_during(f"/accounts/*/workers/scripts/{WORKER}/deployments", 2, lambda made: made.release()),
        WORKER,
    ),
    OtherAnswer(
        "a sandbox of Cloudflare only", "labels", lambda made: made.environ.update(GITHUB_API_URL=None), "GitHub"
    ),
    OtherAnswer(
        "workflows of an older version",
        "workflows",
        lambda made: generated_by(World(made.sandbox, made.folder), "0.0.9"),
        "0.0.9",
    ),
    OtherAnswer(
        "workflows of two versions",
        "workflows",
        lambda made: generated_by(World(made.sandbox, made.folder), "0.0.9", "evidence"),
        "mix of versions 0.0.9 (evidence.yml)",
        "wrong",
    ),
    OtherAnswer("actions of two commits", "workflows", use_two_commits, "bbbbbbbb", "wrong"),
)
