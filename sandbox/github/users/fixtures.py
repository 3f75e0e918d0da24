"""Seed users and tokens."""

import threading
from collections.abc import Iterable, Mapping
from datetime import datetime

from sandbox.github.repository import Repository
from sandbox.github.users.state import ACTIONS_BOT, App, GitHubActor, Kind, RegisteredApp, Role, User
from sandbox.github.users.tokens import GRANTABLE, GitHubTokens


class Seeds:
    def __init__(self, repository: Repository, tokens: GitHubTokens) -> None:
        self._repository = repository
        self._tokens = tokens

    @property
    def lock(self) -> threading.RLock:
        """Held during each change of the repository, and during each call of a listener."""
        return self._repository.lock

    def _user(self, login: str) -> User:
        user = self._repository.user(login)
        if user is None:
            raise ValueError(f'there is no user "{login}": add_user comes first')
        return user

    def _by(self, login: str, at: datetime | None = None) -> GitHubActor:
        user = self._user(login)
        if at is not None and at.tzinfo is None:
            raise ValueError(f"something happens at an instant with a time zone, and {at.isoformat()} has none")
        return GitHubActor(user=user, app=self._repository.app(user), at=at)


class PeopleSeeds(Seeds):
    def add_user(self, login: str, role: Role | None = "write", kind: Kind = "User") -> str:
        """Or change the role of the one there is. None: no collaborator."""
        return self._repository.add_user(login, kind, role).login

    def add_token(self, token: str, login: str, scopes: Iterable[str] = ("repo",)) -> str:
        """A classic token of scopes as `repo`, or a fine-grained one of permissions as `issues:write`.

        The login `slug[bot]` makes it the token of an installed GitHub App, whose doings are delivered.
        """
        user = self._user(login)
        self._tokens.add(token, user, scopes, self._repository.app(user))
        return token

    def add_workflow_token(self, token: str, permissions: Mapping[str, str] | None = None) -> str:
        """A GITHUB_TOKEN. Left out, it has all that `permissions:` in a workflow can grant."""
        granted = dict.fromkeys(sorted(GRANTABLE), "write") if permissions is None else permissions
        names = {name.replace("-", "_"): level for name, level in granted.items()}
        if not names.keys() <= GRANTABLE:
            raise ValueError(f"a workflow can grant none of: {', '.join(sorted(names.keys() - GRANTABLE))}")
        return self.add_token(token, ACTIONS_BOT, [f"{name}:{level}" for name, level in names.items()])

    def add_app(
        self, app_id: int, public_key: str, permissions: Mapping[str, str], *, slug: str = "", installed: bool = True
    ) -> str:
        """A GitHub App, by its public key in PEM; the id as its JSON Web Tokens name it.

        Not `installed`: on other repositories of the account alone.
        """
        slug = slug or f"app-{app_id}"
        self._tokens.apps[str(app_id)] = RegisteredApp(
            app=App(id=app_id, slug=slug, name=slug),
            public_key=public_key,
            permissions=dict(permissions),
            installation_id=self._repository.new_id(),
            is_installed=installed,
        )
        return str(app_id)

    def revoke(self, token: str) -> None:
        """It is unknown from now on."""
        self._tokens.remove(token)
