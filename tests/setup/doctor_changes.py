"""Changes of the bakery's set-up, for the faults and other answers of `ops doctor`."""

from collections.abc import Callable
from datetime import timedelta

from ops.core.public_update import PublicState
from ops.core.version import __version__
from ops.setup import workflows
from sandbox import Sandbox
from tests.conftest import World
from tests.support.bakery import DATABASE, PERMISSIONS, SITE, TOKEN, WORKER, Bakery

INCIDENT = ".github/workflows/incident.yml"
PROGRAM = ".github/scripts/tell.py"
RECOVER = ".github/workflows/recover.yml"


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
    made.write(".github/workflows/ai-failover.yml", workflows._with_workflow_digest("name: ai-failover\n"))


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


def roll_back(made: Bakery) -> None:
    """Deploy the release before the newest one, in the dashboard."""
    before = made.sandbox.deployments(WORKER)[1]
    made.sandbox.deploy(WORKER, before.percentages, message="Rollback")


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


def keep_runs_a_week(made: Bakery) -> None:
    made.sandbox.github.switches.runs_kept_days = 7


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


def miss_drills(made: Bakery) -> None:
    """Configure staging drills in an account of their own, and publish no result."""
    account, host = "7e" * 16, "staging.bakery.example"
    with Sandbox(account_id=account, virtual_clock=True) as other:  # its sockets close, and its state stays
        made.sandbox.add_account(other)
    now = made.sandbox.clock.now()
    other.add_token(TOKEN, PERMISSIONS)
    for days in (2, 1):
        at = now - timedelta(days=days)
        other.deploy(WORKER, other.upload(WORKER, code=f"{days} days", at=at), at=at)
    other.zones.add_route(other.zones.all[other.zones.add(host)], f"{host}/*", WORKER)
    staging = f"""\
  staging:
    account_id: {account}
    token: STAGING_TOKEN
    token_location: "1Password: bakery"
    services:
      shop:
        worker: {WORKER}
        url: https://{host}
        probes: [{{name: health, http: {{path: /health, version: version.id}}}}]
"""
    made.edit("\nlabels:\n", f"{staging}\nlabels:\n")
    made.edit("\nresponders:", "\nstaging_drill: {environment: staging, service: shop}\n\nresponders:")
    made.sync()
    made.environ["STAGING_TOKEN"] = TOKEN
    for name in ("database", "evidence", "limits", "recovery", "report", "security"):
        made.sandbox.github.put_secret("STAGING_TOKEN", "secret", name)


def keep_old_card(made: Bakery) -> None:
    """Write the on-call card, and change a contact."""
    hub = made.sandbox.github.environ() | {"BAKERY_TOKEN": TOKEN, "CLOUDFLARE_API_TOKEN": None}
    assert World(made.sandbox, made.folder).ops("on-call-card", "--config", str(made.config), **hub).code == 0
    made.edit("Baker on call", "Baker of the night")


def add_provider_page(made: Bakery, *, key: str = "key-of-the-page", shop: str = "compshop1") -> None:
    """Publish on a page at Statuspage that has one component, and whose key is in the environment."""
    page = "{url: 'https://status.bakery.example', title: Bakery, provider: statuspage, page_id: pagebakery1"
    components = f"[{{name: Shop, services: [shop], id: {shop}}}]"
    made.edit("responders:", f"status_page: {page}, token: PAGE_KEY, components: {components}}}\nresponders:")
    made.sandbox.statuspage.add_page("pagebakery1", "key-of-the-page", {"compshop1": "Shop"})
    made.sandbox.github.put_secret("PAGE_KEY", "secret", "report")
    made.environ["PAGE_KEY"] = key
    _follow_page(made)


def add_own_page(made: Bakery) -> None:
    """Describe an own page, which nobody deploys."""
    page = "{url: 'https://status.bakery.example', title: Bakery, components: [{name: Shop, services: [shop]}]}"
    made.edit("responders:", f"status_page: {page}\nresponders:")
    _follow_page(made)


def _follow_page(made: Bakery) -> None:
    """Write the workflow and the labels of the page."""
    made.sync()
    for state in PublicState:
        made.sandbox.github.add_label(state.label)
