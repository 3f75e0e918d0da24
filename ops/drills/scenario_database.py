"""Scenarios of a database: a bad migration breaks reads, and users go on writing.

Users write through the edge. The embedded edge has the tables that ops.yml names, the workerd edge the example with
its own migrations.
"""

import http.client
import json
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from ops.core.errors import ConfigError, Decision
from ops.core.migrations_folder import DOWN
from ops.core.timeline import EventKind
from ops.core.verdict import ProbeObservation
from ops.database.migration_holds import TABLE as HOLDS
from ops.database.time_travel import BEFORE_LAST_MIGRATION, BEFORE_MIGRATION
from ops.drills import (
    database_content,
    example,
    release_answers,
    scenario_maintenance,
    scenario_release,
    scenario_switch,
)
from ops.drills.command import DrillWorld, Params, Say
from ops.drills.scenario_release import Scenario
from ops.drills.score import mark_drill_unhealthy

if TYPE_CHECKING:
    from ops.config import Environment, Service
    from ops.config.sections import Database
    from sandbox import Sandbox
    from sandbox.cloudflare.d1.time_travel import RecordedState

ADD_ROW = "/drill/rows"
"""Path on the embedded edge where a POST adds a row."""
SAVE_CHART, SIGN_IN = "/api/charts/calculate", "/api/session"
EXAMPLE_TABLE = "charts"
EXAMPLE_BAD = "0002_compact_charts.sql"
REQUESTS_PER_ADDRESS = 20
"""Below the limit of the example."""
WRITTEN_BEFORE, PATIENCE = 10, 20.0
"""Rows that users write before the run starts, and the seconds to wait for them."""
MAX_SLEEP = 10.0
_DIFFERENCE = re.compile(
    r"(?<![^\s:;])(?P<table>[^\s:;]+): (?P<was>\d+) → (?P<now>\d+) rows, (?P<bound>at least )?(?P<rows>\d+) "
)


def suits(environment: "Environment", service: str) -> bool:
    return bool(environment.databases_of(service))


def find_database(environment: "Environment", service: "Service") -> "tuple[str, Database]":
    """Return the first database of a service, with its name. Raises ConfigError."""
    if named := next(iter(environment.databases_of(service.name).items()), None):
        return named
    raise ConfigError(
        f"{service.name} has no database in {environment.name}, which this drill breaks",
        hint="Add the database under `databases` in ops.yml, or leave --config out.",
    )


@dataclass(frozen=True)
class _DrilledApplication:
    """The application of the drill and its database."""

    environment: "Environment"
    service: "Service"
    database: "Database"

    @property
    def probes(self) -> tuple[Any, ...]:
        return self.service.database_probes(self.database)

    @property
    def others(self) -> "list[Service]":
        """Other services that use the database."""
        names = [name for name in dict.fromkeys(self.database.services) if name != self.service.name]
        return [self.environment.service(name) for name in names]

    def prepare(self, sandbox: "Sandbox", *_: Any) -> None:
        sandbox.clock.longest_sleep = MAX_SLEEP
        sandbox.d1.add(f"drill-{self.database.id[:8]}", self.database.id)
        for each in (self.service, *self.others):
            if each.worker and each.maintenance == "edge":
                scenario_maintenance.add_route(sandbox, each)
        runtime = self.environment.runtime
        if runtime is not None and runtime.service == self.service.name:
            scenario_switch.write_normal_states(sandbox, runtime)

    def release(self, sandbox: "Sandbox", service: "Service", name: str, edge: str, folder: Path) -> None:
        if name == "bad":
            database_content.break_tables(sandbox, self.database)
            return
        for each in self.others:
            kind = scenario_release.WORKER if each.worker else scenario_release.SITE
            kind.release(sandbox, each, name, edge, folder)
        self.commit(database_content.source_files(self.database) if self.database.migrations else {}, folder)
        database_content.create_tables(sandbox, self.database)
        behaviour = release_answers.build_behavior(self.probes)
        failing = [probe.http.path for probe in self.database.probes or self.probes if probe.http]
        for path in failing:
            behaviour["paths"][path]["sql"] = database_content.select_rows(self.database)
        behaviour["paths"][ADD_ROW] = {"sql": database_content.insert_row(self.database)}
        bindings = [{"type": "d1", "name": "DB", "id": self.database.id}]
        runtime = self.environment.runtime
        if runtime is not None and runtime.service == service.name:
            switches = {each: dict.fromkeys(("normal", "on_unknown"), s.normal) for each, s in runtime.switches.items()}
            behaviour["runtime"] = {"switches": switches}
            bindings += [{"type": "kv_namespace", "name": "OPS_RUNTIME", "namespace_id": runtime.namespace}]
        version = sandbox.upload(service.worker, code=name, behaviour=behaviour, bindings=bindings, tag=name)
        sandbox.deploy(service.worker, version)

    def commit(self, files: Mapping[str, str], folder: Path) -> None:
        """Commit the migrations and down files to the repository of the drill."""
        for path, content in files.items():
            place = folder / scenario_release.SOURCE / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(content)
        scenario_release.commit_source(folder, "The migrations", may_be_empty=True)

    def release_example(self, sandbox: "Sandbox", service: "Service", name: str, _edge: str, folder: Path) -> None:
        """Deploy the example, and apply its migrations. Users save charts before and after the bad one."""
        if name == "good":
            self.commit(example_files(self.database) if self.database.migrations else {}, folder)
            example.deploy_example(sandbox, service, example.GOOD, admin="drill-admin-0123456789")
        without = (EXAMPLE_BAD,) if name == "good" else ()
        stale, sandbox.switches.d1_stale_reads = sandbox.switches.d1_stale_reads, 0  # wrangler does not expect them
        command = ("d1", "migrations", "apply", "fortunet", "--remote")
        scenario_release.run_wrangler_on_example(sandbox, *command, without=without, purpose="apply the migrations")
        sandbox.switches.d1_stale_reads = stale
        with Writer(self.chart_writer(sandbox)) as users:  # a new release serves a second later
            if not users.wait_for(WRITTEN_BEFORE, PATIENCE):
                raise ConfigError("the example saves no chart")

    def row_writer(self, sandbox: "Sandbox") -> Callable[[], bool]:
        edge = EdgeClient(sandbox.edge_url, self.service.url)
        return lambda: edge.post(ADD_ROW).status == 200

    def chart_writer(self, sandbox: "Sandbox") -> Callable[[], bool]:
        """Return a function that signs in if needed and saves a chart, from an address with few requests."""
        edge, numbers, token = EdgeClient(sandbox.edge_url, self.service.url), count(), ""

        def write() -> bool:
            nonlocal token
            if not token:
                answer = edge.post(SIGN_IN, {"email": "drill@fortunet.example"}).json or {}
                token = answer.get("token", "")
            network, host = divmod(next(numbers) // REQUESTS_PER_ADDRESS, 200)
            headers = {"authorization": f"Bearer {token}", "cf-connecting-ip": f"192.0.{network}.{host}"}
            answer = edge.post(SAVE_CHART, example.BIRTH, headers).json or {}
            token = token if answer.get("saved") else ""
            return bool(answer.get("saved"))

        return write


def example_files(database: "Database") -> dict[str, str]:
    """Return the example's migrations and down files, by their paths in the repository. Raises Refused."""
    folder = database.require_migrations("")
    paths = scenario_release.EXAMPLE.glob("*/*.sql")
    find = {"migrations": folder.find_path, DOWN: folder.find_down_path}
    return {find[path.parent.name](path.name): path.read_text() for path in paths if path.parent.name in find}


def _configure_database(
    embedded: Scenario, run: "_DatabaseDrill", environment: "Environment", service: "Service"
) -> Scenario:
    name, database = find_database(environment, service)
    if run.needs_down_file:
        database.require_migrations(name)
    application = _DrilledApplication(environment, service, database)
    return replace(
        embedded,
        release=application.release,
        prepare=application.prepare,
        probes=lambda _environment, _service: application.probes,
        params=run.params(name),
        params_without_incident=run.params_without_incident(database_content.BAD),
        repository=database.repository or "",
        run=run.bind(application, application.row_writer),
    )


def _configure_example(
    embedded: Scenario, run: "_DatabaseDrill", environment: "Environment", service: "Service"
) -> Scenario:
    bound = _configure_database(embedded, run, environment, service)
    application = _DrilledApplication(environment, service, find_database(environment, service)[1])
    if EXAMPLE_TABLE not in application.database.created or application.database.migrations_table != "d1_migrations":
        raise ConfigError(
            f"{service.name} has no database with the example's table {EXAMPLE_TABLE}, which this drill breaks",
            hint="Remove --edge workerd, or leave --config out.",
        )
    return replace(
        bound,
        release=application.release_example,
        run=run.bind(application, application.chart_writer),
        params_without_incident=run.params_without_incident(EXAMPLE_BAD),
    )


@dataclass(frozen=True)
class _DatabaseDrill:
    """The recovery while users write, and the comparison of its result with the sandbox."""

    point: Params
    """Parameters of the runbook besides the database."""
    compare: "Callable[[Sandbox, Database], Iterator[str]]"
    """Yields differences between the data and the expected one."""
    needs_maintenance: bool = False
    needs_down_file: bool = False

    def params(self, database: str) -> Params:
        return {"database": database, **self.point}

    def params_without_incident(self, migration: str) -> Params:
        """Return the point as it must be named without an incident."""
        return {"to": f"{BEFORE_MIGRATION}{migration}"} if self.point.get("to") == BEFORE_LAST_MIGRATION else {}

    def bind(
        self, application: _DrilledApplication, writer: "Callable[[Sandbox], Callable[[], bool]]"
    ) -> Callable[..., dict[str, Any]]:
        def run(
            world: DrillWorld,
            service: "Service",
            _probe: Callable[[], ProbeObservation],
            start_runbook: Callable[[Params], dict[str, Any]],
            say: Say,
        ) -> dict[str, Any]:
            sandbox, database = world.sandbox, application.database
            name, _ = find_database(world.environment, service)
            if self.needs_maintenance and service.maintenance == "edge":
                scenario_maintenance.prepare_worker(world, say)
            with Writer(writer(sandbox)) as users:
                if not users.wait_for(WRITTEN_BEFORE, PATIENCE):
                    raise ConfigError(f"the drill's users cannot write to {name}")
                say(f"users go on writing: {users.accepted} rows since the drill began")
                result = start_runbook(self.params(name))
            say(f"users wrote {users.accepted} rows; {users.refused} of their requests failed")
            if result["decision"] != Decision.RECOVERED:
                return result
            differences = [*self.compare(sandbox, database), *_count_differences(sandbox, database, result)]
            if differences:
                return mark_drill_unhealthy(result, "; ".join([result["message"], *differences]))
            return {**result, "message": f"{result['message']}; the sandbox has every expected row"}

        return run


def read_sandbox_rows(
    sandbox: "Sandbox", database: "Database", state: "RecordedState | None" = None
) -> dict[str, set[Any]]:
    """Return table → rows of a state, by default the present one; without our own table of holds."""
    store = sandbox.d1.store(database.id)

    def run(sql: str) -> list[list[Any]]:
        answer = store.read([(sql, ())], state)
        assert answer is not None
        return answer.results[0].rows

    names = [str(name) for (name,) in run("SELECT name FROM sqlite_master WHERE type = 'table'")]
    tables = [name for name in names if name != HOLDS and not name.startswith("sqlite_")]
    return {name: {tuple(row) for row in run(f'SELECT * FROM "{name}"')} for name in tables}  # noqa: S608


def _count_migrations(sandbox: "Sandbox", database: "Database", state: "RecordedState") -> int:
    from sandbox.cloudflare.d1.sqlite import SqlError

    sql = f'SELECT count(*) FROM "{database.migrations_table}"'  # noqa: S608
    try:
        answer = sandbox.d1.store(database.id).read([(sql, ())], state)
    except SqlError:  # before the first migration
        return 0
    assert answer is not None
    return int(answer.results[0].rows[0][0])


def find_restores(sandbox: "Sandbox", database: "Database") -> "list[RecordedState]":
    return [each for each in sandbox.d1.store(database.id).history.states if each.restored is not None]


def compare_with_target(sandbox: "Sandbox", database: "Database") -> Iterator[str]:
    """Yield a problem unless the last state before the bad migration is live, with all its rows."""
    states = sandbox.d1.store(database.id).history.states
    restores = find_restores(sandbox, database)
    if len(restores) != 1 or restores[0].restored is None:
        yield f"the sandbox saw {len(restores)} restores"
        return
    target, after = (states[restores[0].restored + more] for more in (0, 1))
    if [_count_migrations(sandbox, database, each) for each in (target, after)] != [1, 2]:
        yield "the restored state is not the last one before the bad migration"
    live = read_sandbox_rows(sandbox, database)
    for table, rows in read_sandbox_rows(sandbox, database, target).items():
        if missing := rows - live.get(table, set()):
            yield f"{len(missing)} rows of {table} are not restored"


def compare_with_reverted(sandbox: "Sandbox", database: "Database") -> Iterator[str]:
    """Yield a problem unless the bad migration is taken back, and every row from before and since is there."""
    states = sandbox.d1.store(database.id).history.states

    def find_broken(among: "Iterable[RecordedState]") -> "RecordedState":
        return next(each for each in among if _count_migrations(sandbox, database, each) == 2)

    first, since = find_broken(states), find_broken(reversed(states))
    if find_restores(sandbox, database) or since is states[-1]:
        yield "the bad migration is not taken back, or not by its down file"
        return
    live, before = read_sandbox_rows(sandbox, database), states[first.number - 1]
    for table, rows in read_sandbox_rows(sandbox, database, before).items():
        if missing := rows - live.get(table, set()):
            yield f"{len(missing)} rows of {table} are not as before the migration"
    for table, rows in read_sandbox_rows(sandbox, database, since).items():
        if table != database.migrations_table and len(live.get(table, ())) < len(rows):
            yield f"{table} has {len(live.get(table, ()))} rows, and {len(rows)} were written"


def _count_differences(sandbox: "Sandbox", database: "Database", result: Mapping[str, Any]) -> Iterator[str]:
    """Yield the counts that the run states and that the sandbox contradicts."""
    states = sandbox.d1.store(database.id).history.states
    texts = [event["text"] for event in result["timeline"] if event["kind"] == EventKind.READ_BACK]
    stated = {found["table"]: found for text in texts for found in _DIFFERENCE.finditer(text)}
    for restored in find_restores(sandbox, database):
        before, after = (read_sandbox_rows(sandbox, database, states[restored.number - less]) for less in (1, 0))
        for table in before.keys() & after.keys() - {database.migrations_table}:
            removed, found = len(before[table]) - len(after[table]), stated.get(table)
            rows, is_least = (int(found["rows"]), bool(found["bound"])) if found else (0, False)
            if rows > removed or (rows < removed and not is_least):
                yield f"the run states {found[0] if found else 'no difference'} of {table}, and {removed} were removed"


def _changed_at(sandbox: "Sandbox", _service: "Service") -> datetime | None:
    (database,) = sandbox.d1.databases.values()
    restores = [each.at for each in database.store.history.states if each.restored is not None]
    return restores[-1] if restores else None


def _current_bookmark(sandbox: "Sandbox", _service: "Service") -> str:
    (database,) = sandbox.d1.databases.values()
    return database.store.history.current.bookmark


def _database_scenario(run: _DatabaseDrill) -> Scenario:
    base = Scenario(
        "worker",
        lambda *_: None,  # `configure` replaces it
        live=_current_bookmark,
        changed_at=_changed_at,
        steps=("deployed the release", "applied the bad migration"),
        names_service=False,
        suits=suits,
        laptop_flags=("--one-person",),
        environ=scenario_release.source_variable,
        permissions=("D1 Write", "Workers KV Storage Write", *scenario_maintenance.PERMISSIONS),
    )
    real = replace(base, configure=lambda environment, service: _configure_example(base, run, environment, service))
    return replace(
        base,
        configure=lambda environment, service: _configure_database(base, run, environment, service),
        in_workerd=real,
    )


RESTORE = _database_scenario(_DatabaseDrill({"to": BEFORE_LAST_MIGRATION}, compare_with_target, needs_maintenance=True))
REVERT = _database_scenario(_DatabaseDrill({"name": "last"}, compare_with_reverted, needs_down_file=True))


ROWS_PER_SECOND = 20
TIMEOUT = 5.0


@dataclass(frozen=True)
class WriterAnswer:
    status: int
    """0 if there was no response."""
    body: bytes = b""

    @property
    def json(self) -> Any:
        return json.loads(self.body) if self.status == 200 else None


class EdgeClient:
    """Sends requests to one service of the sandbox's edge."""

    def __init__(self, edge_url: str, service_url: str) -> None:
        self._edge = urlsplit(edge_url)
        self._host = urlsplit(service_url).netloc

    def post(self, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> WriterAnswer:
        connection = http.client.HTTPConnection(self._edge.hostname or "", self._edge.port, timeout=TIMEOUT)
        sent = {"host": self._host, "content-type": "application/json", **(headers or {})}
        try:
            connection.request("POST", path, json.dumps(body), sent)
            response = connection.getresponse()
            return WriterAnswer(response.status, response.read())
        except (OSError, http.client.HTTPException):
            return WriterAnswer(0)
        finally:
            connection.close()


class Writer:
    """Adds rows in a thread of its own, as a context manager."""

    def __init__(self, write: Callable[[], bool]) -> None:
        """`write` adds a row, and returns whether the application accepted it."""
        self._write = write
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write_drill_rows, daemon=True)
        self.accepted = 0
        self.refused = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def wait_for(self, rows: int, seconds: float) -> bool:
        """Return whether the application accepted this number of rows in time."""
        end = time.monotonic() + seconds
        while self.accepted < rows and time.monotonic() < end:
            self._stop.wait(0.05)
        return self.accepted >= rows

    def _write_drill_rows(self) -> None:
        due = time.monotonic()
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            due = max(due + 1 / ROWS_PER_SECOND, time.monotonic() - 1)  # catch up for one second at most
            if self._write():
                self.accepted += 1
            else:
                self.refused += 1
