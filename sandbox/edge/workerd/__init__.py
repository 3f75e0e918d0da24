"""Run each requested version in its own workerd, through miniflare.

Storage is kept between versions; the memory of Durable Objects is not. KV shows the entries visible at the request's
location; the API does not see KV writes of a Worker. D1 is the API's. A moved clock restarts a version, because a
Worker keeps the clock offset of its start. Alarms and timers follow the machine's clock.
"""

import base64
import http.client
import itertools
import json
import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ops.tools import node
from sandbox.clock import FakeClock
from sandbox.cloudflare.d1.state import D1Databases
from sandbox.cloudflare.kv.state import KvEntry, KvStore
from sandbox.cloudflare.workers.state import FakeWorkerVersion
from sandbox.edge.ai_providers import REAL_PROVIDERS, FakeAiProviders
from sandbox.edge.front_door import RunningVersion, UncaughtException
from sandbox.edge.workerd.options import THREW_HEADER, BindingServer, clock_expression, miniflare_options
from sandbox.server import HttpRequest, HttpResponse

_PROGRAM = Path(__file__).parent / "host.mjs"
_EXIT_SECONDS = 5.0
"""Seconds that Node gets to end by itself."""
_HOP_BY_HOP = {"connection", "content-length", "keep-alive", "transfer-encoding"}
_STOP_SECONDS = 5.0
"""Seconds that requests in progress get before their version is stopped."""


class MiniflareError(Exception):
    """An error message from miniflare."""


class MiniflareHost:
    """Starts Node with the first command. Runs one command at a time."""

    def __init__(self, home: str) -> None:
        self._home = home
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()

    def send_command(self, command: str, **rest: Any) -> dict[str, Any]:
        with self._lock:
            process = self._process = self._process or self._start_node()
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps({"command": command, **rest}) + "\n")
            process.stdin.flush()
            answer: dict[str, Any] = json.loads(process.stdout.readline() or '{"error": "Node ended"}')
        if "error" in answer:
            raise MiniflareError(answer["error"])
        return answer

    def close(self) -> None:
        """Stop Node by closing its stdin, then kill its process group.

        Node also ends if this process ends, because its stdin is closed then too.
        """
        if self._process is None:
            return
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_EXIT_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process.stdout.close()

    def _start_node(self) -> subprocess.Popen[str]:
        """Start Node with its own home and only PATH of the environment, so that uploaded code sees no secrets."""
        return subprocess.Popen(
            [str(node.find_node()), str(_PROGRAM)],
            cwd=node.install_packages(),
            env={"PATH": os.environ.get("PATH", ""), "HOME": self._home, "TMPDIR": self._home},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )


class StoppingError(Exception):
    """The sandbox is stopping."""


@dataclass(kw_only=True)
class _Instance:
    number: int
    url: str
    running: RunningVersion
    now: str
    """JavaScript for the current time in its Workers."""
    active_requests: int = 0
    """Number of requests in progress."""


class WorkerdRuntime:
    """Starts Node on the first request, and a version on its first request."""

    def __init__(self, clock: FakeClock, kv: KvStore, d1: D1Databases, providers: FakeAiProviders) -> None:
        self._clock = clock
        self._kv = kv
        self._outside = {
            host: {"path": base, "url": providers[name].base_url} for (host, base), name in REAL_PROVIDERS.items()
        }
        self._folder = tempfile.TemporaryDirectory(prefix="sandbox-workerd-", ignore_cleanup_errors=True)
        self._host = MiniflareHost(self._folder.name)
        self._changed = threading.Condition()
        self._closed = False
        self._numbers = itertools.count(1)
        self._bindings = BindingServer(d1)
        self._bindings.start()
        self._instances: list[_Instance] = []
        self._written: dict[str, Mapping[str, KvEntry]] = {}
        """Namespace → entries given to miniflare. All instances share one storage."""

    def may_wait(self, versions: Iterable[FakeWorkerVersion]) -> bool:  # noqa: ARG002  it starts Node
        return True

    def serve(self, running: RunningVersion, request: HttpRequest) -> HttpResponse:
        try:
            with self._instance(running) as instance:
                response = _forward(request, instance.url)
        except (MiniflareError, StoppingError) as error:
            return _failure(500, f"{running.worker} does not start in workerd: {error}")
        except (OSError, http.client.HTTPException) as error:
            return _failure(502, f"no response from workerd: {error!r}")
        if (THREW_HEADER, "true") in response.headers:
            raise UncaughtException(response.body.decode(errors="replace"))
        return response

    def close(self) -> None:
        with self._changed:
            self._closed = True
        self._host.close()
        self._bindings.stop()
        self._folder.cleanup()

    @contextmanager
    def _instance(self, running: RunningVersion) -> Iterator[_Instance]:
        """Yield the instance that serves the version. It stays while a request is in progress."""
        with self._changed:
            self._stop_outdated(running)
            if self._closed:
                raise StoppingError("the sandbox is stopping")
            instance = next((each for each in self._instances if _serves(each, running)), None)
            instance = instance or self._start_version(running)
            self._write_kv(instance, running.location)
            instance.active_requests += 1
        try:
            yield instance
        finally:
            with self._changed:
                instance.active_requests -= 1
                self._changed.notify_all()

    def _stop_outdated(self, running: RunningVersion) -> None:
        """Stop the instances of the Worker that no longer serve it: two must not share the storage of a Durable Object.

        A version at a preview address neither stops others nor is stopped by them: Cloudflare gives no preview address
        to a Worker with Durable Objects.
        """
        now = clock_expression(self._clock)
        for instance in [each for each in self._instances if each.running.worker == running.worker]:
            if instance.now == now and (_serves(instance, running) or not _replaces(running, instance.running)):
                continue
            self._changed.wait_for(lambda each=instance: self._closed or not each.active_requests, _STOP_SECONDS)  # type: ignore[misc]
            if instance in self._instances and not self._closed:
                self._instances.remove(instance)
                self._host.send_command("dispose", instance=instance.number)

    def _start_version(self, running: RunningVersion) -> _Instance:
        now = clock_expression(self._clock)
        number, url = self._start_miniflare(self._options(running, now))
        instance = _Instance(number=number, url=url, running=running, now=now)
        self._instances.append(instance)
        return instance

    def _options(self, running: RunningVersion, now: str) -> dict[str, Any]:
        options = miniflare_options(running, now)
        if databases := options.get("d1Databases"):
            options["d1Databases"] = self._bindings.options(databases)
        return options

    def _start_miniflare(self, given: Mapping[str, Any]) -> tuple[int, str]:
        """Start miniflare with these options; return its number in Node and its URL."""
        number, persist = next(self._numbers), f"{self._folder.name}/state"
        answer = self._host.send_command(
            "start", instance=number, options=given, outside=self._outside, persist=persist
        )
        return number, answer["url"]

    def _write_kv(self, instance: _Instance, location: str) -> None:
        """Write the entries that changed for the location since the last write."""
        for binding in instance.running.version.upload.bindings:
            namespace = binding.get("namespace_id", "")
            if binding["type"] != "kv_namespace" or namespace not in self._kv.namespaces:
                continue
            previous, seen = self._written.get(namespace, {}), self._kv.entries_seen_at(location, namespace)
            put = [_kv_pair(key, entry) for key, entry in seen.items() if previous.get(key) != entry]
            gone = [key for key in previous if key not in seen]
            if put or gone:
                self._host.send_command("write", instance=instance.number, binding=binding["name"], put=put, gone=gone)
                self._written[namespace] = seen


def _serves(instance: _Instance, running: RunningVersion) -> bool:
    own = instance.running
    same = (own.version.id, own.secrets) == (running.version.id, running.secrets)
    return same and bool(own.deployed_versions) == bool(running.deployed_versions)


def _replaces(running: RunningVersion, other: RunningVersion) -> bool:
    """Return whether the deployment of `running` excludes the deployed version `other`."""
    if not running.deployed_versions or not other.deployed_versions:
        return False
    return other.version.id not in running.deployed_versions or other.version.id == running.version.id


def _kv_pair(key: str, entry: KvEntry) -> dict[str, Any]:
    return {"key": key, "value": base64.b64encode(entry.value).decode(), "metadata": entry.metadata}


def _forward(request: HttpRequest, url: str) -> HttpResponse:
    """Forward the request unchanged, including Host: the Worker sees it in its URL."""
    with closing(http.client.HTTPConnection(urlsplit(url).netloc)) as connection:
        connection.putrequest(request.method, request.target, skip_host=True, skip_accept_encoding=True)
        for name, value in request.headers.items():
            if name.lower() not in _HOP_BY_HOP - {"content-length"}:
                connection.putheader(name, value)
        connection.endheaders(request.body)
        answer = connection.getresponse()
        headers = [(name, value) for name, value in answer.getheaders() if name.lower() not in _HOP_BY_HOP]
        return HttpResponse(status=answer.status, headers=headers, body=answer.read())


def _failure(status: int, text: str) -> HttpResponse:
    return HttpResponse(status=status, headers=[("content-type", "text/plain")], body=text.encode())
