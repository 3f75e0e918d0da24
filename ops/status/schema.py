"""Find out how far the schemas of a service's databases are ahead of its code."""

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING

from ops.cloudflare.types.workers import WorkerDeployment, WorkerVersion, short_id
from ops.workers import schema_age
from ops.workers.history import WorkerHistory
from ops.workers.schema_age import AppliedMigrations, SchemaAge, bound_databases, find_code_age

if TYPE_CHECKING:
    from ops.app.session import Session


def list_schema_ages(
    history: WorkerHistory, version: str, databases: Iterable[AppliedMigrations]
) -> tuple[SchemaAge, ...]:
    return schema_age.compare_all(databases, bound_databases(history, version), find_code_age(history, version))


def describe_live_schema(
    session: "Session",
    service: str,
    *,
    deployments: tuple[WorkerDeployment, ...],
    versions: tuple[WorkerVersion, ...],
    now: datetime,
    suggest: schema_age.Suggest,
) -> tuple[str, ...]:
    """Return the lines of a plan's section, for the live code. Empty if ops.yml names no database of the service."""
    databases = session.environment.databases_of(service)
    if not databases or not deployments:
        return ()
    known = {version.id: version for version in versions}
    history = WorkerHistory(deployments, known, frozenset(known), now, min_served=0, static_assets=None)
    found = schema_age.start_reading(session, databases)()
    ages = {short_id(version): list_schema_ages(history, version, found) for version in history.live.serving_versions}
    return tuple(line for section in schema_age.build_sections(ages, suggest) for line in section.lines)
