"""Read the migrations of a database and their down files from the default branch."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ops.core.errors import OpsError
from ops.core.migrations_folder import MigrationsFolder, hash_migration
from ops.engine.context import Context
from ops.tools.source_files import SourceFiles

if TYPE_CHECKING:
    from ops.config.databases import Database


def read_migrations(ctx: Context[Any], name: str, database: "Database") -> SourceFiles:
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
        folder, source = database.require_migrations(name), read_migrations(ctx, name, database) if migrations else None
        return {each: hash_of(source, folder, each) if source else "" for each in migrations}
    except OpsError:
        return dict.fromkeys(migrations, "")
