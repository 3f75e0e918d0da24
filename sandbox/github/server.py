"""The fake GitHub: a Python object to start, seed and inspect; its clients use HTTP."""

import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sandbox import control
from sandbox.clock import FakeClock
from sandbox.faults import Fault, Faults
from sandbox.github.actions.fixtures import ActionsSeeds
from sandbox.github.actions.state import FakeRun
from sandbox.github.api import ENTERPRISE, FakeGitHubApi
from sandbox.github.call import DOCS
from sandbox.github.git.fixtures import GitSeeds
from sandbox.github.git.push import PushServer
from sandbox.github.issues import serializers
from sandbox.github.issues.fixtures import IssueSeeds
from sandbox.github.pages.state import GitHubPages
from sandbox.github.repository import Delivery, GitHubHost, Repository
from sandbox.github.urls import Urls
from sandbox.github.users.fixtures import PeopleSeeds
from sandbox.github.users.state import GitHubActor
from sandbox.github.users.tokens import GitHubTokens
from sandbox.records import RequestRecord
from sandbox.server import HttpRequest, HttpResponse, Server, UnixServer
from sandbox.switches import GitHubSwitches

_SEEDS = (
    "add_user",
    "add_token",
    "add_workflow_token",
    "add_app",
    "open_issue",
    "label",
    "unlabel",
    "close",
    "reopen",
    "comment",
    "edit_comment",
    "add_commit",
    "open_pull",
    "open_fork_pull",
    "push_to_fork",
    "merge",
    "add_run",
    "add_environment",
    "add_ruleset",
    "enable_pages",
    "put_secret",
    "put_variable",
    "secrets",
    "variables",
)


def control_routes(github: "GitHub") -> Mapping[tuple[str, str], Callable[[Any], Any]]:
    """Return control routes: `POST /sandbox/NAME` calls the seeding method NAME with its parameters as JSON."""
    seeds = {("POST", f"/{name}"): _seed(getattr(github, name)) for name in _SEEDS}
    return {
        **seeds,
        ("POST", "/dispatch"): lambda body: _run_to_json(github.dispatch(**body)),
        ("GET", "/deliveries"): lambda _: [delivery._asdict() for delivery in github.deliveries],
        ("GET", "/issues"): lambda _: [serializers.issue_with_body(issue, github.urls) for issue in github.issues],
    }


def _seed(method: Callable[..., Any]) -> Callable[[Any], Any]:
    """Return a handler for the method. A wrong parameter raises TypeError, which is answered with 400."""

    def answer(body: Any) -> Any:
        arguments = inspect.signature(method).bind(**body).arguments
        for name in arguments.keys() & {"at"}:
            arguments[name] = datetime.fromisoformat(arguments[name])
        return method(**arguments)

    return answer


def _run_to_json(run: FakeRun) -> dict[str, Any]:
    return {"id": run.id, "payload": run.payload}


TOKEN = "ghs_sandboxsandboxsandboxsandboxsandbox1"  # noqa: S105  (opens nothing but this sandbox)


class GitHubRepository(PeopleSeeds, IssueSeeds, GitSeeds, ActionsSeeds):
    """One repository. `token` is a GITHUB_TOKEN of it with all permissions that a workflow can grant.

    The seeding methods need no permission and refuse only impossible states. `at` backdates a change without moving the
    clock. Add a person before their first change.
    """

    def __init__(self, repository: Repository, tokens: GitHubTokens, token: str) -> None:
        super().__init__(repository, tokens)
        self.clock, self.switches, self.urls = repository.clock, repository.switches, repository.urls
        self.repository = self.urls.full_name
        self.token = self.add_workflow_token(token)

    def create_first_commit(self) -> None:
        """Create the first commit on the default branch."""
        graph, by = self._repository.git, GitHubActor(user=self._repository.owner)
        readme = {"README.md": f"# {self._repository.name}\n".encode()}
        first = graph.add("Initial commit", by.user, self._repository.now(), (), readme)
        graph.refs[f"refs/heads/{graph.default_branch}"] = first.sha

    def environ(self) -> dict[str, str]:
        """Return the environment variables of a GitHub Actions job."""
        return {
            "GITHUB_API_URL": self.urls.api + (ENTERPRISE if self.switches.enterprise_server else ""),
            "GITHUB_SERVER_URL": self.urls.html,
            "GITHUB_REPOSITORY": self.repository,
            "GITHUB_TOKEN": self.token,
        }

    @property
    def pages(self) -> GitHubPages:
        return self._repository.pages

    def enable_pages(self, domain: str = "") -> None:
        """Turn on GitHub Pages, deployed by workflows, at the domain or below OWNER.github.io/NAME."""
        self.pages.is_enabled, self.pages.domain = True, domain

    @property
    def deliveries(self) -> list[Delivery]:
        """State changes that start workflows, oldest first: event name and payload."""
        return self._repository.deliveries

    def listen_to(self, listener: Callable[[Delivery], object]) -> Callable[[], None]:
        """Call the listener with each new delivery. Returns a function that stops this."""
        self._repository.listeners.append(listener)
        return lambda: self._repository.listeners.remove(listener)

    def find_repository(self, name: str) -> GitSeeds | None:
        """Return the files of the repository `owner/name` on the same GitHub; None if there is none."""
        named = self._repository.host.repositories.get(name.lower())
        return GitSeeds(named, self._tokens) if named else None


class GitHub(GitHubRepository):
    """The first repository, and the API of all. Another one shares users, tokens, requests and faults."""

    def __init__(
        self,
        clock: FakeClock,
        *,
        repository: str = "acme/operations",
        port: int = 0,
        switches: GitHubSwitches | None = None,
    ) -> None:
        self.faults = Faults()
        self.requests: list[RequestRecord] = []
        self._server = Server(self._answer, port, is_prompt=lambda: not self.faults.may_wait)
        self._sockets: list[UnixServer] = []
        urls = Urls(api=self._server.url, html=self._server.url, full_name=repository)
        first = Repository(urls, clock, switches or GitHubSwitches(), GitHubHost(clock))
        super().__init__(first, GitHubTokens(), TOKEN)
        self.create_first_commit()
        self._pushes = PushServer(self._repository, self._tokens)
        self._api = FakeGitHubApi(self._repository, self._tokens)
        self._control = control.ControlApi(self, control_routes(self))

    def add_repository(self, name: str) -> GitHubRepository:
        """Add an empty repository `owner/name`, which is private if the first one is."""
        urls = replace(self.urls, full_name=name)
        made = Repository(urls, self.clock, self.switches, self._repository.host)
        shown = self._open(made)
        shown.create_first_commit()
        return shown

    def open_repository(self, name: str) -> GitHubRepository:
        """Return the repository `owner/name`. Raises KeyError."""
        return self._open(self._repository.host.repositories[name.lower()])

    def _open(self, repository: Repository) -> GitHubRepository:
        token = f"ghs_{repository.urls.full_name.replace('/', '_')}"
        return GitHubRepository(repository, self._tokens, token)

    def start(self) -> None:
        self._server.start()

    def stop(self) -> None:
        self.faults.close()
        for server in (self._server, *self._sockets):
            server.stop()

    def catch_up(self) -> None:
        """Let lists show everything, as after a pause of seconds."""
        self._repository.host.list_lag.catch_up()

    def answer_site(self, host: str, request: HttpRequest) -> HttpResponse | None:
        """Return the response of the GitHub Pages site at this host; None if no repository has one there."""
        with self._repository.lock:
            for each in self._repository.host.repositories.values():
                base = "" if each.pages.domain else f"/{each.name}"
                own = each.pages.domain or f"{each.owner_login.lower()}.github.io"
                if each.pages.is_enabled and host == own and f"{request.path}/".startswith(f"{base}/"):
                    path = request.path.removeprefix(base) or "/"
                    return each.pages.answer(path, request, self.clock.now(), self.switches)
        return None

    def listen(self, socket: Path) -> None:
        """Also listen on a Unix socket, as api.github.com, for the setting `http_unix_socket` of `gh`."""
        server = UnixServer(self._answer, socket)
        server.start()
        self._sockets.append(server)

    # Addresses.

    @property
    def api_url(self) -> str:
        return self._server.url

    @property
    def control_url(self) -> str:
        return self._server.url + control.PREFIX

    def describe(self) -> dict[str, Any]:
        return {
            "api_url": self.api_url,
            "control_url": self.control_url,
            "repository": self.repository,
            "tokens": [
                {"token": one.secret, "login": one.user.login, "scopes": sorted(one.scopes)} for one in self._tokens
            ],
            "users": [
                {"login": each.login, "type": each.type, "role": self._repository.collaborator_role(each)}
                for each in self._repository.users
            ],
            "switches": asdict(self.switches),
        }

    # Requests and faults.

    def fault(self, **rule: Any) -> Fault:
        """Add a fault of the API. Takes the fields of `Fault` except `code`; `message` has GitHub's format."""
        status, message = rule.get("status"), rule.pop("message", "a fault of the sandbox")
        if status is not None and rule.get("body") is None:
            body = {"message": message, "documentation_url": DOCS, "status": str(status)}
            rule |= {"body": json.dumps(body), "content_type": "application/json; charset=utf-8"}
        return self.faults.add(Fault(**rule))

    @property
    def unknown_requests(self) -> list[RequestRecord]:
        """Requests to routes that the sandbox does not have."""
        return [record for record in self.requests if record.unknown]

    def _answer(self, request: HttpRequest) -> HttpResponse | None:
        if control.is_for(request):
            return self._control.answer(request)
        if self.switches.enterprise_server:
            request = _without_base(ENTERPRISE, request)
        answer = self._pushes.answer if self._pushes.is_for(request) else self._api.answer
        is_unknown = answer == self._api.answer and not self._api.knows(request)
        record = RequestRecord.from_request(request, at=self.clock.now(), unknown=is_unknown)
        self.requests.append(record)
        response = self.faults.wrap(record.wrap(answer), request)
        record.status = response.status if response else None
        return response


def _without_base(base: str, request: HttpRequest) -> HttpRequest:
    """Return the request without the base of its path. Other paths lead to no route.

    GraphQL has a base of its own: docs.github.com/enterprise-server/graphql/guides/forming-calls-with-graphql
    """
    path, _, query = request.target.partition("?")
    path = urlsplit(path).path
    if path == "/api/graphql":
        return replace(request, target="/graphql")
    return replace(request, target=f"{path.removeprefix(base) if path.startswith(base) else '/not-found'}?{query}")
