"""States of a set-up with another answer of `ops doctor` than the usual one of their check."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from ops.core.version import __version__
from tests.conftest import World
from tests.setup.doctor_changes import (
    RECOVER,
    add_provider_page,
    deploy_site_often,
    edit,
    hide_buckets,
    hide_settings,
    keep_rows,
    propose_limits,
    send_service_token,
    set_policy,
    token,
    use_runners,
    without,
)
from tests.setup.test_release import generated_by
from tests.support.bakery import SITE, WORKER, Bakery
from tests.support.commands import JSON


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


def lose_provider_page(made: Bakery, status: int) -> None:
    add_provider_page(made)
    made.sandbox.edge_fault(host="api.statuspage.io", status=status, times=None)


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
    OtherAnswer("a retention that only an admin reads", "run-retention", hide_settings, "may not read"),
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
    OtherAnswer("no key of the page here", "provider-page", lambda made: add_provider_page(made, key=""), "PAGE_KEY"),
    OtherAnswer(
        "a provider of the page that does not answer",
        "provider-page",
        lambda made: lose_provider_page(made, 503),
        "503",
    ),
    OtherAnswer(
        "a provider of the page that gets too many requests",
        "provider-page",
        lambda made: lose_provider_page(made, 420),
        "420",
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
        lambda made: generated_by(World(made.sandbox, made.folder), "0.1.1"),
        "0.1.1",
    ),
    OtherAnswer(
        "workflows of two versions",
        "workflows",
        lambda made: generated_by(World(made.sandbox, made.folder), "0.1.1", "evidence"),
        "mix of versions 0.1.1 (evidence.yml)",
        "wrong",
    ),
    OtherAnswer("actions of two commits", "workflows", use_two_commits, "bbbbbbbb", "wrong"),
    OtherAnswer(
        "no measured platform", "platform", lambda made: (made.folder / "platform.json").unlink(), "platform.json"
    ),
)
