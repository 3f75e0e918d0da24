"""Front door of the edge: let a cache, the Pages site or the Worker version answer.

Its only headers of its own are `cf-cache-status` and `cf-ray`.
"""

import random
import re
import secrets
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Protocol

from sandbox.cloudflare.account import FakeAccount
from sandbox.cloudflare.analytics.state import SUCCESS, THREW
from sandbox.cloudflare.pages.state import FakePagesDeployment as PagesDeployment
from sandbox.cloudflare.workers.state import FakeWorker, FakeWorkerDeployment, FakeWorkerVersion
from sandbox.cloudflare.zones.state import merge_slashes, normalize_path, parse_workers_dev_host
from sandbox.edge.cache import CacheRule, ResponseCache
from sandbox.edge.injection import find_file, inject_scripts
from sandbox.edge.places import EdgePlaces, Machine, default_lags
from sandbox.edge.site import SiteServer, answer_with_assets
from sandbox.edge.status_pages import PublicSites
from sandbox.server import HttpRequest, HttpResponse

LOCATION_HEADER = "sandbox-location"
"""Request header that selects a location instead of the switch `edge_place`. At Cloudflare, the network decides."""
ADDRESS_HEADER = "sandbox-client-address"
"""Request header with the IP address of the client, for the analytics of a zone."""
SERVED_KEPT = 10_000
SKIPS_CHALLENGE = "sandbox-skips-challenge"
"""A request with this value in any header passes `edge_challenges_runners`."""


@dataclass(frozen=True, kw_only=True)
class RunningVersion:
    """A version with the values of its deployment."""

    worker: str
    version: FakeWorkerVersion
    secrets: Mapping[str, str]
    deployed_versions: frozenset[str] = frozenset()
    """All versions of the deployment, including this one; empty if it serves at a preview address."""
    location: str
    """Data center that runs it. Each has its own cache of KV."""


class UncaughtException(Exception):
    """The code of a version threw an exception and did not catch it."""


class Runtime(Protocol):
    """Runs versions and answers requests as their code does."""

    def serve(self, running: RunningVersion, request: HttpRequest) -> HttpResponse:
        """Return the response of the version. Raises UncaughtException."""
        ...

    def may_wait(self, versions: Iterable[FakeWorkerVersion]) -> bool:
        """Return whether one of the versions may wait in real time before it answers."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class ServedRequest:
    """A request that a machine answered with a version of a Worker or a deployment of a site."""

    at: datetime
    machine: Machine
    version: str


class Edge:
    def __init__(self, account: FakeAccount, runtime: Runtime) -> None:
        self.places = EdgePlaces(default_lags())
        self.served: deque[ServedRequest] = deque(maxlen=SERVED_KEPT)
        """Latest requests that a version answered, oldest first."""
        self.counts: Counter[str] = Counter()
        """ID of a Worker version or Pages deployment → requests served."""
        self.routes: dict[str, str] = {}
        """Host → Worker, for hosts that are in no zone."""
        self.cache_rules: dict[str, CacheRule] = {}
        """Host → rule of a zone in front of it. A Worker's own route runs before the cache of its zone, but not before
        that of another zone in front."""
        self.cache = ResponseCache(account.clock)
        self._account = account
        self._runtime = runtime
        self.public_sites = PublicSites(account.clock, account.switches)
        self.site = SiteServer()
        self._random = random.Random(0)  # noqa: S311  (a split that falls the same way each time)
        self._lock = threading.Lock()

    @property
    def may_wait(self) -> bool:
        """Whether an answer may wait in real time now."""
        with self._account.lock:
            versions = [each for worker in self._account.workers.values() for each in worker.versions.values()]
        return self._account.switches.status_pages_delay_seconds > 0 or self._runtime.may_wait(versions)

    def answer(self, request: HttpRequest) -> HttpResponse:
        host = host_of(request)
        if (public := self.public_sites.answer(host, request)) is not None:
            return public
        response = self._answer_from_zone(host, request)
        with self._account.lock:
            zone = self._account.zones.find(host)
        if zone is not None:
            self._account.analytics.record_zone_request(
                zone.id,
                host,
                request.path,
                request.headers.get(ADDRESS_HEADER, "192.0.2.1"),
                at=self._account.clock.now(),
                status=response.status,
                method=request.method,
                agent=request.headers.get("user-agent", ""),
            )
        return response

    def _answer_from_zone(self, host: str, request: HttpRequest) -> HttpResponse:
        if not self._account.access.admits(host, request.headers):
            return _refusal(host) if self._account.switches.edge_access_refuses else _login(host)
        rule = self.cache_rules.get(host)
        if rule is None or request.method not in {"GET", "HEAD"}:
            return self._answer_for(host, request)
        target = request.path if rule.ignores_query else request.target
        place = self.place_of(request)
        produce = partial(self._answer_for, host, request)
        return self.cache.answer_for(("zone", place, host, target), rule.seconds, produce, names_miss=True)

    def _answer_for(self, host: str, request: HttpRequest) -> HttpResponse:
        if self._account.switches.edge_challenges_runners and _is_challenged(host, request):
            return _challenge()
        if not host.endswith((".pages.dev", ".workers.dev")) and (script := find_file(request.path)) is not None:
            return script
        machine = self._choose_machine(host, request)
        with self._account.lock:
            if self._account.pages.is_site(host) and not self._has_own_route(host, request):
                deployment = self._account.pages.deployment_at(host, machine.lag)
                self._note(machine, deployment.id if deployment else "")
                return self._serve_site(deployment, host, request)
            is_in_zone = self._account.zones.find(host) is not None
            if is_in_zone:
                request = self._normalize(request)
            running = self._find_preview(host, request) or self._find_running(host, request, machine)
        if running is None:
            return _no_origin() if is_in_zone else _not_deployed()
        self._note(machine, running.version.id)
        return self._serve(running, request)

    def _choose_machine(self, host: str, request: HttpRequest) -> Machine:
        place = self.place_of(request)
        if not self._account.switches.edge_machines_differ:
            return self.places.machines_at(place)[-1]
        return self.places.choose(place, host, request.path)

    def _note(self, machine: Machine, version: str) -> None:
        self.served.append(ServedRequest(self._account.clock.now(), machine, version))

    def place_of(self, request: HttpRequest) -> str:
        """Return the data center that the client reaches, such as FRA."""
        return str(request.headers.get(LOCATION_HEADER, self._account.switches.edge_place))

    def add_ray(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        """Add `cf-ray` with the data center, unless a fault has set one; an empty one removes it.

        developers.cloudflare.com/fundamentals/reference/cloudflare-ray-id
        """
        rays = [value for name, value in response.headers if name.lower() == "cf-ray"] or [
            f"{secrets.token_hex(8)}-{self.place_of(request)[:3].upper()}"
        ]
        others = [header for header in response.headers if header[0].lower() != "cf-ray"]
        response.headers = [*others, *(("cf-ray", ray) for ray in rays if ray)]
        return response

    def serves(self, host: str) -> bool:
        """Return whether the account has a site, a zone or a Worker for this host."""
        own = parse_workers_dev_host(host)
        with self._account.lock:
            is_here = self._account.pages.is_site(host) or self._account.zones.find(host) is not None
            return is_here or (own is not None and own[0] in self._account.workers)

    def _normalize(self, request: HttpRequest) -> HttpRequest:
        target = merge_slashes(request.target)
        return replace(request, target=normalize_path(target) if self._account.switches.urls_normalized else target)

    def _serve(self, running: RunningVersion, request: HttpRequest) -> HttpResponse:
        with self._lock:
            self.counts[running.version.id] += 1
        if (asset := answer_with_assets(running.version.upload, request)) is not None:
            return self._from_storage(asset)
        caching = running.version.upload.cache_options or {}
        if not caching.get("enabled"):
            return self._run(running, request)
        version = "" if caching.get("cross_version_cache") else running.version.id
        key = ("worker", running.location, running.worker, version, request.target)
        return self.cache.answer_by_headers(key, request, partial(self._run, running, request))

    def _run(self, running: RunningVersion, request: HttpRequest) -> HttpResponse:
        """Run the version's code."""
        at, began, status = self._account.clock.now(), time.monotonic(), SUCCESS
        try:
            response = self._runtime.serve(running, request)
        except UncaughtException as error:
            status, response = THREW, _exception_page(error)
        self._record(running, request, response, status, at=at, seconds=time.monotonic() - began)
        return response

    def _record(
        self,
        running: RunningVersion,
        request: HttpRequest,
        response: HttpResponse,
        status: str,
        *,
        at: datetime,
        seconds: float,
    ) -> None:
        """Record the invocation for the analytics, and for the telemetry of a Worker with observability."""
        account, version = self._account, running.version.id
        account.analytics.record_invocation(
            account.id, running.worker, version, status, at=at, seconds=seconds, size=len(response.body)
        )
        if account.workers[running.worker].script_settings.get("observability", {}).get("enabled"):
            trigger, outcome = f"{request.method} {request.path}", "ok" if status == SUCCESS else "exception"
            account.analytics.add_handled(
                running.worker, trigger, response.status, at=at, version=version, outcome=outcome
            )

    def _serve_site(self, deployment: PagesDeployment | None, host: str, request: HttpRequest) -> HttpResponse:
        if deployment is None:
            return _not_deployed()
        with self._lock:
            self.counts[deployment.id] += 1
        switches = self._account.switches
        if switches.edge_access_before_deployments and host.endswith(".pages.dev") and host.count(".") > 2:
            return _login(host)
        answer = self._from_storage(self.site.answer(deployment, host, request, self._account.clock.now()))
        return answer if host.endswith(".pages.dev") else inject_scripts(answer, switches)

    def _from_storage(self, answer: HttpResponse) -> HttpResponse:
        """Return the answer of a static file with the header that says whether a cache had it."""
        if answer.status == 200 and self._account.switches.static_files_answer_hit:
            return replace(answer, headers=[*answer.headers, ("cf-cache-status", "HIT")])
        return answer

    def _has_own_route(self, host: str, request: HttpRequest) -> bool:
        """Return whether a route takes the request from a site."""
        zone = self._account.zones.find(host)
        if not self._account.switches.route_precedes_pages_domain or zone is None:
            return False
        return self._account.zones.script_at(zone, host, self._normalize(request).target) is not None

    def _find_preview(self, host: str, request: HttpRequest) -> RunningVersion | None:
        """Return the version at a preview address, deployed or not; None if previews are off."""
        name, version_id = parse_workers_dev_host(host) or ("", "")
        worker = self._account.workers.get(name)
        if worker is None or not version_id or not worker.subdomain["previews_enabled"]:
            return None
        found = [version for version in worker.versions.values() if version.id.startswith(version_id)]
        if not found:
            return None
        own_secrets = found[0].upload.secrets
        return RunningVersion(worker=name, version=found[0], secrets=own_secrets, location=self.place_of(request))

    def _find_running(self, host: str, request: HttpRequest, machine: Machine) -> RunningVersion | None:
        return self._find_version(self._find_worker(host, request.target), request, machine)

    def run_event(self, name: str, request: HttpRequest) -> None:
        """Run a live version of the Worker for an event that no host leads to, such as a cron trigger."""
        machine = self._choose_machine(f"event of {name}", request)
        with self._account.lock:
            running = self._find_version(self._account.workers[name], request, machine)
        if running is not None:
            self._run(running, request)

    def _find_version(self, worker: FakeWorker | None, request: HttpRequest, machine: Machine) -> RunningVersion | None:
        now = self._account.clock.now()
        deployment = self._account.served_at(worker, now, machine.lag) if worker else None
        if worker is None or deployment is None:
            return None
        chosen = self._choose_version(worker, deployment, request)
        return RunningVersion(
            worker=worker.name,
            version=worker.versions[chosen],
            secrets=deployment.secrets[chosen],
            deployed_versions=frozenset(deployment.percentages),
            location=self.place_of(request),
        )

    def _find_worker(self, host: str, path: str) -> FakeWorker | None:
        """Return the Worker by zone or on workers.dev. At any other host, a single Worker answers."""
        workers = self._account.workers
        if zone := self._account.zones.find(host):
            return workers.get(self._account.zones.script_at(zone, host, path) or "")
        if own := parse_workers_dev_host(host):
            worker = None if own[1] else workers.get(own[0])
            return worker if worker and worker.subdomain["enabled"] else None
        if len(workers) == 1:
            return next(iter(workers.values()))
        return workers.get(self.routes.get(host, ""))

    def _choose_version(self, worker: FakeWorker, deployment: FakeWorkerDeployment, request: HttpRequest) -> str:
        """Return the version ID for a request. An override counts only if it names a version of the deployment.

        developers.cloudflare.com/workers/versions-and-deployments/version-overrides
        """
        header = ", ".join(request.headers.get_all("cloudflare-workers-version-overrides", []))
        asked = parse_overrides(header).get(worker.name)
        if asked is not None and asked in deployment.percentages:
            return asked
        with self._lock:
            ids, shares = zip(*deployment.percentages.items(), strict=True)
            return str(self._random.choices(ids, shares)[0])


def host_of(request: HttpRequest) -> str:
    return request.headers.get("host", "").partition(":")[0].lower()


def _is_challenged(host: str, request: HttpRequest) -> bool:
    """Return whether the request gets a challenge. A zone's rules do not cover Cloudflare's own domains."""
    return not host.endswith((".pages.dev", ".workers.dev")) and SKIPS_CHALLENGE not in request.headers.values()


def _challenge() -> HttpResponse:
    """Return a challenge page.

    developers.cloudflare.com/cloudflare-challenges/challenge-types/challenge-pages/detect-response
    """
    headers = [("content-type", "text/html; charset=UTF-8"), ("cf-mitigated", "challenge"), ("server", "cloudflare")]
    page = b"<!DOCTYPE html><title>Just a moment...</title><script>window._cf_chl_opt = {cType: 'managed'}</script>"
    return HttpResponse(status=403, headers=headers, body=page)


def _login(host: str) -> HttpResponse:
    """Redirect to the team's login, as Access does for a visitor without a session."""
    location = f"https://team.cloudflareaccess.com/cdn-cgi/access/login/{host}"
    return HttpResponse(status=302, headers=[("location", location)])


def _refusal(host: str) -> HttpResponse:
    """Return the answer of Access to a program without a valid service token, for `edge_access_refuses`."""
    headers = [("cf-access-domain", host), ("cf-access-aud", "5a" * 32), ("content-type", "text/html; charset=UTF-8")]
    page = b"<title>Forbidden</title><p>You don't have permission to view this."
    return HttpResponse(status=403, headers=headers, body=page)


def _exception_page(error: UncaughtException) -> HttpResponse:
    """Return the page for error 1101, with the exception, which Cloudflare does not show.

    developers.cloudflare.com/workers/observability/errors
    """
    body = f"error code: 1101\n{error}".encode()
    return HttpResponse(status=500, headers=[("content-type", "text/plain; charset=UTF-8")], body=body)


def _no_origin() -> HttpResponse:
    """Return the response for a host of a zone without a Worker: a sandbox has no origin."""
    return HttpResponse(status=522, headers=[("content-type", "text/plain")], body=b"error code: 522")


def _not_deployed() -> HttpResponse:
    return HttpResponse(status=404, headers=[("content-type", "text/plain")], body=b"There is nothing here yet")


_KEY = r"[a-z*][a-z0-9_.*-]*"
_STRING = r'"(?:[\x20-\x21\x23-\x5b\x5d-\x7e]|\\["\\])*"'
_ITEM = rf"(?:{_STRING}|-?[0-9]{{1,15}}(?:\.[0-9]{{1,3}})?|[A-Za-z*][\w!#$%&'*+.^`|~:/-]*|:[A-Za-z0-9+/=]*:|\?[01])"
_PARAMETERS = rf"(?:; *{_KEY}(?:={_ITEM})?)*"
_LIST = rf"\( *(?:{_ITEM}{_PARAMETERS}(?: +{_ITEM}{_PARAMETERS})*)? *\)"
_MEMBER = re.compile(rf"({_KEY})(?:=({_ITEM}|{_LIST}))?{_PARAMETERS}", re.ASCII)
_SEPARATOR = re.compile(r"[ \t]*,[ \t]*")


def parse_overrides(header: str) -> dict[str, str]:
    """Return Worker → version of the members whose value is a string. A header that is no dictionary has none.

    developers.cloudflare.com/workers/versions-and-deployments/version-overrides, rfc-editor.org/rfc/rfc9651
    """
    found: dict[str, str] = {}
    at, text = 0, header.strip(" ")
    while member := _MEMBER.match(text, at):
        name, value = member[1], member[2] or ""
        found.pop(name, None)  # the last one of a name counts
        if value.startswith('"'):
            found[name] = re.sub(r"\\(.)", r"\1", value[1:-1])
        if member.end() == len(text):
            return found
        if (separator := _SEPARATOR.match(text, member.end())) is None:
            break
        at = separator.end()
    return {}
