"""Fixtures: a database of a bakery, and requests to its API."""

from dataclasses import dataclass
from typing import Any

import pytest

from sandbox.cloudflare.d1.state import DatabaseStore
from tests.sandbox.conftest import Answer, Api

TABLE = "CREATE TABLE loaves (id INTEGER PRIMARY KEY, flour TEXT, baked TEXT DEFAULT CURRENT_TIMESTAMP)"


@dataclass(frozen=True)
class Database:
    api: Api
    id: str

    def __call__(self, method: str, path: str = "", *, id: str | None = None, **options: Any) -> Answer:  # noqa: A002
        base = f"/accounts/{self.api.sandbox.account_id}/d1/database/{self.id if id is None else id}"
        return self.api(method, f"{base}{path}".rstrip("/"), **options)

    def query(self, sql: str, *params: Any, **options: Any) -> Answer:
        return self("POST", "/query", json={"sql": sql, "params": list(params)}, **options)

    def rows(self, sql: str = "SELECT flour FROM loaves ORDER BY id") -> list[Any]:
        return [list(row.values()) for row in self.query(sql).result[0]["results"]]

    def bake(self, *flours: str) -> None:
        for flour in flours:
            assert self.query("INSERT INTO loaves (flour) VALUES (?)", flour).status == 200

    def bookmark(self, **params: str) -> str:
        return str(self("GET", "/time_travel/bookmark", params=params).result["bookmark"])

    def restore(self, **params: str) -> Answer:
        return self("POST", "/time_travel/restore", params=params)

    @property
    def store(self) -> DatabaseStore:
        return self.api.sandbox.d1.store(self.id)


@pytest.fixture
def database(api: Api) -> Database:
    made = Database(api, api.sandbox.d1.add("bakery"))
    api.sandbox.d1.query(made.id, TABLE)
    return made
