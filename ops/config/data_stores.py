"""Data stores in `ops.yml`: D1 databases, and Durable Objects that can be reset or shown."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from ops.config.probes import Probe, UrlPath
from ops.config.types import (
    BUILD_PATH,
    CLASS,
    DATABASE_ID,
    REPOSITORY,
    SQL_NAME,
    ConfigModel,
    JsonPath,
    JsonValue,
    Name,
    SecretName,
    TokenLocation,
)
from ops.core.errors import ConfigError, Refused
from ops.core.sql import DEFAULT_PATTERN, DEFAULT_TABLE, DOWN, MigrationsFolder, find_pattern_problem, is_read_only

SqlName = Annotated[str, Field(pattern=SQL_NAME)]
MigrationName = Annotated[str, Field(min_length=1, max_length=255, description="Name of its file.")]


class RowBounds(ConfigModel):
    """Expected number of rows of a table."""

    at_least: int = Field(default=0, ge=0, description="Fewest rows.")
    at_most: int | None = Field(default=None, ge=0, description="Most rows (default: no limit).")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.at_most is not None and self.at_most < self.at_least:
            raise ValueError(f"at_most {self.at_most} is below at_least {self.at_least}; swap them")
        return self


class DatabaseQuery(ConfigModel):
    """A query whose first value must be the expected one."""

    name: Name = Field(description="Name of the check.")
    sql: str = Field(min_length=1, max_length=10_000, description="One SELECT.")
    expect: JsonValue = Field(description="Expected value in the first column of the first row.")

    @field_validator("sql")
    @classmethod
    def _reads(cls, sql: str) -> str:
        if not is_read_only(sql):
            raise ValueError("not a query that provably only reads; write one SELECT")
        return sql


class Database(ConfigModel):
    """A D1 database that restore-database can restore."""

    id: str = Field(pattern=DATABASE_ID, description="Id of the database on Cloudflare.")
    services: tuple[Name, ...] = Field(min_length=1, description="Services of this environment that use it.")
    repository: str | None = Field(
        default=None, pattern=REPOSITORY, description="Repository of the migrations (default: this one)."
    )
    migrations: str | None = Field(
        default=None,
        pattern=BUILD_PATH,
        description="Folder of the migrations in it; the down files are in `down`, beside.",
    )
    migrations_pattern: str = Field(
        default=DEFAULT_PATTERN, description="Pattern of the migrations in that folder, as in the wrangler file."
    )
    migrations_table: SqlName = Field(
        default=DEFAULT_TABLE, description="Table in which wrangler records applied migrations."
    )
    created: Mapping[SqlName, SqlName] = Field(
        default_factory=dict, description="Table → column with the time at which a row was added."
    )
    rows: Mapping[SqlName, RowBounds] = Field(
        default_factory=dict, description="Table → its expected number of rows after a restore."
    )
    queries: tuple[DatabaseQuery, ...] = Field(default=(), description="Further checks after a restore.")
    guard: bool = Field(default=False, description="Whether deployments run the guard, which refuses held migrations.")
    breaking: tuple[MigrationName, ...] = Field(
        default=(), description="Migrations with which older code does not work; rollback-worker refuses to cross them."
    )
    probes: tuple[Probe, ...] = Field(
        default=(),
        description="Probes of the first service that need this database; only its runbooks run them.",
    )
    two_people: Literal["default", "strict"] = Field(
        default="default", description="Whether --one-person may replace the second person: default (yes) or strict."
    )

    @field_validator("migrations_pattern")
    @classmethod
    def _known(cls, pattern: str) -> str:
        if problem := find_pattern_problem(pattern):
            raise ValueError(f"{problem}; write a pattern such as {DEFAULT_PATTERN}")
        return pattern

    @model_validator(mode="after")
    def _no_down_file_is_a_migration(self) -> Self:
        names = ("0001_x.sql", "0001_x/migration.sql") if self.migrations else ()
        try:
            for name in names:
                self.require_migrations("").find_down_path(name)
        except Refused as error:
            raise ValueError(f"{error.message}; {error.hint[0].lower()}{error.hint[1:-1]}") from None
        return self

    def require_migrations(self, name: str) -> MigrationsFolder:
        """Return the place of the migrations. Raises ConfigError if it is missing; `name` is that of the database."""
        if self.migrations is None:
            raise ConfigError(
                f"database {name} has no `migrations` in ops.yml",
                hint=f"Add `migrations: FOLDER` to {name}; its down files are in the folder {DOWN}, beside.",
            )
        return MigrationsFolder(self.migrations, self.migrations_table, self.migrations_pattern)


class DurableObject(ConfigModel):
    """A Durable Object and its endpoints, which need a token (docs/how-to/reset-durable-object.md)."""

    class_: str = Field(alias="class", pattern=CLASS, description="Class that the Worker exports.")
    reset: UrlPath | None = Field(
        default=None,
        description="Path where a POST clears the object's memory, and nothing else.",
    )
    state: UrlPath | None = Field(default=None, description="Path where a GET returns its memory and storage as JSON.")
    token: SecretName | None = Field(
        default=None,
        description="NAME of the environment variable that holds the application's token. Never the token.",
    )
    token_location: TokenLocation | None = Field(
        default=None, description="Place where people find that token. Shown on incidents."
    )
    proof: JsonPath | None = Field(
        default=None,
        description="JSON path in `state` to a number in memory that starts at 0, or a text that each start generates.",
    )
    keeps: JsonPath | None = Field(
        default=None, description="JSON path in `state` to a stored value that a reset must keep."
    )
    probes: tuple[Probe, ...] = Field(
        default=(),
        description="Probes that show whether it is stuck; only its reset runs them, besides the service's probes.",
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.reset or self.state) and self.token is None:
            raise ValueError("its endpoints need a token; write the NAME of its variable under token")
        if (self.state is None) != (self.proof is None):
            raise ValueError("state and proof belong together; write both or neither")
        if self.keeps and self.state is None:
            raise ValueError("keeps is read from state; write state, or leave keeps out")
        return self


DurableObjects = Annotated[
    Mapping[Name, DurableObject],
    Field(description="Durable Objects that reset-durable-object can reset or read one by one, by name."),
]
