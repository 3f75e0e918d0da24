"""A shop with staging drills, and results that its workflow published."""

from datetime import timedelta
from typing import Any

from ops.app.configuration import load_config
from ops.core.drill_result import DrillKind, DrillOutcome, DrillResult, DrillTime
from ops.core.redaction import Redactor
from ops.report.drill_trend import publish_drill_result
from tests.conftest import World, workflow_run
from tests.support.shop import STAGING, Shop, open_shop

DRILLED_STAGING = f"{STAGING}        probes: [{{name: cart, http: {{path: /cart}}}}]\n"
SECTION = "staging_drill: {environment: staging, service: web}\n"


def open_drilled_shop(world: World, section: str = SECTION) -> Shop:
    """Open the shop with a staging environment and the section."""
    shop = open_shop(world)
    world.config.write_text(world.config.read_text() + DRILLED_STAGING + section)
    for login in ("mai", "alice"):
        world.sandbox.github.add_user(login)
    return shop


def result_of(shop: Shop, days_ago: float = 0, seconds: float | None = 9, **more: Any) -> DrillResult:
    """Return a result whose recovery took these seconds, with a target of a minute."""
    started = (shop.world.sandbox.clock.now() - timedelta(days=days_ago)).replace(microsecond=0)
    fields: dict[str, Any] = {"outcome": DrillOutcome.PASSED, "write": DrillTime(3, 30), "report": ""} | more
    verified = DrillTime(seconds, 60)
    return DrillResult("rollback-worker", DrillKind.STAGING, "staging", "web", started, verified=verified, **fields)


def publish(shop: Shop, result: DrillResult, *, login: str = "", run: int = 5001) -> str:
    """Publish a result from a job, or from the laptop of a person."""
    hub = shop.world.sandbox.github
    environ: dict[str, Any] = {**hub.environ(), "GITHUB_RUN_ID": str(run)}
    workflow_run(hub, environ)
    if login:
        hub.add_token(f"ghp_{login}", login, ["repo"])
        environ = {**hub.environ(), "GITHUB_TOKEN": f"ghp_{login}"}
    variables = {**shop.world.sandbox.environ(), **shop.environ(), **environ}
    redactor = Redactor()
    return publish_drill_result(result, load_config(shop.world.config, variables, redactor), variables, redactor)
