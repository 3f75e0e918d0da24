"""Base of the runbooks of a D1 database, their reads of its migrations and of its Worker.

Migrations and down files are those of the default branch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from ops.cloudflare.types.workers import WorkerVersion
from ops.config.probes import ProbeSet, join_probes
from ops.core.errors import OpsError
from ops.core.migrations_folder import MigrationsFolder, hash_migration
from ops.core.threads import run_parallel_mixed
from ops.database.plan_text import WorkerUse
from ops.database.time_travel import RestorePoint
from ops.engine.context import Context
from ops.engine.runbook import Runbook
from ops.tools.source_files import SourceFiles

if TYPE_CHECKING:
    from ops.config import Environment, Service
    from ops.config.sections import Database


class DatabaseParams(Protocol):
    @property
    def database(self) -> str:
        """Name of the database in ops.yml."""
        ...


P = TypeVar("P", bound=DatabaseParams)


class DatabaseRunbook(Runbook[P]):
    """Base of the runbooks whose parameter `database` names the database."""

    kinds = ("worker",)
    setting = "`databases`"
    github_environment = "database"  # a token with D1 Write can delete a database for good

    def service(self, params: P, environment: "Environment") -> str:
        """Return the first service that uses the database."""
        return next((each.name for each in environment.services_of(params.database)), "")

    def probes(self, ctx: Context[P]) -> ProbeSet:
        """Probe the database and each service that uses it."""
        return join_probes(ctx.environment.database_probes(ctx.params.database).values())


def read_migration_sources(ctx: Context[Any], name: str, database: "Database") -> SourceFiles:
    """Return the files in the folders of migrations and down files. Raises ConfigError and Refused."""
    folder = database.require_migrations(name)
    return ctx.read_source(database.repository, [folder.folder, folder.down_folder])


def hash_of(source: SourceFiles, folder: MigrationsFolder, migration: str) -> str:
    """Return the hash of a migration's content; empty if the default branch has no such file. Raises Refused."""
    content = source.files.get(folder.find_path(migration))
    return "" if content is None else hash_migration(content.decode(errors="surrogateescape"))


def hash_if_known(ctx: Context[Any], name: str, database: "Database", migrations: Sequence[str]) -> dict[str, str]:
    """Return migration → hash of its content; empty if it cannot be read here."""
    try:
        folder, source = (
            database.require_migrations(name),
            read_migration_sources(ctx, name, database) if migrations else None,
        )
        return {each: hash_of(source, folder, each) if source else "" for each in migrations}
    except OpsError:
        return dict.fromkeys(migrations, "")


@dataclass(frozen=True)
class WorkerReads:
    uploads: tuple[WorkerVersion, ...]
    crons: tuple[str, ...]
    handlers: frozenset[str]
    """Handlers of the live version."""


def read_database_worker(ctx: Context[Any], service: "Service") -> WorkerReads:
    workers = ctx.cloudflare.workers

    def read_handlers() -> frozenset[str]:
        deployments = workers.find_deployments(service.worker)
        version = workers.read_version(service.worker, deployments[0].split[0][0]) if deployments else None
        return version.handlers if version else frozenset()

    uploads, crons, handlers = run_parallel_mixed(
        [
            lambda: workers.list_uploads(service.worker),
            lambda: workers.list_cron_triggers(service.worker),
            read_handlers,
        ]
    )
    return WorkerReads(uploads, crons, handlers)


def describe_use(service: str, reads: WorkerReads, point: RestorePoint) -> WorkerUse:
    at = point.moment
    newer = None if at is None else tuple(each.id for each in reads.uploads if each.created_on and each.created_on > at)
    return WorkerUse(service, newer, reads.crons, reads.handlers)
