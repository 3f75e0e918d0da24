"""A repository of a sandbox: its contents, IDs and deliveries. It validates nothing."""

import itertools
import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from sandbox.clock import FakeClock
from sandbox.github.actions.state import (
    ActionsPolicy,
    FakeGitHubDeployment,
    FakeRun,
    RunChange,
    SelfHostedRunner,
    Workflow,
)
from sandbox.github.environments.state import FakeEnvironment
from sandbox.github.git.state import Git
from sandbox.github.issues.content_limit import ContentLimit
from sandbox.github.issues.list_lag import ListLag
from sandbox.github.issues.state import FakeIssue, FakeLabel
from sandbox.github.pages.state import GitHubPages
from sandbox.github.rulesets.state import FakeRuleset
from sandbox.github.secrets.state import Vault
from sandbox.github.urls import Urls
from sandbox.github.users.state import ACTIONS_BOT, GITHUB_ACTIONS, App, GitHubActor, Kind, Role, Team, User
from sandbox.github.users.tokens import RateLimits
from sandbox.switches import GitHubSwitches


class Delivery(NamedTuple):
    """A webhook: the event name of X-GitHub-Event, and the payload."""

    event: str
    payload: Mapping[str, Any]


class GitHubHost:
    """What the repositories of one GitHub share: users, IDs, rate limits, and the lock of each change."""

    def __init__(self, clock: FakeClock) -> None:
        self.lock = threading.RLock()
        self.repository_ids = itertools.count(186853002)
        self.last_id = 3_000_000_000
        self.user_ids = itertools.count(1001)
        self.users: dict[str, User] = {}
        """Lowercase login → user."""
        self.rates = RateLimits(clock)
        self.content = ContentLimit(clock)
        self.list_lag = ListLag(clock)
        self.repositories: dict[str, Repository] = {}
        """Lowercase `owner/name` → repository."""


class Repository:
    def __init__(self, urls: Urls, clock: FakeClock, switches: GitHubSwitches, host: GitHubHost) -> None:
        self.urls = urls
        self.clock = clock
        self.switches = switches
        self.host = host
        self.lock, self.rates = host.lock, host.rates
        self.id = next(host.repository_ids)
        host.repositories[urls.full_name.lower()] = self
        self.owner_login, _, self.name = urls.full_name.partition("/")
        self._numbers = itertools.count(1)
        self.owner = self.user(self.owner_login) or self.add_user(self.owner_login, "Organization", None)
        self.description: str | None = None
        self.is_archived = False
        self.teams: list[Team] = []
        """Teams of the owner with access to it."""
        self.actions_bot = self.add_user(ACTIONS_BOT, "Bot", None)
        self.labels: dict[str, FakeLabel] = {}
        """Lowercase name → label."""
        self.threads: dict[int, FakeIssue] = {}
        """Issues and pull requests, which share their numbers."""
        self.git = Git()
        self.workflows: dict[str, Workflow] = {}
        """Path → workflow. A workflow stays after its file is deleted."""
        self.runs: dict[int, FakeRun] = {}
        self.actions_policy = ActionsPolicy()
        self.runners: dict[str, SelfHostedRunner] = {}
        """Name → runner."""
        self.deployments: dict[int, FakeGitHubDeployment] = {}
        self.find_artifacts: Callable[[int], Mapping[str, int]] = lambda _run: {}
        """Return the artifacts of a run: name → size. A runner sets it."""
        self.find_mistake: Callable[[str, Mapping[str, bytes]], str] = lambda _path, _files: ""
        """Return why GitHub refuses a workflow file; "" if it does not. A runner sets it."""
        self.vault = Vault()
        self.environments: dict[str, FakeEnvironment] = {}
        self.rulesets: dict[int, FakeRuleset] = {}
        self.pages = GitHubPages()
        self.deliveries: list[Delivery] = []
        self.listeners: list[Callable[[Delivery], object]] = []
        """Called with each delivery, under the lock. They must not raise."""
        self.run_listeners: list[Callable[[RunChange], object]] = []
        """Called with each change of a run by a person, under the lock."""
        self.created_at = self.now()

    def now(self, by: GitHubActor | None = None) -> datetime:
        """Return the time of a change in whole seconds, as GitHub stores times."""
        at = by.at if by else None
        return (at or self.clock.now()).replace(microsecond=0)

    def new_id(self) -> int:
        self.host.last_id += 1
        return self.host.last_id

    def new_number(self) -> int:
        return next(self._numbers)

    def add_user(self, login: str, kind: Kind, role: Role | None) -> User:
        """Add a user, or change the role in this repository of an existing one."""
        user = self.user(login) or User(login=login, id=next(self.host.user_ids))
        user.type = kind
        self.host.users[login.lower()] = user
        user.roles[self.urls.full_name] = role
        return user

    def user(self, login: str) -> User | None:
        return self.host.users.get(login.lower())

    def collaborator_role(self, user: User) -> Role | None:
        return user.roles.get(self.urls.full_name)

    def role(self, user: User) -> Role | None:
        """Return the role of a user. Everybody can read a public repository."""
        return self.collaborator_role(user) or (None if self.switches.private else "read")

    @property
    def users(self) -> list[User]:
        return list(self.host.users.values())

    def app(self, user: User) -> App | None:
        """Return the app of a bot user; None for any other user."""
        slug, bot, _ = user.login.partition("[bot]")
        if not bot:
            return None
        return GITHUB_ACTIONS if user is self.actions_bot else App(id=user.id, slug=slug, name=slug)

    def bot_of(self, app: App) -> User:
        """Return the bot user of an app, created when first needed."""
        login = f"{app.slug}[bot]"
        return self.user(login) or self.add_user(login, "Bot", None)

    def change_run(self, change: RunChange) -> None:
        for listener in self.run_listeners:
            listener(change)

    def deliver(self, event: str, by: GitHubActor, payload: Mapping[str, Any]) -> Mapping[str, Any]:
        """Deliver an event. Events caused by GITHUB_TOKEN are not delivered, except those that start workflows.

        docs.github.com/actions/concepts/security/github_token#when-github_token-triggers-workflow-runs
        """
        if by.app is None or by.app.starts_workflows or event in {"workflow_dispatch", "repository_dispatch"}:
            self.deliveries.append(Delivery(event, payload))
            for listener in self.listeners:
                listener(self.deliveries[-1])
        return payload
