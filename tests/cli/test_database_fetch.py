"""`ops database fetch`: the job that reads migrations without a token of Cloudflare."""

import json
from pathlib import Path
from typing import Any

import pytest

from ops.tools.source_files import SAVED, load_source_files
from tests.conftest import Outcome, World
from tests.gate.support import parse_outputs
from tests.support import databases
from tests.support.databases import Library

DOWN = "ALTER TABLE books DROP COLUMN tags;"


@pytest.fixture
def library(world: World) -> Library:
    found = databases.prepared(world)
    found.commit({"db/migrations/0002_b.sql": "ALTER TABLE books ADD COLUMN tags TEXT;", "db/down/0002_b.sql": DOWN})
    return found


def fetch(library: Library, **environ: Any) -> tuple[Outcome, dict[str, str]]:
    """Run the command in a job, and return its outputs too."""
    folder = library.world.folder
    written, params = folder / "outputs", json.dumps({"database": "lib", "name": "last"})
    job = {**library.world.sandbox.github.environ(), "GITHUB_ACTIONS": "true", "GITHUB_OUTPUT": str(written)}
    options = ["--params", params, "--environment", "production", "--into", str(folder / "saved.json")]
    config = ["--config", str(library.world.config)]
    more = {"OPS_SOURCE": "app", "CLOUDFLARE_API_TOKEN": None, **environ}
    done = library.world.ops("database", "fetch", *options, *config, **{**job, **more})
    return done, parse_outputs(written.read_text()) if written.exists() else {}


def test_migrations_and_down_files_are_saved(library: Library) -> None:
    done, outputs = fetch(library)

    assert done.code == 0, done.err
    saved = {SAVED: str(library.world.folder / "saved.json"), f"{SAVED}_SHA256": outputs["source"]}
    found = load_source_files(saved)
    assert found.branch == "main"
    assert found.files["db/down/0002_b.sql"] == DOWN.encode()


def test_database_without_migrations_has_no_output(library: Library) -> None:
    library.world.edit_config("        migrations: db/migrations\n", "")
    done, outputs = fetch(library)
    assert (done.code, outputs) == (0, {"source": ""})
    assert not Path(library.world.folder / "saved.json").exists()


def test_migrations_of_another_repository_need_a_private_one(library: Library) -> None:
    """The artifact of a public operations repository is readable by everybody."""
    library.world.edit_config("        migrations: db", "        repository: shop/web\n        migrations: db")
    library.world.sandbox.github.switches.private = False
    done, outputs = fetch(library)
    assert done.code == 3
    assert "reasons.md#build_unusable" in done.err
    assert outputs == {}

    library.world.sandbox.github.switches.private = True
    assert fetch(library)[0].code == 0
