"""A database with a bad migration, and the runs that take it back or apply the next one."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ops.core.errors import Reason
from tests.conftest import ACCOUNT, World
from tests.support.interleavings import RequestedGuard, RequestedRun
from tests.support.site_repository import SiteRepository


@dataclass(frozen=True)
class Database:
    """A database of an application, whose migrations and down files are in the repository `app` beside ops.yml."""

    world: World
    name: str
    id: str
    table: str
    files: Mapping[str, str]
    """Path in the repository → text."""
    environment: str
    tokens: Mapping[str, str]

    @property
    def applied(self) -> list[str]:
        rows = self.world.sandbox.d1.query(self.id, f"SELECT name FROM {self.table} ORDER BY id")
        return [row["name"] for row in rows]

    def commands(self, bad: str) -> dict[str, RequestedRun]:
        """Return the runs that take the bad migration back, and the guard of a deployment with one more migration."""
        folder = self.world.folder / "app"
        if not folder.exists():
            folder.mkdir()
            SiteRepository(folder).git("init", "-q", "-b", "main")
        for path, text in self.files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
        SiteRepository(folder).commit("migrations")
        one = {"database": self.name, "one_person": True}

        def run(runbook: str, **params: Any) -> RequestedRun:
            given, reached = {**one, **params}, self._is_taken_back(bad)
            return RequestedRun(runbook, given, reached, environ=self.tokens, environment=self.environment)

        ago, revert = run("restore-database", to="-14m"), run("revert-migration", name=bad)
        return {
            "restore": run("restore-database", to=f"before-migration:{bad}"),
            "restore to -14m": replace(ago, stops_for=frozenset({Reason.NO_TARGET, Reason.LIVE_UNKNOWN})),
            "revert": replace(
                revert,
                environ={**self.tokens, "OPS_SOURCE": "app"},
                stops_for=frozenset({Reason.UNKNOWN_NAME}),  # a restore took it back, and was killed before its hold
            ),
            "guard": self._guard(folder),
        }

    def _is_taken_back(self, bad: str) -> Callable[[], bool]:
        return lambda: bad not in self.applied

    def _guard(self, folder: Path) -> RequestedGuard:
        wrangler, migrations = folder / "wrangler.json", folder / "db" / "migrations"
        bound = {"database_name": self.name, "database_id": self.id, "migrations_table": self.table}
        bound |= {"binding": "DB", "migrations_dir": "db/migrations"}
        wrangler.write_text(json.dumps({"name": "app", "d1_databases": [bound]}))
        (migrations / "0003_notes.sql").write_text("CREATE TABLE later_notes (id INTEGER PRIMARY KEY);")
        wanted = {each.name for each in migrations.iterdir()}
        (token,) = self.tokens.values()
        return RequestedGuard(
            "hold migrate",
            {"wrangler": wrangler},
            lambda: wanted <= {*self.applied},
            environ={"CLOUDFLARE_API_TOKEN": token, "CLOUDFLARE_ACCOUNT_ID": ACCOUNT},
            stops_for=frozenset({Reason.MIGRATION_HELD}),
        )
