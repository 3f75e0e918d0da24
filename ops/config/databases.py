"""D1 databases in `ops.yml`: identity, migrations, and the checks that prove a restore."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from ops.config.types import DATABASE_ID, SQL_NAME, ConfigModel, JsonValue, Name
from ops.core.read_only_sql import is_read_only

SqlName = Annotated[str, Field(pattern=SQL_NAME)]


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
    migrations_table: SqlName = Field(
        default="d1_migrations", description="Table in which wrangler records applied migrations."
    )
    created: Mapping[SqlName, SqlName] = Field(
        default_factory=dict, description="Table → column with the time at which a row was added."
    )
    rows: Mapping[SqlName, RowBounds] = Field(
        default_factory=dict, description="Table → its expected number of rows after a restore."
    )
    queries: tuple[DatabaseQuery, ...] = Field(default=(), description="Further checks after a restore.")
    two_people: Literal["default", "strict"] = Field(
        default="default", description="Whether --one-person may replace the second person: default (yes) or strict."
    )
