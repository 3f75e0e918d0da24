"""What a process reaches outside of itself: Cloudflare's API, the edge, a clock; all real, or all a sandbox's.

From the environment alone. Nothing of Cloudflare's is imported before it is needed.
"""

import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from datetime import datetime
from typing import TYPE_CHECKING, TypedDict

from ops.core.clock import Clock
from ops.core.errors import ConfigError, ProviderError, Reason
from ops.core.loopback import is_loopback, printable
from ops.core.names import MAINTENANCE_WORKER as WORKER
from ops.core.observations import Page
from ops.core.redaction import Secret
from ops.core.system_clock import SandboxClock, SystemClock
from ops.core.threads import start

if TYPE_CHECKING:
    from ops.cloudflare.client import Client
    from ops.cloudflare.kv import Kv
    from ops.cloudflare.maintenance_worker import Maintenance
    from ops.cloudflare.pages import Pages
    from ops.cloudflare.routes import Routes
    from ops.cloudflare.types.records import Logged
    from ops.cloudflare.workers import Workers
    from ops.config import Config, Environment
    from ops.config.secrets import Provider
    from ops.core.observations import KeyAnswer
    from ops.core.runtime_contract import Shown
    from ops.probes.durable_object import Admin
    from ops.probes.http import Web

API = "https://api.cloudflare.com/client/v4"
TOKEN_PERMISSIONS = "Workers Scripts: Edit", "Cloudflare Pages: Edit"
"""As the dashboard names them: for services with `worker:`, and for those with `pages:`."""


def addresses(environ: Mapping[str, str]) -> tuple[str, str | None, SystemClock | SandboxClock]:
    """API base, edge and clock. Another API than Cloudflare's own is a sandbox on this machine, and wholly so."""
    base_url = (environ.get("CLOUDFLARE_API_BASE_URL") or API).rstrip("/")
    edge_url, clock_url = environ.get("OPS_EDGE_URL") or None, environ.get("OPS_CLOCK_URL") or None
    for name, url in (("CLOUDFLARE_API_BASE_URL", base_url), ("OPS_EDGE_URL", edge_url), ("OPS_CLOCK_URL", clock_url)):
        if url and url != API and not is_loopback(url):
            hint = "Unset it: only a sandbox on this machine (127.0.0.1) may stand in for Cloudflare."
            raise ConfigError(f"{name} names another machine", reason=Reason.NOT_LOOPBACK, hint=hint)
    if (base_url == API) != (edge_url is None) or (clock_url and base_url == API):
        raise _half_a_sandbox(
            {"CLOUDFLARE_API_BASE_URL": base_url != API, "OPS_EDGE_URL": edge_url, "OPS_CLOCK_URL": clock_url}
        )
    return base_url, edge_url, SandboxClock(clock_url) if clock_url else SystemClock()


def _half_a_sandbox(places: Mapping[str, object]) -> ConfigError:
    is_set, is_not = ([name for name, value in places.items() if bool(value) == wanted] for wanted in (True, False))
    return ConfigError(
        f"{' and '.join(is_set)} {'is' if len(is_set) == 1 else 'are'} set, and {' and '.join(is_not)} "
        f"{'is' if len(is_not) == 1 else 'are'} not: a sandbox stands in for all of it or for none",
        reason=Reason.NOT_LOOPBACK,
        hint=(
            f"For the real Cloudflare, run `unset {' '.join(is_set)}`. For a sandbox, set all three as `ops sandbox` "
            "prints them (the clock may be left out)."
        ),
    )


def cloudflare_token(environ: Mapping[str, str], environment: "Environment", *, is_needed: bool = True) -> Secret:
    """Raises ConfigError where it is missing, or cannot be one. Not needed: one that opens nothing."""
    if not is_needed:
        return Secret("none")
    name, value = environment.token, environ.get(environment.token, "")
    if not value:
        needed = " and ".join(f'"{permission}"' for permission in TOKEN_PERMISSIONS)
        raise ConfigError(
            f"the token for {environment.name} is missing: {name} is not set",
            reason=Reason.TOKEN_MISSING,
            hint=(
                f"It is a Cloudflare API token with the permissions {needed} on this account. On a laptop: `export "
                f"{name}=…`. In a job: a secret of that name in the job's GitHub environment, `recovery` or `security` "
                "(Settings → Environments), handed on under `env:` in the workflow."
            ),
        )
    return printable(name, value)


def cloudflare_client(
    base_url: str, token: Secret, environment: "Environment", clock: Clock, ending: ExitStack
) -> "Client":
    """Open, until the end. It can only read but while somebody has entered its `writing`."""
    from ops.cloudflare.client import Client

    client = Client(base_url, token, token_name=environment.token, clock=clock)
    ending.callback(client.close)
    client.open()
    return client


def probing_web(
    edge_url: str | None, ending: ExitStack, environment: "Environment", environ: Mapping[str, str]
) -> "Callable[[], Web]":
    """The probes' client, made beside the first reads: its certificates take a while to load."""

    def make() -> "Web":
        from ops.probes import secret_headers
        from ops.probes.http import Web

        return Web(edge_url, secret_headers.passes(environment.services.values(), environ))

    web = start(make)
    ending.callback(lambda: web.result().close())
    return web.result


def asking_providers(environ: Mapping[str, str], ending: ExitStack) -> "Callable[[Provider, Secret | None], KeyAnswer]":
    """What a provider says of a key; without one, of a random key. Its client is made when it is first needed."""
    url = environ.get("OPS_PROVIDERS_URL") or None
    is_sandbox = (environ.get("CLOUDFLARE_API_BASE_URL") or API).rstrip("/") != API
    made: list[Web] = []
    lock = threading.Lock()

    def ask(spec: "Provider", key: Secret | None) -> "KeyAnswer":
        from ops.probes import ai_provider
        from ops.probes.http import Web

        if (url is not None) != is_sandbox or (url and not is_loopback(url)):
            raise ConfigError(
                "a sandbox's API and real providers (or the other way round) do not go together",
                reason=Reason.NOT_LOOPBACK,
                hint="Set OPS_PROVIDERS_URL as `ops sandbox` prints it, or, without a sandbox, unset it.",
            )
        with lock:
            if not made:
                made.append(Web(url))
                ending.callback(made[0].close)
        return ai_provider.ask(made[0], spec, key or ai_provider.random_key())

    return ask


def administering(environ: Mapping[str, str], config: "Config", web: "Callable[[], Web]") -> "Admin":
    """Durable Objects by their application's endpoints, which the probes' client reaches."""
    from ops.config import object_tokens
    from ops.probes.durable_object import Admin

    return Admin(web, environ, object_tokens(config))


LoggedErrors = Callable[[str, datetime, datetime], "Callable[[], tuple[Logged, ...] | str]"]


class Reached(TypedDict):
    """What a runbook reads and changes, by its names in a Context."""

    workers: "Workers"
    pages: "Pages"
    routes: "Routes"
    maintenance: "Maintenance"
    kv: "Kv"
    look: Callable[[str], Page]
    shown: "Callable[[str], Shown | str]"
    logged_errors: "LoggedErrors"


LOGS_WAIT = 2.0
"""Real seconds for what was logged: it explains, and may delay nothing."""


def reach(client: "Client", account_id: str, web: "Callable[[], Web]", clock: Clock) -> Reached:
    from ops.cloudflare.kv import Kv
    from ops.cloudflare.maintenance_worker import Maintenance
    from ops.cloudflare.pages import Pages
    from ops.cloudflare.routes import Routes
    from ops.cloudflare.workers import Workers

    return {
        "workers": Workers(client, account_id),
        "pages": Pages(client, account_id),
        "routes": Routes(client, account_id),
        "maintenance": Maintenance(client, account_id, WORKER),
        "kv": Kv(client, account_id),
        "look": _looking(web, clock),
        "shown": showing(web),
        "logged_errors": _logging(client, account_id),
    }


def showing(web: "Callable[[], Web]") -> "Callable[[str], Shown | str]":
    """What an application shows of its limits and switches; or why that is not known."""

    def shown(url: str) -> "Shown | str":
        from ops.probes import runtime

        return runtime.look(web(), url)

    return shown


def _logging(client: "Client", account_id: str) -> "LoggedErrors":
    """Begin to ask; what that answers waits for it, within bounds, or says why it is not known."""

    def begin(worker: str, since: datetime, until: datetime) -> "Callable[[], tuple[Logged, ...] | str]":
        from ops.cloudflare import telemetry
        from ops.cloudflare.types.records import Period

        asked = start(lambda: telemetry.errors(client, account_id, worker, Period(since, until)))

        def answer() -> "tuple[Logged, ...] | str":
            try:
                return asked.result(timeout=LOGS_WAIT)
            except TimeoutError:
                return f"Workers Observability did not answer within {LOGS_WAIT:.0f} s"
            except ProviderError as error:
                return f'{error.message}; the token needs "{telemetry.READ}" for it'

        return answer

    return begin


def _looking(web: "Callable[[], Web]", clock: Clock) -> Callable[[str], Page]:
    def look(url: str) -> Page:
        from ops.probes import page_content

        return page_content.look(web(), clock, url)

    return look
