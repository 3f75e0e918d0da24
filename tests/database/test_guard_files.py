"""`ops hold migrate`: the wrangler file, and names, places and numbers of the migrations that it reads."""

from pathlib import Path

import pytest

from ops.app import database_guard
from ops.cloudflare.marks import parse_schema_marks
from ops.cloudflare.types import site_config
from tests.database.test_guard import shop
from tests.support.deployment import BINDING, ID, TABLE, Deployment, jsonc

__all__ = ["shop"]

TOML = f"""\
name = "shopdesk"  # the desk
[[d1_databases]]
binding = "DB"
database_name = "orders"
database_id = "{ID}"
migrations_dir = "db/changes"
migrations_table = "{TABLE}"
"""
WITHOUT_ID = {name: value for name, value in BINDING.items() if name not in {"database_id", "database_name"}}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["wrangler.toml", "wrangler.json", "wrangler.jsonc"])
def test_wrangler_file_may_have_each_form(shop: Deployment, name: str) -> None:
    shop.configure(TOML if name.endswith("toml") else jsonc(BINDING).partition("\n")[2], name)

    assert shop.guard().code == 0
    assert shop.applied == ["0001_customers.sql"]


@pytest.mark.parametrize(
    ("name", "environment", "database"),
    [("orders", "", "orders"), ("", "", "shopdesk-db-2"), ("", "live", "shopdesk-live-db-2")],
)
def test_database_without_an_id_is_found_by_its_name(
    shop: Deployment, name: str, environment: str, database: str
) -> None:
    """`wrangler deploy` makes a database for such a binding, and writes no id into a file of CI."""
    binding = {**WITHOUT_ID, "binding": "DB_2", **({"database_name": name} if name else {})}
    live = {"env": {"live": {"d1_databases": [binding]}}} if environment else {}
    shop.configure(jsonc(BINDING if environment else binding, **live))
    for number, other in enumerate(("shopdesk-db", "shopdesk", "orders-2"), start=1):
        shop.world.sandbox.d1.add(other, ID.replace("5c", f"{number}c"))
    shop.world.sandbox.d1.add(database, ID)

    done = shop.guard("--env", environment, "--json")

    assert done.code == 0, done.err
    assert (done.result["database"], shop.applied) == (database, ["0001_customers.sql"])
    assert f"db={ID}" in done.result["message"]


def test_database_that_was_never_provisioned_is_refused(shop: Deployment) -> None:
    shop.configure(jsonc(WITHOUT_ID))

    missing = shop.guard()
    shop.configure(jsonc(WITHOUT_ID).replace('"name": "shopdesk",', ""))
    unnamed = shop.guard()

    assert (missing.code, unnamed.code, shop.writes) == (3, 3, [])
    assert "no D1 database shopdesk-db," in missing.err
    assert "Check the account" in missing.err
    assert "Add database_name" in unnamed.err


def test_environment_has_its_own_databases(shop: Deployment) -> None:
    other = {**BINDING, "database_id": ID.replace("5c", "6c"), "database_name": "orders-dev"}
    shop.configure(jsonc(other, env={"production": {"d1_databases": [BINDING]}, "empty": {}}))

    empty, missing = shop.guard("--env", "empty"), shop.guard("--env", "prod")
    done = shop.guard("--env", "production", "--database", "DB")

    assert (empty.code, " empty of wrangler.jsonc" in empty.err) == (3, True)
    assert (missing.code, " prod;" in missing.err, "production, empty" in missing.err) == (3, True, True)
    assert done.code == 0, done.err


def test_environment_is_that_of_the_variable_of_wrangler(shop: Deployment) -> None:
    """`wrangler deploy` reads CLOUDFLARE_ENV too: both must use the same database."""
    other = {**BINDING, "database_id": ID.replace("5c", "6c"), "database_name": "orders-dev"}
    shop.configure(jsonc(other, env={"production": {"d1_databases": [BINDING]}, "empty": {}}))

    done = shop.guard("--json", CLOUDFLARE_ENV="production")
    option_first = shop.guard("--env", "production", CLOUDFLARE_ENV="empty")

    assert done.code == 0, done.err
    assert option_first.code == 0, option_first.err
    assert (done.result["database"], shop.applied) == ("orders", ["0001_customers.sql"])


@pytest.mark.slow
def test_migrations_may_be_beside_the_folder_of_the_wrangler_file(shop: Deployment, tmp_path: Path) -> None:
    shop.configure(jsonc({**BINDING, "migrations_dir": "../db/changes"}))
    (shop.folder / "backend").mkdir()
    (shop.folder / "wrangler.jsonc").rename(shop.folder / "backend/wrangler.jsonc")
    outside = tmp_path / "wrangler.jsonc"
    outside.write_text(jsonc({**BINDING, "migrations_dir": "application/db/changes"}))

    assert shop.guard("--wrangler", "backend/wrangler.jsonc", "--dry-run").code == 0
    assert shop.guard("--wrangler", str(outside)).code == 0
    assert shop.applied == ["0001_customers.sql"]


@pytest.mark.parametrize(
    "name", ["0002_it's; DROP TABLE x--.sql", "0002_$(touch pwned).sql", "0002 \U0001f4a5.sql", "--env.sql", "-.sql"]
)
def test_hostile_name_is_only_a_name(shop: Deployment, name: str) -> None:
    shop.write(name, "CREATE TABLE notes (id);")

    done = shop.guard("--json")

    assert done.code == 0, done.err
    assert set(shop.applied) == {"0001_customers.sql", name}
    (mark,) = parse_schema_marks(done.result["message"])
    assert set(mark.applied) == {"0001_customers.sql", name}


@pytest.mark.sampled
@pytest.mark.parametrize("name", ["0002\n::error::x.sql", "0002\x1b[2J.sql", "0002\u202e.sql", "0002\\x.sql"])
def test_name_that_cannot_be_shown_is_refused(shop: Deployment, name: str) -> None:
    shop.write(name, "CREATE TABLE notes (id);")

    refused = shop.guard()

    assert refused.code == 2
    assert "0002" in refused.err
    assert not {"\x1b", "\u202e"} & {*refused.err}
    assert "\n::" not in refused.err
    assert shop.writes == []


@pytest.mark.parametrize(
    ("pattern", "name"),
    [("db/changes/**/*.sql", "down/0001_customers.sql"), (None, "0001_customers.down.sql")],
    ids=["in the folder down", "beside its migration"],
)
def test_down_file_among_the_migrations_is_refused(shop: Deployment, pattern: str | None, name: str) -> None:
    shop.configure(jsonc({**BINDING, "migrations_pattern": pattern} if pattern else BINDING))
    shop.write(name, "DROP TABLE customers;")

    refused = shop.guard()

    assert refused.code == 3
    assert "migrations_pattern" in refused.err
    assert name in refused.err


def test_links_and_hidden_files_are_no_migrations(shop: Deployment, tmp_path: Path) -> None:
    (tmp_path / "secret.sql").write_text("DROP TABLE customers;")
    (shop.files / "0002_link.sql").symlink_to(tmp_path / "secret.sql")
    shop.write(".0003_hidden.sql", "DROP TABLE customers;")

    assert shop.guard().code == 0
    assert shop.applied == ["0001_customers.sql"]


def test_early_number_and_missing_file_are_warnings(shop: Deployment) -> None:
    shop.write("0003_notes.sql", "CREATE TABLE notes (id);")
    shop.guard()
    (shop.files / "0003_notes.sql").unlink()
    shop.write("0002_late.sql", "CREATE TABLE late (id);")

    done = shop.guard("--json")

    assert done.code == 0, done.err
    early, missing = done.result["warnings"]
    assert "0002_late.sql" in early
    assert "0003_notes.sql" in early
    assert "0002_late.sql" not in missing
    assert "0003_notes.sql" in missing


@pytest.mark.slow
def test_too_many_bytes_or_files_are_refused(shop: Deployment) -> None:
    with (shop.files / "0002_data.sql").open("wb") as file:
        file.truncate(database_guard.MAX_BYTES)
    large = shop.guard()
    (shop.files / "0002_data.sql").unlink()
    for number in range(database_guard.MAX_FILES):
        (shop.files / f"{number}.txt").touch()

    many = shop.guard()

    assert (large.code, many.code) == (2, 2)
    assert str(database_guard.MAX_BYTES) in large.err
    assert str(database_guard.MAX_FILES) in many.err
    assert shop.writes == []


def test_wrangler_file_that_is_too_large_is_refused(shop: Deployment) -> None:
    shop.configure(jsonc(BINDING) + " " * site_config.MAX_BYTES)

    refused = shop.guard()

    assert refused.code == 3
    assert str(site_config.MAX_BYTES) in refused.err
    assert shop.writes == []


@pytest.mark.parametrize("lost", ["wrangler.jsonc", "db/changes", "text"])
def test_missing_or_unreadable_file_is_refused(shop: Deployment, lost: str) -> None:
    if lost == "text":
        (shop.files / "0002_latin.sql").write_bytes(b"-- caf\xe9")
    else:
        (shop.folder / lost).rename(shop.folder / "elsewhere")

    refused = shop.guard()

    assert refused.code == 2
    assert {"text": "0002_latin.sql"}.get(lost, lost) in refused.err
    assert shop.writes == []
