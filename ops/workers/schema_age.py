"""Find the migrations that are newer than a Worker's code, before the code is rolled back.

A schema mark (`cloudflare/marks.py`) only adds migrations to those that the times show.
"""

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from ops.cloudflare.marks import ANY_NAME, CodeAge, SchemaMark, parse_schema_marks
from ops.cloudflare.response import CloudflareApiError
from ops.cloudflare.types.records import sum_version_requests_by_day
from ops.cloudflare.types.workers import Split, short_id
from ops.core.clock import format_duration
from ops.core.errors import ProviderError, Reason, Refused
from ops.core.names import count_of, first_of, quote_name
from ops.core.next_step import SuggestedCommand
from ops.core.plan import PlanSection
from ops.core.sequential_test import MAX_ERROR_RATE
from ops.core.threads import TimeBudget, start_call
from ops.workers.history import ALL_TRAFFIC, WorkerHistory

if TYPE_CHECKING:
    from ops.cloudflare.types.d1 import Migration
    from ops.config.sections import Database
    from ops.engine.context import CloudflareClients

SCHEMA_SECTION = "Database schema"

READ_BUDGET = 2.0
"""Real seconds to wait for the migrations of all databases, in parallel with the other reads of a plan."""
RESOLUTION = timedelta(seconds=1)
"""Of the times of migrations."""
SHOWN = 10
"""Migrations that a text names at most."""
NO_SUCH_DATABASE = 7404
"""Code of D1."""
GO_ON = "or go on, if the older code works with the newer schema, as with added tables and columns"


@dataclass(frozen=True)
class AppliedMigrations:
    """The migrations of a database, or why they are unknown."""

    name: str
    """Name in ops.yml; the id of a database that ops.yml does not name."""
    id: str
    migrations: "tuple[Migration, ...] | None"
    problem: str = ""
    breaking: tuple[str, ...] = ()
    """Migrations with which older code does not work, by ops.yml."""


@dataclass(frozen=True)
class SchemaAge:
    """How far a database's schema is ahead of a version's code."""

    database: AppliedMigrations
    newer: tuple[str, ...]
    """Newer migrations, oldest first."""
    is_complete: bool
    """Whether `newer` has all of them."""
    problem: str = ""
    """Why it is not complete."""
    served_after: Mapping[str, float] = field(default_factory=dict)
    """Newer migration → seconds for which this code served all traffic well after it; only of those that prove it."""

    @property
    def breaking(self) -> tuple[str, ...]:
        """Return the newer migrations with which this code does not work, by ops.yml and by its history."""
        return tuple(name for name in self.newer if name in self.database.breaking and name not in self.served_after)

    def describe_proof(self, version: str) -> str:
        """Return why the code works with migrations that ops.yml marks as breaking; empty if there are none."""
        proved = {name: self.served_after[name] for name in self.database.breaking if name in self.served_after}
        if not proved:
            return ""
        after = f"{format_duration(min(proved.values()))} after {_join_first_migrations(tuple(proved))}"
        return f"this code ({version}) served all traffic for {after}, so it works with a migration marked as breaking"

    def describe(self, version: str) -> str:
        """Return the state for people. Without proof it says unknown, and never that nothing is newer."""
        name, code = quote_name(self.database.name), f"this code ({version})"
        if self.newer:
            least = "" if self.is_complete else "at least "
            count = count_of(len(self.newer), "migration")
            return f"the schema of {name} is {least}{count} newer than {code}: {_join_first_migrations(self.newer)}"
        if self.is_complete:
            return f"no applied migration of {name} is newer than {code}"
        return f"unknown whether the schema of {name} is newer than {code}: {self.problem}"


def start_reading_schemas(
    cloudflare: "CloudflareClients", databases: "Mapping[str, Database]"
) -> Callable[[], tuple[AppliedMigrations, ...]]:
    """Start to read the applied migrations. The returned function waits READ_BUDGET at most, and never raises."""
    budget = TimeBudget(READ_BUDGET)
    budget.rest()
    pending = {
        name: start_call(partial(_read_applied_migrations, cloudflare, database))
        for name, database in databases.items()
    }

    def finish_migrations_read() -> tuple[AppliedMigrations, ...]:
        ages = []
        for name, future in pending.items():
            migrations, problem = None, ""
            try:
                migrations = future.result(timeout=budget.rest())
            except TimeoutError:
                problem = f"D1 did not answer within {READ_BUDGET:g} s"
            except ProviderError as error:
                problem = _shorten_schema_error(error)
            ages.append(AppliedMigrations(name, databases[name].id, migrations, problem, databases[name].breaking))
        return tuple(ages)

    return finish_migrations_read


def _read_applied_migrations(cloudflare: "CloudflareClients", database: "Database") -> "tuple[Migration, ...] | None":
    return cloudflare.d1.list_migrations(database.id, database.migrations_table, timeout=READ_BUDGET)


def compare_all(databases: Iterable[AppliedMigrations], bound: Collection[str], code: CodeAge) -> tuple[SchemaAge, ...]:
    """Compare the databases, and those that the version is bound to without a name in ops.yml."""
    named = tuple(databases)
    others = sorted(set(bound) - {each.id for each in named})
    unnamed = (AppliedMigrations(each, each, None, "ops.yml does not name this database") for each in others)
    return tuple(_compare_schema(each, code) for each in (*named, *unnamed))


def _compare_schema(database: AppliedMigrations, code: CodeAge) -> SchemaAge:
    """Return the migrations that are newer than the code, by their times and by the schema marks."""
    own = [mark for mark in code.own if mark.database == database.id]
    if database.migrations is None:
        known = {name for mark in own for name in (mark.last, *mark.applied)}
        later = (name for mark in code.later if mark.database == database.id for name in mark.applied)
        newer = tuple(name for name in dict.fromkeys(later) if name not in known and name != ANY_NAME)
        return SchemaAge(database, newer, is_complete=False, problem=database.problem)
    names = [each.name for each in database.migrations]
    places = [names.index(mark.last) if mark.last else -1 for mark in own if not mark.last or mark.last in names]
    uploaded_at = code.uploaded_at
    newer = tuple(
        each.name
        for place, each in enumerate(database.migrations)
        if (uploaded_at and each.applied_at + RESOLUTION > uploaded_at) or (places and place > min(places))
    )
    is_complete = uploaded_at is not None or bool(places)
    problem = "" if is_complete else "Cloudflare does not say when it was uploaded, and it has no schema mark"
    return SchemaAge(database, newer, is_complete=is_complete, problem=problem)


def _shorten_schema_error(error: ProviderError) -> str:
    if error.reason == Reason.NOT_AUTHORISED:
        return "the token may not query D1"
    if isinstance(error, CloudflareApiError) and error.code == NO_SUCH_DATABASE:
        return "Cloudflare has no database with the id in ops.yml"
    return error.message.partition(" (cf-ray")[0]


Suggest = Callable[..., SuggestedCommand]
"""Returns the command of a runbook with its parameters."""


def schema_age_sections(ages: Mapping[str, Sequence[SchemaAge]], suggest: Suggest) -> tuple[PlanSection, ...]:
    """Return the section of a plan, with the three ways on if a schema is newer; none without a database."""
    lines: list[str] = []
    for version, each in ages.items():
        for age in each:
            lines += filter(None, [age.describe(version), age.describe_proof(version)])
            lines += _ways_on(age, suggest) if age.newer else ()
    return (PlanSection(SCHEMA_SECTION, tuple(dict.fromkeys(lines))),) if lines else ()


def schema_age_warnings(ages: Mapping[str, Sequence[SchemaAge]]) -> Iterator[str]:
    for version, each in ages.items():
        for age in each:
            if age.newer:
                yield age.describe(version)
            elif not age.is_complete and age.database.breaking:
                names = _join_first_migrations(age.database.breaking)
                yield f"{age.describe(version)}. ops.yml marks as breaking: {names}"


def _ways_on(age: SchemaAge, suggest: Suggest) -> Iterator[str]:
    name = age.database.name
    if name == age.database.id:
        yield f"name the database in ops.yml to revert or restore it; {GO_ON}"
        return
    # A name that only a mark gives is untrusted text, and never a target.
    first, last = (age.newer[0], age.newer[-1]) if age.is_complete else ("NAME", "NAME")
    revert = suggest("revert-migration", database=name, name=last).command
    restore = suggest("restore-database", database=name, to=f"before-migration:{first}").command
    yield f"revert them, newest first: {revert}"
    yield f"go back together, with loss of data: maintenance on, code back, maintenance stays on, then {restore}"
    yield GO_ON


def check_breaking(
    ages: Mapping[str, Sequence[SchemaAge]],
    accepted: Collection[str],
    accept: Callable[[tuple[str, ...]], SuggestedCommand],
) -> None:
    """Raise Refused if a breaking migration that nobody accepted is newer than the code.

    `accept` returns the command that accepts migrations by name.
    """
    breaking = [(version, age) for version, each in ages.items() for age in each if set(age.breaking) - set(accepted)]
    if not breaking:
        return
    version, age = breaking[0]
    names = tuple(dict.fromkeys(name for _, each in breaking for name in each.breaking))
    raise Refused(
        f"{age.describe(version)}. ops.yml marks {_join_first_migrations(age.breaking)} as breaking: "
        "older code does not work with it",
        reason=Reason.BREAKING_MIGRATION,
        hint="Choose a version that is newer than the migration, or revert the migration first. If this code works "
        "with it, accept it by name.",
        suggested_command=accept(names),
    )


def _join_first_migrations(names: Sequence[str]) -> str:
    return ", ".join(first_of([*map(quote_name, names)], SHOWN))


def list_schema_ages(
    history: WorkerHistory, version: str, databases: Iterable[AppliedMigrations]
) -> tuple[SchemaAge, ...]:
    """Compare the databases with the code of a version."""
    ages = compare_all(databases, bound_databases(history, version), find_code_age(history, version))
    return tuple(replace(age, served_after=_find_service(history, version, age)) for age in ages)


SchemaAges = Mapping[str, Sequence[SchemaAge]]
"""First digits of a version → how far each database is ahead of its code."""


def list_split_ages(history: WorkerHistory, split: Split, databases: Sequence[AppliedMigrations]) -> SchemaAges:
    """Compare the databases with the code of each version with traffic."""
    return {
        short_id(version): list_schema_ages(history, version, databases) for version, percent in split if percent > 0
    }


def _find_service(history: WorkerHistory, version: str, age: SchemaAge) -> Mapping[str, float]:
    applied = {each.name: each.applied_at for each in age.database.migrations or ()}
    served = {name: _seconds_after(history, version, applied[name]) for name in age.newer if name in applied}
    return {name: seconds for name, seconds in served.items() if seconds and seconds >= history.min_served}


def _seconds_after(history: WorkerHistory, version: str, since: datetime) -> float:
    """Return the longest time for which the version's release served all traffic after a moment, and was not blamed.

    Traffic during the incident proves nothing, and none does if its start is unknown or many requests failed.
    """
    versions, longest, total = history.versions_of_release(history.releases[version]), timedelta(), timedelta()
    figures = sum_version_requests_by_day(history.traffic, versions)
    rate = figures.rate if figures else None
    if history.is_incident_unread or versions & history.blamed.keys() or (rate or 0.0) > MAX_ERROR_RATE:
        return 0.0
    until = history.incident_start or history.now
    for index in reversed(range(len(history.deployments))):
        deployment = history.deployments[index]
        if deployment.combined_share(versions) < ALL_TRAFFIC:
            total = timedelta()
            continue
        listed = min(history.ended_at(index), until) - max(deployment.created_on, since + RESOLUTION)
        total += max(timedelta(), min(listed, history.time_deployed(index)))
        longest = max(longest, total)
    return longest.total_seconds()


def find_code_age(history: WorkerHistory, version: str) -> CodeAge:
    """Return the age of a version's code: that of its release, since old code may be uploaded again."""
    release = history.releases[version]
    uploaded_at = history.version(release).created_on
    marks = list(_schema_marks(history))
    later = [
        (at, mark)
        for at, other, mark in marks
        if uploaded_at and other != release and (at or history.now) > uploaded_at
    ]
    return CodeAge(
        uploaded_at,
        own=tuple(mark for _, other, mark in marks if other == release),
        later=tuple(mark for _, mark in sorted(later, key=lambda each: each[0] or history.now)),
    )


def bound_databases(history: WorkerHistory, version: str) -> frozenset[str]:
    """Return the ids of the D1 databases that a version is bound to; empty if its details are unread."""
    ids = (json.loads(rest).get("id") for (kind, _), rest in history.version(version).bindings.items() if kind == "d1")
    return frozenset(each for each in ids if isinstance(each, str))


def _schema_marks(history: WorkerHistory) -> Iterator[tuple[datetime | None, str, SchemaMark]]:
    """Yield time, release and mark of each version and deployment. A deployment's mark is about its newest version."""
    for name, version in history.versions.items():
        yield from ((version.created_on, history.releases[name], mark) for mark in parse_schema_marks(version.message))
    for deployment in history.deployments:
        if deployment.serving_versions:
            release = history.releases[history.newest_version(deployment.serving_versions)]
            yield from ((deployment.created_on, release, mark) for mark in parse_schema_marks(deployment.message))
