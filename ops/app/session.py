"""The clients of one environment: Cloudflare, application, AI providers and clock.

All are real, or all belong to a sandbox: environment variables decide. Each is made and imported on first use.
"""

import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ops.core.client_guards import WriteGuards, is_loopback, parse_token
from ops.core.clock import SandboxClock, SystemClock
from ops.core.errors import ConfigError, Reason
from ops.core.redaction import Redactor, Secret
from ops.core.threads import start_call
from ops.engine.context import CloudflareClients, Once, WebClients

if TYPE_CHECKING:
    from concurrent.futures import Future

    from ops.cloudflare.client import CloudflareClient
    from ops.cloudflare.r2 import R2Api
    from ops.config import Config, Environment
    from ops.config.probes import Probe
    from ops.engine.runbook import Runbook
    from ops.probes.http import ProbeClient
    from ops.probes.runner import ProbeRunner

API = "https://api.cloudflare.com/client/v4"
TOKEN_PERMISSIONS = "Workers Scripts Write", "Pages Write"
"""Permissions for services with `worker:` and with `pages:`."""


class Session:
    """Clients for one environment of `ops.yml`, closed by the stack `ending`. Threads may share it."""

    def __init__(
        self,
        config: "Config",
        environment: str,
        environ: Mapping[str, str],
        ending: ExitStack,
        *,
        runbook: "Runbook[Any] | None" = None,
        with_passes: bool = True,
    ) -> None:
        """Clients for a run of `runbook`, or only for reads. Without `with_passes` probes send no secret headers.

        Raises:
            ConfigError: ops.yml has no such environment, only some variables name a sandbox, or one is the URL of
                another machine.
        """
        self.config, self.environment = config, config.environment(environment)
        self.account_id = self.environment.account_id
        self.base_url, self.edge_url, self.clock = find_addresses(environ)
        self.lock = threading.RLock()
        self.write_guards = WriteGuards()
        """Guards of the clients that can write."""
        self._environ = environ
        self._closers: list[Callable[[], object]] | None = []
        ending.callback(self._close_clients)
        self._runbook, self._with_passes = runbook, with_passes
        self.cloudflare = CloudflareClients(lambda: self.client, self.account_id, self.clock)
        self.web = WebClients(
            self.probe_client,
            lambda: self._provider_web,
            config=config,
            environ=environ,
            clock=self.clock,
            write_guards=self.write_guards,
        )

    @property
    def sandbox(self) -> str:
        """Return the URL of the sandbox in place of Cloudflare's API; "" if there is none."""
        return "" if self.base_url == API else self.base_url

    def _at_end(self, close: Callable[[], object]) -> None:
        """Close a client with the session; at once if the session has ended, as a thread may make one later."""
        with self.lock:
            if self._closers is not None:
                self._closers.append(close)
                return
        close()

    def _close_clients(self) -> None:
        with self.lock:
            closers, self._closers = self._closers or [], None
        for close in reversed(closers):
            close()

    @Once
    def token(self) -> Secret:
        """The Cloudflare token; a placeholder if the runbook needs none. Raises ConfigError if missing or malformed."""
        if self._runbook and not self._runbook.github_environment:
            return Secret("none")
        name, value = self.environment.token, self._environ.get(self.environment.token, "")
        if not value:
            has_environments = self.config.github.environments
            raise _missing_token(self.environment, self._runbook, has_environments=has_environments)
        return parse_token(name, value)

    @Once
    def client(self) -> "CloudflareClient":
        """Open client, read-only outside `with session.write_guards.writing():`. Raises ConfigError without a token."""
        from ops.cloudflare.client import CloudflareClient

        client = self.write_guards.add(
            CloudflareClient(self.base_url, self.token, token_name=self.environment.token, clock=self.clock)
        )
        self._at_end(client.close)
        client.open()
        return client

    @Once
    def kept_rows_bucket(self) -> "R2Api | None":
        """The bucket for rows that a restore loses; None without one in ops.yml."""
        from ops.cloudflare.r2 import R2Api

        store = self.environment.kept_rows_store
        return R2Api(self.client, self.account_id, store.bucket, store.jurisdiction) if store else None

    def probe_client(self) -> "ProbeClient":
        """Return the client of the probes."""
        return self._probe_client.result()

    @Once
    def _probe_client(self) -> "Future[ProbeClient]":
        def make_probe_client() -> "ProbeClient":
            from ops.probes.http import ProbeClient, headers_by_origin

            services = self.environment.services.values() if self._with_passes else ()
            return ProbeClient(self.edge_url, headers_by_origin(services, self._environ))

        web = start_call(make_probe_client)
        self._at_end(lambda: web.result().close())
        return web

    def probe_runner(
        self,
        environ: "Callable[[Probe], Mapping[str, str]]",
        redactor: Redactor,
        folder: Path,
        pictures: Path | None = None,
    ) -> "ProbeRunner":
        """Return a runner of probes. Its client is made in the background, because certificates load slowly.

        A command runs in `folder`. Screenshots go into `pictures` (default: `folder`).
        """
        from ops.probes.runner import ProbeRunner

        return ProbeRunner(
            web=self._probe_client.result,
            environ=environ,
            redactor=redactor,
            clock=self.clock,
            folder=folder,
            pictures=pictures or folder,
        )

    @Once
    def _provider_web(self) -> "ProbeClient":
        from ops.probes.http import ProbeClient

        url = self._environ.get("OPS_PROVIDERS_URL") or None
        if (url is not None) != (self.base_url != API) or (url and not is_loopback(url)):
            raise ConfigError(
                "Cloudflare's API and the AI providers must both be real or both be of a sandbox",
                reason=Reason.NOT_LOOPBACK,
                hint="Set OPS_PROVIDERS_URL to the value that `ops sandbox` prints; without a sandbox, unset it.",
            )
        web = ProbeClient(url)
        self._at_end(web.close)
        return web


def find_addresses(environ: Mapping[str, str]) -> tuple[str, str | None, SystemClock | SandboxClock]:
    """Return API base URL, edge URL and clock: all of Cloudflare, or all of a sandbox on this machine.

    Raises:
        ConfigError: only some variables name a sandbox, or one is the URL of another machine.
    """
    base_url = (environ.get("CLOUDFLARE_API_BASE_URL") or API).rstrip("/")
    edge_url, clock_url = environ.get("OPS_EDGE_URL") or None, environ.get("OPS_CLOCK_URL") or None
    for name, url in (("CLOUDFLARE_API_BASE_URL", base_url), ("OPS_EDGE_URL", edge_url), ("OPS_CLOCK_URL", clock_url)):
        if url and url != API and not is_loopback(url):
            hint = f"Run `unset {name}`: only a sandbox on this machine (127.0.0.1) may replace Cloudflare."
            raise ConfigError(f"{name} is the URL of another machine", reason=Reason.NOT_LOOPBACK, hint=hint)
    if (base_url == API) != (edge_url is None) or (clock_url and base_url == API):
        raise _half_a_sandbox(
            {"CLOUDFLARE_API_BASE_URL": base_url != API, "OPS_EDGE_URL": edge_url, "OPS_CLOCK_URL": clock_url}
        )
    return base_url, edge_url, SandboxClock(clock_url) if clock_url else SystemClock()


def _half_a_sandbox(places: Mapping[str, object]) -> ConfigError:
    is_set, is_not = ([name for name, value in places.items() if bool(value) == state] for state in (True, False))
    return ConfigError(
        f"{' and '.join(is_set)} {'is' if len(is_set) == 1 else 'are'} set, and {' and '.join(is_not)} "
        f"{'is' if len(is_not) == 1 else 'are'} not: a sandbox replaces all of Cloudflare or nothing",
        reason=Reason.NOT_LOOPBACK,
        hint=(
            f"For the real Cloudflare, run `unset {' '.join(is_set)}`. For a sandbox, set all three as `ops sandbox` "
            "prints them (the clock is optional)."
        ),
    )


def _missing_token(
    environment: "Environment", runbook: "Runbook[Any] | None", *, has_environments: bool
) -> ConfigError:
    from ops.cloudflare.tokens import dashboard_name

    name = environment.token
    groups = runbook.permissions.needed(environment) if runbook else ()
    named = [f'"{dashboard_name(group)}"' for group in groups or TOKEN_PERMISSIONS]
    needed = f"permission{'s' if len(named) > 1 else ''} {' and '.join(named)}"
    create = f"Create a Cloudflare API token with the {needed} on this account."
    place = f"The token is here: {environment.token_location}." if environment.token_location else create
    homes = (runbook.github_environment,) if runbook else ("recovery", "security")
    for_a_job = (
        f"add a secret of that name to its GitHub environment, {' or '.join(f'`{each}`' for each in homes)} "
        "(Settings → Environments)"
        if has_environments
        else f"add {' or '.join(f'{each.upper()}_{name}' for each in homes)} to the repository's secrets "
        "(Settings → Secrets)"
    )
    return ConfigError(
        f"the Cloudflare token for {environment.name} is missing: {name} is not set",
        reason=Reason.TOKEN_MISSING,
        hint=f"{place} On a laptop: `export {name}=…`. For a job, {for_a_job}.",
    )
