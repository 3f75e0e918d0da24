"""What all that seeds stands on."""

from datetime import datetime

from sandbox.github.repository import Repository
from sandbox.github.users.state import By, User
from sandbox.github.users.tokens import Tokens


class Base:
    def __init__(self, repository: Repository, tokens: Tokens) -> None:
        self._repository = repository
        self._tokens = tokens

    def _user(self, login: str) -> User:
        user = self._repository.user(login)
        if user is None:
            raise ValueError(f'there is no user "{login}": add_user comes first')
        return user

    def _by(self, login: str, at: datetime | None = None) -> By:
        user = self._user(login)
        if at is not None and at.tzinfo is None:
            raise ValueError(f"something happens at an instant with a time zone, and {at.isoformat()} has none")
        return By(user=user, app=self._repository.app(user), at=at)
