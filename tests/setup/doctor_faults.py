"""Faults of a set-up, each with the check that must find it and the audit's finding that it repeats."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from tests.setup.doctor_changes import (
    INCIDENT,
    PROGRAM,
    RECOVER,
    add_open_form,
    add_provider_page,
    add_reader,
    add_reading_lead,
    add_stale_button,
    allow_pulls,
    approve_own_requests,
    approve_without_reviewer,
    bind_missing_database,
    break_newest_upload,
    delete_an_action,
    disable_r2,
    edit,
    edit_secrets_often,
    expires_soon,
    hide_zone,
    keep_old_card,
    keep_rows,
    keep_secrets_of_the_repository,
    let_the_only_responder_approve,
    miss_drills,
    move_database,
    name_admin_token,
    open_to_strangers,
    own_only_docs,
    own_only_workflows,
    publish_bucket,
    require_no_approval,
    require_review,
    roll_back,
    schedule_often,
    send_service_token,
    serve_elsewhere,
    serve_files,
    set_policy,
    set_status,
    show_runners_to_strangers,
    token,
    unbind_database,
    upload_many_previews,
    use_missing_commit,
    use_node20,
    use_real_clock,
    use_runners,
    wait_before_recovery,
    without,
)
from tests.support.bakery import NAMESPACE, PERMISSIONS, SITE, WORKER, Bakery

STATUS_PAGE = """status_page:
  url: https://status.bakery.example
  title: Bakery status
  components: [{name: Shop, services: [shop]}]
"""


@dataclass(frozen=True)
class Fault:
    name: str
    check: str
    apply: Callable[[Bakery], object]
    finding: str = ""
    """Finding of the audit that it repeats: N, S or C with its number; empty for another fault."""


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
    Fault("a rollback that still stands", "newest-release", roll_back),
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
    Fault("a card of a former ops.yml", "on-call-card", keep_old_card),
    Fault("no result of a staging drill", "staging-drill", miss_drills),
    Fault("no network", "internet", lambda made: made.environ.update(OPS_EDGE_URL="http://127.0.0.1:9")),
    Fault("a clock an hour late", "clock", use_real_clock),
    Fault("an outage of Workers", "cloudflare-status", lambda made: set_status(made, "cloudflare", "Workers")),
    Fault("an outage of Actions", "github-status", lambda made: set_status(made, "github", "Actions")),
    Fault("a commit that the repository of the actions lacks", "actions", use_missing_commit),
    Fault("a revoked key of the page", "provider-page", lambda made: add_provider_page(made, key="old")),
    Fault("an unknown component of the page", "provider-page", lambda made: add_provider_page(made, shop="comprobot1")),
    Fault("no package index", "packages", lambda made: setattr(made.sandbox.edge.public_sites, "index_status", 503)),
    Fault(
        "a status page that nobody deployed", "status-page", edit("responders:", f"{STATUS_PAGE}responders:", sync=True)
    ),
)
