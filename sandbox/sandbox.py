"""The sandbox: a Python object to start, seed, disturb and inspect; its clients use HTTP."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from email.message import Message
from typing import Any, Literal, Self

from sandbox.clock import FakeClock
from sandbox.cloudflare.account import ChangeAuthor, FakeAccount
from sandbox.cloudflare.api import FakeCloudflareApi
from sandbox.cloudflare.call import BASE
from sandbox.cloudflare.tokens.state import DEFAULT_PERMISSIONS, CloudflareTokens, FakeCloudflareToken, Owner
from sandbox.cloudflare.workers import state as uploads
from sandbox.cloudflare.workers.state import FakeWorkerDeployment, WorkerUpload
from sandbox.control import PREFIX, ControlApi, is_for
from sandbox.edge.ai_providers import FakeAiProviders
from sandbox.edge.embedded import BEHAVIOUR, EmbeddedRuntime
from sandbox.edge.front_door import Edge, Runtime, host_of
from sandbox.edge.runtime_contract import RuntimeContract
from sandbox.edge.status_pages import CLOUDFLARE, GITHUB, StatusPages
from sandbox.faults import Fault, Faults
from sandbox.github import GitHub
from sandbox.hosted_pages import instatus, statuspage
from sandbox.hosted_pages.instatus import InstatusApi
from sandbox.hosted_pages.statuspage import StatuspageApi
from sandbox.records import RequestRecord
from sandbox.server import HttpRequest, HttpResponse, Server
from sandbox.switches import Switches

STATUS_HOSTS = {CLOUDFLARE, GITHUB, instatus.HOST, statuspage.HOST}
AUTHOR = "ci@example.com"
RuntimeName = Literal["embedded", "workerd"]


class Sandbox:
    """A local Cloudflare and GitHub. Use it as a context manager, or call `start` and `stop`.

    The seeding methods (`upload`, `deploy`, `put_secret`, `delete_version`, `delete_resource`) need no permission and
    validate nothing. `at` backdates the change without moving the clock.
    """

    def __init__(
        self,
        *,
        account_id: str = "0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f",
        edge: RuntimeName = "embedded",
        port: int = 0,
        virtual_clock: bool = False,
        switches: Switches | None = None,
        repository: str = "acme/operations",
        github_port: int = 0,
    ) -> None:
        self.faults = Faults()
        # first, so that a port in use leaves nothing to close
        self._api_server = Server(self._answer, port, is_prompt=lambda: not self.faults.may_wait)
        self.account_id = account_id
        self.token = "sandbox-workers-pages-writing"  # noqa: S105  (opens nothing but this sandbox)
        self.clock = FakeClock(virtual=virtual_clock)
        self.switches = switches or Switches()
        self.edge_faults = Faults()
        self.requests: list[RequestRecord] = []
        self._tokens = CloudflareTokens(FakeCloudflareToken(secret=self.token, permissions=DEFAULT_PERMISSIONS))
        self.account = FakeAccount(account_id, self.clock, self.switches, self._tokens)
        self.pages = self.account.pages
        self.zones, self.kv, self.d1 = self.account.zones, self.account.kv, self.account.d1
        self.audit, self.analytics = self.account.audit, self.account.analytics
        self.cloudflare = FakeCloudflareApi(self.account)
        self.providers = FakeAiProviders(self.clock, self.switches)
        self._contract = RuntimeContract(self.kv, self.clock)
        self._runtime = _make_runtime(edge, self.account, self.providers, self._contract)
        self.edge = Edge(self.account, self._runtime)
        self._control = ControlApi(
            self,
            {
                ("GET", "/edge"): lambda _: dict(self.edge_counts),
                ("POST", "/providers"): self.providers.change,
                ("POST", "/status"): self.status_pages.change,
            },
        )
        self._edge_server = Server(self._answer_edge, is_prompt=self._is_edge_prompt)
        self._others: list[Sandbox] = []
        self.github = GitHub(self.clock, repository=repository, port=github_port)
        self.edge.public_sites.answer_site = self.github.answer_site

    def start(self) -> None:
        self._api_server.start()
        self._edge_server.start()
        self.providers.start()
        self.github.start()

    def stop(self) -> None:
        self.faults.close()
        self.edge_faults.close()
        self._runtime.close()
        self._api_server.stop()
        self._edge_server.stop()
        self.providers.stop()
        self.github.stop()
        self.d1.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # Addresses.

    @property
    def api_url(self) -> str:
        return self._api_server.url + BASE

    @property
    def edge_url(self) -> str:
        return self._edge_server.url

    @property
    def control_url(self) -> str:
        return self._api_server.url + PREFIX

    @property
    def clock_url(self) -> str:
        return f"{self.control_url}/clock"

    def environ(self) -> dict[str, str]:
        """Return the environment variables that a client needs."""
        return {
            "CLOUDFLARE_API_BASE_URL": self.api_url,
            "CLOUDFLARE_API_TOKEN": self.token,
            "CLOUDFLARE_ACCOUNT_ID": self.account_id,
            "OPS_EDGE_URL": self.edge_url,
            "OPS_CLOCK_URL": self.clock_url,
            "OPS_PROVIDERS_URL": self.providers.url,
        }

    def describe(self) -> dict[str, Any]:
        with self.account.lock:
            services = [
                {"worker": worker.name, "live": dict(worker.live), "versions": len(worker.versions)}
                for worker in self.account.workers.values()
            ]
            sites = [
                {"project": project.name, "subdomain": project.subdomain, "live": project.live and project.live.id}
                for project in self.pages.projects.values()
            ]
        return {
            "api_url": self.api_url,
            "edge_url": self.edge_url,
            "control_url": self.control_url,
            "clock_url": self.clock_url,
            "account_id": self.account_id,
            "tokens": [
                {"token": token.secret, "permissions": sorted(token.permissions), "expired": token.expired}
                for token in self._tokens
            ],
            "services": services,
            "sites": sites,
            "providers": self.providers.describe(),
            "switches": asdict(self.switches),
            "github": self.github.describe(),
        }

    # Contents.

    def add_token(
        self,
        token: str,
        permissions: Iterable[str] = (),
        *,
        expired: bool = False,
        expires_on: str = "",
        owner: Owner = "user",
    ) -> str:
        self._tokens.add(
            FakeCloudflareToken(
                secret=token,
                permissions=frozenset(permissions),
                expired=expired,
                expires_on=expires_on,
                owner=owner,
            )
        )
        return token

    def revoke_token(self, token: str) -> None:
        """Revoke the token at Cloudflare."""
        self._tokens.remove(next(each for each in self._tokens if each.secret == token))

    def copy_token(self, token: str) -> str:
        """Return another token with the same rights, whose requests have another sender; an unknown one unchanged."""
        known = next((each for each in self._tokens if each.secret == token), None)
        if known is None:
            return token
        copy = replace(known, secret=f"{token}-{len(list(self._tokens))}", id="")
        self._tokens.add(copy)
        return copy.secret

    def add_account(self, other: "Sandbox") -> None:
        """Let API and edge here answer for the account of `other` too. The default token of all sandboxes is equal."""
        self._others.append(other)
        self.account.visible.append(other.account)

    def rename_account(self, name: str) -> None:
        self.account.name = name

    def route(self, host: str, worker: str) -> None:
        """Serve `host`, which is in no zone, with `worker`. A single Worker needs no route."""
        self.edge.routes[host] = worker

    def upload(
        self,
        worker: str,
        *,
        behaviour: Mapping[str, Any] | None = None,
        code: str | None = None,
        vars: Mapping[str, str] | None = None,  # noqa: A002
        bindings: Sequence[Mapping[str, Any]] = (),
        secrets: Mapping[str, str] | None = None,
        compatibility_date: str = "2026-09-01",
        migration_tag: str | None = None,
        handlers: Sequence[str] = ("fetch",),
        tag: str | None = None,
        message: str | None = None,
        author: str = AUTHOR,
        triggered_by: str = "upload",
        at: datetime | None = None,
        assets: bool = False,
        version_metadata: bool = True,
        durable_objects: Sequence[str] = (),
        more: Mapping[str, Any] | None = None,
    ) -> str:
        """Upload a version without deploying it, and return its ID. Creates a missing Worker.

        Defaults: `code` differs each time, `secrets` are those of the previous version (as wrangler keeps them),
        `migration_tag` is the current one. `more` holds other fields of `WorkerUpload`.
        """
        with self.account.lock:
            state = self.account.worker(worker)
            state.migration_tag = migration_tag or state.migration_tag
            kept = state.latest.upload.secrets if state.latest else {}
            texts = dict(vars or {}) if behaviour is None else {**(vars or {}), BEHAVIOUR: json.dumps(behaviour)}
            upload = WorkerUpload(
                modules=(
                    uploads.make_module(f"// version {state.last_number + 1} of {worker}" if code is None else code),
                ),
                main_module=uploads.MAIN,
                bindings=(*bindings, *uploads.make_bindings(texts, version_metadata=version_metadata)),
                secrets=kept if secrets is None else secrets,
                compatibility_date=compatibility_date,
                migration_tag=state.migration_tag,
                handlers=tuple(handlers),
                durable_objects=tuple(durable_objects),
                has_assets=assets,
            )
            upload = replace(upload, **(more or {}))
            by = ChangeAuthor(author=author, source="wrangler", message=message, tag=tag, at=at)
            return self.account.add_version(state, upload, by, triggered_by=triggered_by).id

    def deploy(
        self,
        worker: str,
        version: str | Mapping[str, float],
        *,
        message: str | None = None,
        author: str = AUTHOR,
        source: str = "wrangler",
        triggered_by: str = "deployment",
        at: datetime | None = None,
    ) -> str:
        """Deploy a version at 100 %, or versions by percentage, and return the deployment's ID."""
        percentages = {version: 100} if isinstance(version, str) else version
        by = ChangeAuthor(author=author, source=source, message=message, at=at)
        with self.account.lock:
            state = self.account.workers[worker]
            return self.account.deploy(state, percentages, by, triggered_by=triggered_by).id

    def put_secret(
        self, worker: str, name: str, value: str, *, author: str = AUTHOR, at: datetime | None = None
    ) -> str:
        """Set a secret as the API does: create a version, deploy it at 100 %, and return its ID."""
        with self.account.lock:
            by = ChangeAuthor(author=author, source="api", at=at)
            return self.account.edit_secrets(self.account.workers[worker], {name: value}, by).id

    def delete_version(self, worker: str, version_id: str) -> None:
        with self.account.lock:
            state = self.account.workers[worker]
            if version_id in state.live:
                raise ValueError(f"version {version_id} is live and cannot be deleted")
            del state.versions[version_id]

    def delete_resource(self, resource: str) -> None:
        """Delete a KV namespace by ID, or an R2 bucket or queue by name.

        Versions bound to it can no longer be deployed.
        """
        self.account.deleted_resources.add(resource)
        self.kv.namespaces.pop(resource, None)

    def set_outcomes(self, worker: str, outcomes: Mapping[str, Mapping[str, int]]) -> None:
        """Set the AI outcomes that an embedded Worker reports, such as `{"iflow": {"ok": 0, "failed": 7}}`."""
        self._contract.outcomes[worker] = outcomes

    def deployments(self, worker: str) -> list[FakeWorkerDeployment]:
        """Return the deployments, newest first."""
        with self.account.lock:
            return self.account.workers[worker].history[::-1]

    def run_events(self, worker: str, times: int = 1) -> None:
        """Run the Worker as a cron trigger or a queue does. `throws` in the behaviour of its version lets it fail."""
        for _ in range(times):
            self.edge.run_event(worker, HttpRequest(method="POST", target="/", headers=Message(), body=b""))

    def live(self, worker: str) -> dict[str, float]:
        """Return version ID → percentage of the traffic."""
        with self.account.lock:
            return dict(self.account.workers[worker].live)

    def subdomain(self, worker: str) -> dict[str, bool]:
        """Return the workers.dev settings of the Worker."""
        return dict(self.account.workers[worker].subdomain)

    def set_subdomain(self, worker: str, **switches: bool) -> None:
        self.account.workers[worker].subdomain |= switches

    def latest(self, worker: str) -> str:
        """Return the ID of the version uploaded last, deployed or not."""
        with self.account.lock:
            return next(reversed(self.account.workers[worker].versions))

    # Requests and faults.

    def fault(self, **rule: Any) -> Fault:
        """Add a fault of the API. Takes the fields of `Fault`."""
        return self.faults.add(Fault(**rule))

    def edge_fault(self, **rule: Any) -> Fault:
        """Add a fault of the edge. Takes the fields of `Fault`."""
        return self.edge_faults.add(Fault(**rule))

    @property
    def unknown_requests(self) -> list[RequestRecord]:
        """Requests to routes that the sandbox does not have."""
        return [record for record in self.requests if record.unknown]

    @property
    def status_pages(self) -> StatusPages:
        """Status pages of Cloudflare and GitHub."""
        return self.edge.public_sites.status

    @property
    def statuspage(self) -> StatuspageApi:
        """Atlassian Statuspage, for a page that the team has there."""
        return self.edge.public_sites.statuspage

    @property
    def instatus(self) -> InstatusApi:
        """Instatus, for a page that the team has there."""
        return self.edge.public_sites.instatus

    @property
    def edge_counts(self) -> Counter[str]:
        """Version ID → requests served."""
        return self.edge.counts

    def _answer(self, request: HttpRequest) -> HttpResponse | None:
        if is_for(request):
            return self._control.answer(request)
        record = RequestRecord.from_request(request, at=self.clock.now(), unknown=not self.cloudflare.knows(request))
        self.requests.append(record)
        response = self.faults.wrap(record.wrap(self._cloudflare_for(request).answer), request)
        record.status = response.status if response else None
        return response

    def _answer_edge(self, request: HttpRequest) -> HttpResponse | None:
        """Answer at the edge. A status page has only the faults that name its host."""
        host, answer = host_of(request), self._edge_for(request).answer
        if host in STATUS_HOSTS and all(fault.host != host for fault in self.edge_faults.rules):
            return answer(request)
        response = self.edge_faults.wrap(answer, request)
        return response and self.edge.add_ray(request, response)

    def _is_edge_prompt(self) -> bool:
        """Whether no answer of the edge waits in real time now."""
        everyone = (self, *self._others)
        return not (self.edge_faults.may_wait or any(each.edge.may_wait for each in everyone))

    def _cloudflare_for(self, request: HttpRequest) -> FakeCloudflareApi:
        """Return the API of the account that the request names, by ID or by a zone; else that of its token."""
        named = {request.query.get("account.id", ""), *request.path.split("/")}
        there = (each for each in self._others if not named.isdisjoint({each.account_id, *each.zones.all}))
        if other := next(there, None):
            return other.cloudflare
        token = request.headers.get("authorization")
        is_foreign = self.account_id not in named and not self._tokens.find(token)
        known = (each for each in self._others if is_foreign and each.account.tokens.find(token))
        return next(known, self).cloudflare

    def _edge_for(self, request: HttpRequest) -> Edge:
        host = host_of(request)
        return next((each.edge for each in self._others if each.edge.serves(host)), self.edge)


def _make_runtime(
    name: RuntimeName, account: FakeAccount, providers: FakeAiProviders, contract: RuntimeContract
) -> Runtime:
    if name == "embedded":
        return EmbeddedRuntime(providers.accepts_key, account.clock, contract, account.d1, account.kv)
    from sandbox.edge.workerd import WorkerdRuntime  # imported here because it needs Node

    return WorkerdRuntime(account.clock, account.kv, account.d1, providers)
