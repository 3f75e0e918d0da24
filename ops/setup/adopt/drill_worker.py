"""The throw-away Worker of a drill on GitHub: a good version, then a broken one."""

from collections.abc import Callable
from importlib.resources import files

from ops.cloudflare.marks import DeploymentMark
from ops.cloudflare.response import CloudflareApiError
from ops.cloudflare.types.inventory import NamedResource
from ops.cloudflare.types.zones import WorkersDevSubdomain
from ops.core.errors import ConfigError, ProviderError, Reason
from ops.github.client import send_twice
from ops.platform.account import MODULE, VerificationAccount
from ops.platform.edge import shown_edge_value, wait_for_edge
from ops.probes.http import Observation

FIRST_ANSWER, LATER_ANSWER = 180.0, 120.0
"""Longest wait for the first answer of a new Worker, and for that of a new version, in seconds."""
AGAIN = "Run `ops adopt` again."
MARK = "broken for a drill of ops adopt"
BROKEN_STATUS = 500
"""Status of the release "broken" of the module."""


class DrillWorker:
    """The Worker `name` of one account. The transport of the account lets no write to another one through."""

    def __init__(self, account: VerificationAccount, name: str) -> None:
        """Raises ValueError for a name that `make_verification_name` did not make."""
        account.transport.own_resource(NamedResource(name, name))
        self._account, self._name = account, name
        self._code = files("ops.platform").joinpath(MODULE).read_bytes()
        self.good = ""
        """ID of the good version; empty before `create`."""

    def find_url(self) -> str:
        """Return the URL that the new Worker will have. Raises ConfigError without one, or if the name is in use."""
        host = self._account.workers.read_workers_dev_host(self._name)
        if not host:
            text = f"account {self._account.account_id} has no workers.dev domain"
            hint = (
                "Open *Workers & Pages* of that account in the dashboard, which makes one. Then run `ops adopt` again."
            )
            raise ConfigError(text, hint=hint)
        if self._account.workers.find_deployments(self._name) is not None:
            raise ConfigError(f"a Worker {self._name} exists already", hint=AGAIN)
        return f"https://{host}"

    def create(self, url: str) -> None:
        """Deploy the good version, and wait until it answers. Raises ProviderError."""
        account = self._account
        with account.client.writing():
            send_twice(lambda: account.api.put_worker(self._name, MODULE, self._code, _describe_drill_bindings("good")))
            on = WorkersDevSubdomain(enabled=True, previews_enabled=False)
            send_twice(lambda: account.workers.set_subdomain(self._name, on))
        workers = account.workers
        self.good = account.read_created(lambda: workers.list_deployable_versions(self._name), "versions").id
        self._await_worker_content(url, self.is_good, FIRST_ANSWER, "the good version")

    def break_it(self, url: str) -> None:
        """Deploy a version that answers 500, and wait until it does. Raises ProviderError."""
        account = self._account
        with account.client.writing():
            broken = send_twice(
                lambda: account.api.upload_version(self._name, MODULE, self._code, _describe_drill_bindings("broken"))
            )
            mark = DeploymentMark(None, self._name, None, MARK)
            send_twice(lambda: account.workers.deploy(self._name, ((broken, 100.0),), mark=mark))
        self._await_worker_content(url, lambda seen: seen.status == BROKEN_STATUS, LATER_ANSWER, "the broken version")

    def is_good(self, seen: Observation) -> bool:
        return seen.status == 200 and shown_edge_value(seen, "version") == self.good

    def require_recovered(self, url: str) -> None:
        """Raise ProviderError unless Cloudflare lists the good version as live, and the Worker answers with it."""
        live = self._account.workers.list_deployments(self._name)
        if not live or live[0].split != ((self.good, 100.0),):
            text = "the run reported a recovery, but Cloudflare lists another version as live"
            raise ProviderError(text, reason=Reason.WORLD_MOVED, hint=AGAIN)
        self._await_worker_content(url, self.is_good, LATER_ANSWER, "the good version after the recovery")

    def _await_worker_content(self, url: str, is_new: Callable[[Observation], bool], seconds: float, what: str) -> None:
        if wait_for_edge(self._account, f"{url}/", is_new, at_most=seconds) is None:
            text = f"{url} did not show {what} within {seconds:.0f} s"
            hint = f"Check the network here and https://www.cloudflarestatus.com. {AGAIN}"
            raise ProviderError(text, reason=Reason.PROVIDER_UNAVAILABLE, hint=hint)

    def delete(self) -> None:
        """Delete the Worker. Does nothing if there is none. Raises ProviderError."""
        with self._account.client.writing():
            try:
                send_twice(lambda: self._account.api.delete_worker(self._name))
            except CloudflareApiError as error:
                if error.status != 404:
                    raise


def _describe_drill_bindings(release: str) -> list[dict[str, str]]:
    return [
        {"type": "version_metadata", "name": "VERSION"},
        {"type": "plain_text", "name": "RELEASE", "text": release},
    ]
