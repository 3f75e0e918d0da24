"""Seeding methods for users, tokens and GitHub Apps."""

import threading
from collections.abc import Iterable, Mapping
from datetime import datetime

from sandbox.github.repository import Repository
from sandbox.github.users.state import ACTIONS_BOT, App, GitHubActor, Kind, RegisteredApp, Role, Team, User
from sandbox.github.users.tokens import GRANTABLE, GitHubTokens


class Seeds:
    def __init__(self, repository: Repository, tokens: GitHubTokens) -> None:
        self._repository = repository
        self._tokens = tokens

    @property
    def lock(self) -> threading.RLock:
        """Held during each change of the repository and each call of a listener."""
        return self._repository.lock

    def _user(self, login: str) -> User:
        user = self._repository.user(login)
        if user is None:
            raise ValueError(f'no user "{login}": call add_user first')
        return user

    def _by(self, login: str, at: datetime | None = None) -> GitHubActor:
        user = self._user(login)
        if at is not None and at.tzinfo is None:
            raise ValueError(f"`at` needs a time zone; {at.isoformat()} has none")
        return GitHubActor(user=user, app=self._repository.app(user), at=at)


class PeopleSeeds(Seeds):
    def add_user(self, login: str, role: Role | None = "write", kind: Kind = "User") -> str:
        """Add a user, or change the role of an existing one. None: not a collaborator."""
        return self._repository.add_user(login, kind, role).login

    def add_team(self, slug: str, members: Iterable[str]) -> str:
        """Add a team with access to the repository."""
        with self._repository.lock:
            people = tuple(self._user(login) for login in members)
            self._repository.teams.append(Team(id=self._repository.new_id(), slug=slug, members=people))
        return slug

    def add_token(self, token: str, login: str, scopes: Iterable[str] = ("repo",)) -> str:
        """Add a classic token with scopes such as `repo`, or a fine-grained one with `issues:write`.

        A fine-grained token may use this repository only.
        With the login `slug[bot]` it belongs to an installed GitHub App, whose events are delivered.
        """
        user = self._user(login)
        self._tokens.add(token, user, scopes, self._repository.app(user), repository_id=self._repository.id)
        return token

    def add_workflow_token(self, token: str, permissions: Mapping[str, str] | None = None) -> str:
        """Add a GITHUB_TOKEN. Default: all permissions that a workflow can grant."""
        granted = dict.fromkeys(sorted(GRANTABLE), "write") if permissions is None else permissions
        names = {name.replace("-", "_"): level for name, level in granted.items()}
        if not names.keys() <= GRANTABLE:
            raise ValueError(f"a workflow cannot grant: {', '.join(sorted(names.keys() - GRANTABLE))}")
        return self.add_token(token, ACTIONS_BOT, [f"{name}:{level}" for name, level in names.items()])

    def add_app(
        self, app_id: int, public_key: str, permissions: Mapping[str, str], *, slug: str = "", installed: bool = True
    ) -> str:
        """Add a GitHub App with its public key in PEM; `app_id` is the issuer of its JSON Web Tokens.

        With `installed` false, it is installed only on other repositories of the account.
        """
        slug = slug or f"app-{app_id}"
        self._tokens.apps[str(app_id)] = RegisteredApp(
            app=App(id=app_id, slug=slug, name=slug),
            public_key=public_key,
            permissions=dict(permissions),
            installation_id=self._repository.new_id(),
            repository_id=self._repository.id if installed else None,
        )
        return str(app_id)

    def revoke(self, token: str) -> None:
        """Make the token invalid at once."""
        self._tokens.remove(token)
