"""Migrations and down files as wrangler finds them."""

import json
import re
from typing import Any

import hypothesis.strategies as st
import pytest

from ops.core.errors import Reason, Refused
from ops.core.migrations_folder import MigrationsFolder, hash_migration, migration_order
from ops.database.migrations import find_binding
from tests.support.properties import holds_for

ID = "0c0de000-0000-4000-8000-0000000005d1"
PATTERNS = {
    "migrations/*.sql": "0001_a.sql 0002_b.sql x.sql",
    "./migrations/**/*.sql": "0001_a.sql 0001_c/migration.sql 0002_b.sql down/0002_b.sql down/sub/deep.sql x.sql",
    "migrations/*/migration.sql": "0001_c/migration.sql",
    "migrations/{000?_?,x}.sql": "0001_a.sql 0002_b.sql x.sql",
    "migrations/**": ("0001_a.sql 0001_c/migration.sql 0002_b.sql 10_late.txt down/0002_b.sql down/sub/deep.sql x.sql"),
    "migrations/down/**/*.sql": "down/0002_b.sql down/sub/deep.sql",
    "migrations/.hidden/*.sql": ".hidden/h.sql",
}
"""Pattern → the files of FILES that wrangler 4.164 applies, in its order. An acceptance test asks it."""
FILES = (
    *("0001_a.sql", "0002_b.sql", "x.sql", ".dot.sql", "0001_c/migration.sql", "down/0002_b.sql", "down/sub/deep.sql"),
    *(".hidden/h.sql", "10_late.txt"),
)


def parse(file: str = "api/wrangler.jsonc", **binding: Any) -> MigrationsFolder:
    rows = [{"binding": "OTHER", "database_id": "other"}, {"binding": "DB", "database_id": ID, **binding}]
    return find_binding(file, json.dumps({"d1_databases": rows}).encode(), "DB", "").migrations


def test_defaults_are_those_of_wrangler() -> None:
    assert parse() == MigrationsFolder("api/migrations", "d1_migrations", "*.sql")
    found = parse(
        "wrangler.json", migrations_dir="./db/sql/", migrations_table="applied", migrations_pattern="db/sql/*.up.sql"
    )
    assert found == MigrationsFolder("db/sql", "applied", "*.up.sql")
    assert parse(migrations_dir=".").is_migration("0001_a.sql")
    assert parse(migrations_dir="../shared").folder == "shared"


def test_database_of_an_environment_is_found() -> None:
    toml = f'[[env.live.d1_databases]]\nbinding = "DB"\ndatabase_id = "{ID}"\nmigrations_table = "done"\n'
    found = find_binding("wrangler.toml", toml.encode(), "", "live")
    assert (found.name, found.id, found.migrations) == ("DB", ID, MigrationsFolder("migrations", "done", "*.sql"))


@pytest.mark.parametrize(
    ("name", "environment", "why"),
    [
        ("", "", " 4 .*: orders, B, books, twice$"),
        ("films", "", " films; .*: orders, B, books, twice$"),
        ("twice", "", " 2 .* twice; .*: orders, B, books, twice$"),
        ("", "stagin", " stagin; .*: staging, odd$"),
        ("", "odd", " odd"),
        ("", "staging", r"(?i)staging of wrangler\.json .*D1"),
        ("B", "", "binding B "),
    ],
)
def test_database_that_is_not_clear_is_refused(name: str, environment: str, why: str) -> None:
    rows = [
        {"binding": "A", "database_name": "orders"},
        {"binding": "B"},
        {"binding": "twice", "database_name": "books", "database_id": ID},
        {"binding": "C", "database_name": "twice", "database_id": ID},
    ]
    settings = {"d1_databases": rows, "env": {"staging": {}, "odd": 1}}
    with pytest.raises(Refused, match=why) as refused:
        find_binding("wrangler.json", json.dumps(settings).encode(), name, environment)
    assert refused.value.hint


@pytest.mark.parametrize(
    ("binding", "why"),
    [
        ({"database_id": "another"}, "database_id of DB"),
        ({"migrations_dir": 3}, "migrations_dir in api/wrangler.jsonc"),
        ({"migrations_pattern": "migrations/*.sql"}, "migrations_pattern .*migrations_dir"),
        ({"migrations_dir": "sql", "migrations_pattern": "migrations/*.sql"}, " sql/"),
        ({"migrations_dir": "../../else"}, "outside"),
        ({"migrations_dir": "/etc"}, "outside"),
        *(
            ({"migrations_dir": "m", "migrations_pattern": f"m/{pattern}"}, re.escape(pattern))
            for pattern in ("[0-9]*.sql", "!(down)/*.sql", "{1..3}.sql", "{a}.sql", "#a", "@(a|b).sql")
        ),
    ],
)
def test_folder_that_is_not_clear_is_refused(binding: dict[str, Any], why: str) -> None:
    with pytest.raises(Refused, match=why) as refused:
        parse(**binding)
    assert refused.value.hint


def test_file_of_windows_is_read() -> None:
    """PowerShell writes a byte order mark, which wrangler removes."""
    text = f'\ufeff[[d1_databases]]\r\nbinding = "DB"\r\ndatabase_id = "{ID}"\r\nmigrations_dir = "db\\\\sql"\r\n'
    assert find_binding("wrangler.toml", text.encode(), "", "").migrations.folder == "db/sql"
    text = f'\ufeff{{\r\n"d1_databases": [{{"binding": "DB", "database_id": "{ID}"}}], // all\r\n}}\r\n'
    assert find_binding("wrangler.jsonc", text.encode(), "", "").id == ID
    with pytest.raises(Refused, match=r"wrangler\.jsonc"):
        find_binding("wrangler.jsonc", text.encode("utf-16"), "", "")


@pytest.mark.slow
@pytest.mark.parametrize("pattern", PATTERNS)
def test_pattern_matches_what_wrangler_applies(pattern: str) -> None:
    folder = parse(migrations_dir="migrations", migrations_pattern=pattern)
    found = sorted(filter(folder.is_migration, FILES), key=migration_order)
    assert " ".join(found) == PATTERNS[pattern]


def test_down_file_that_wrangler_would_apply_is_refused() -> None:
    assert parse().find_down_path("0002_b.sql") == "api/down/0002_b.sql"
    assert parse().find_path("0002_b.sql") == "api/migrations/0002_b.sql"
    nested = parse("wrangler.json", migrations_dir="m", migrations_pattern="m/**/migration.sql")
    assert nested.find_down_path("0001_c/migration.sql") == "down/0001_c/migration.sql"
    root = parse("wrangler.json", migrations_dir=".", migrations_pattern="**/*.sql")
    assert MigrationsFolder(".").find_down_path("0002_b.sql") == "down/0002_b.sql"
    with pytest.raises(Refused, match=r"down/0002_b\.sql") as refused:
        root.find_down_path("0002_b.sql")
    assert refused.value.reason == Reason.CONFIG_INVALID
    assert refused.value.hint


@pytest.mark.sampled
@pytest.mark.parametrize(
    "name",
    ["", "..", "../x.sql", "a/../../x.sql", "/etc/passwd", "a//b.sql", "a\\b.sql", "a\n.sql", "\0", ". /x", "a" * 201],
)
def test_name_that_leaves_the_folder_is_refused(name: str) -> None:
    with pytest.raises(Refused) as refused:
        parse().find_down_path(name)
    assert refused.value.reason == Reason.UNKNOWN_NAME


@holds_for(30, 2000, name=st.text("./\\ a*?{}", max_size=8))
def test_down_file_stays_in_its_folder(name: str) -> None:
    try:
        path = parse().find_down_path(name)
    except Refused:
        return
    segments = path.split("/")
    assert segments[:2] == ["api", "down"]
    assert not {"", ".", ".."} & set(segments)


def test_migrations_are_sorted_as_by_wrangler() -> None:
    names = ["10_b.sql", "2_a.sql", "x.sql", "0002_b.sql", "1_c/migration.sql", "1_c/0.sql", "a.sql", "1_c"]
    assert sorted(names, key=migration_order) == [
        *("1_c", "1_c/0.sql", "1_c/migration.sql", "0002_b.sql", "2_a.sql", "10_b.sql", "a.sql", "x.sql")
    ]


def test_hash_ignores_the_form_of_line_ends() -> None:
    assert hash_migration("DROP TABLE a;\r\n") == hash_migration("DROP TABLE a;\n") != hash_migration("DROP TABLE a;")


@pytest.mark.parametrize(
    ("settings", "fact"),
    [([], "table"), ({"account_id": 7, "d1_databases": [{"database_id": ID}]}, "account_id")],
)
def test_settings_of_another_form_are_refused(settings: Any, fact: str) -> None:
    with pytest.raises(Refused, match=fact) as refused:
        find_binding("wrangler.json", json.dumps(settings).encode(), "", "")
    assert refused.value.hint
