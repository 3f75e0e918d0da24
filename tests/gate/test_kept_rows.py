"""Jobs keep the rows that a restore loses in a private R2 bucket: a label asks, a button approves."""

from pathlib import Path
from typing import Any

import pytest

from ops.database.keep_steps import KEPT_SECTION
from sandbox.cloudflare.d1.sqlite import split_statements
from sandbox.cloudflare.r2.state import R2Bucket, R2Object
from tests.conftest import Outcome, World
from tests.support import marks, second_person
from tests.support.commands import ended, texts
from tests.support.second_person import DATABASE, RIGHTS, TOKEN, Desk

BUCKET = "shop-kept-rows"
PUT = {"method": "PUT", "path": "/accounts/*/r2/buckets/*/objects/*"}
PAGE = {"method": "POST", "path": "/accounts/*/d1/database/*/query", "sends": " AS c0"}
PERSON = marks.secret("person", signs="'\"\n\x00é😀")


@pytest.fixture
def desk(world: World) -> Desk:
    """The shop keeps its sales, and its jobs have a bucket, which has an object of an earlier run."""
    desk = second_person.open_desk(world)
    configure(desk, "          sales: sold_at\n", "          sales: sold_at\n        rows: {sales: {keep: true}}\n")
    configure(desk, "    databases:\n", f"    kept_rows: {{bucket: {BUCKET}}}\n    databases:\n")
    world.sandbox.add_token(TOKEN, [*RIGHTS, "Workers R2 Storage Write"])
    bucket = world.sandbox.account.r2.add(BUCKET)
    bucket.objects["earlier.sql"] = R2Object(content=b"earlier", uploaded=world.sandbox.clock.now())
    world.sandbox.d1.query(DATABASE, "UPDATE sales SET item = ? WHERE id = 5", PERSON)
    return desk


def configure(desk: Desk, old: str, new: str) -> None:
    desk.world.edit_config(old, new)
    desk.hub.add_commit("Configure", "alice", files={"ops.yml": desk.world.config.read_text()})


def bucket_of(desk: Desk) -> R2Bucket:
    return desk.world.sandbox.account.r2.all[BUCKET]


def kept(desk: Desk) -> dict[str, str]:
    """Return the objects of the bucket, besides the earlier one."""
    return {key: each.content.decode() for key, each in bucket_of(desk).objects.items() if key != "earlier.sql"}


def published(desk: Desk, *outcomes: Outcome) -> dict[str, str]:
    """Return all that left the jobs, besides the object."""
    printed = {f"{n} {name}": getattr(each, name) for n, each in enumerate(outcomes) for name in ("out", "err")}
    return {**printed, **marks.on_disk(desk.world.folder), **marks.sent(desk.hub.requests, "GitHub")}


@pytest.mark.parametrize(
    "fault", [{}, {"lost": "after"}, {"lost": "before"}], ids=["written", "answer lost", "request lost"]
)
def test_job_keeps_the_rows_in_a_private_bucket(desk: Desk, fault: dict[str, Any]) -> None:
    lost = desk.world.sandbox.d1.query(DATABASE, "SELECT id, item, sold_at FROM sales")
    asked = desk.ask()
    assert kept(desk) == {}
    if fault:
        desk.world.sandbox.fault(**PUT, **fault)

    done = desk.approve()

    assert done.code in {0, 8}, done.err
    assert desk.tables == {"sales": 3, "applied": 1}
    ((key, text),) = kept(desk).items()
    assert key.startswith(f"kept-rows-orders-{desk.runs[-1]}.1-")
    assert any(key in comment for comment in desk.comments)
    assert marks.leaks({"object": text}) != []
    assert marks.leaks(published(desk, asked, done)) == []
    assert not list(desk.world.folder.glob(".ops/runs/*/kept-rows.sql"))
    assert bucket_of(desk).objects["earlier.sql"].content == b"earlier"
    desk.world.sandbox.d1.store(DATABASE).run([(sql, ()) for sql in split_statements(text)])
    assert desk.world.sandbox.d1.query(DATABASE, "SELECT id, item, sold_at FROM sales") == lost


def test_lost_answer_at_the_end_claims_no_content(desk: Desk) -> None:
    """The object may have all rows that were read, or only the lost ones."""
    desk.ask()
    lost: dict[str, Any] = {**PUT, "lost": "after"}
    desk.world.sandbox.fault(**PUT, after=lambda: desk.world.sandbox.fault(**lost))

    done = desk.approve()

    assert done.code in {0, 8}, done.err
    (warning,) = [text for text in texts(done, "warning") if "lost or not" in text]
    assert "may have all rows" in warning
    assert [each.effect for each in desk.world.sandbox.requests if each.method == "PUT" and "/r2/" in each.path] == [
        200,
        200,
    ]


def test_request_that_is_planned_again_names_the_same_loss(desk: Desk) -> None:
    """The plan of the request has a line for each kept table, and no content."""
    asked = desk.ask()

    assert any("sales: " in line for line in asked.result["plan"]["sections"][KEPT_SECTION])
    assert BUCKET in str(asked.result["plan"]["changes"])


@pytest.mark.parametrize("public", ["r2.dev", "domain", "later"])
def test_public_bucket_is_refused(desk: Desk, public: str) -> None:
    bucket = bucket_of(desk)
    bucket.domains = {"old.shop.example": False, **({"rows.shop.example": True} if public == "domain" else {})}
    if public == "later":
        desk.ask()
        desk.world.sandbox.fault(**PAGE, after=lambda: setattr(bucket, "is_public", True))
        refused = desk.approve()
    else:
        bucket.is_public = public == "r2.dev"
        refused = desk.ask()

    assert refused.result["reason"] == "rows_not_kept", refused.err
    assert ("rows.shop.example" if public == "domain" else ".r2.dev") in refused.result["message"]
    assert "old.shop.example" not in refused.result["message"]
    assert desk.restores == []
    assert kept(desk) == {}


def test_bucket_of_another_jurisdiction_is_named_in_ops_yml(desk: Desk) -> None:
    bucket_of(desk).jurisdiction = "eu"
    failed = desk.ask()
    assert ended(failed)[:2] == (4, "failed"), failed.err
    assert BUCKET in failed.result["message"]
    configure(desk, f"{{bucket: {BUCKET}}}", f"{{bucket: {BUCKET}, jurisdiction: eu}}")
    desk.ask()

    desk.approve()

    assert desk.tables["sales"] == 3
    assert len(kept(desk)) == 1


def test_token_without_the_right_to_the_bucket_ends_before_a_write(desk: Desk) -> None:
    desk.world.sandbox.add_token(TOKEN, RIGHTS)

    failed = desk.ask()

    assert ended(failed) == (4, "failed", "not_authorised"), failed.err
    assert "Workers R2 Storage" in failed.result["hint"]
    assert desk.restores == []


def test_job_without_a_bucket_refuses(desk: Desk) -> None:
    configure(desk, f"    kept_rows: {{bucket: {BUCKET}}}\n", "")

    refused = desk.ask()

    assert ended(refused) == (2, "refused", "rows_not_kept"), refused.err
    assert "kept_rows" in refused.result["hint"]


@pytest.mark.parametrize("trouble", ["no bucket", "public", "outage"])
def test_person_accepts_every_table_where_there_is_no_place(desk: Desk, trouble: str) -> None:
    """Trouble with R2 stops no recovery that a person wants."""
    bucket_of(desk).is_public = trouble == "public"
    if trouble == "no bucket":
        configure(desk, f"    kept_rows: {{bucket: {BUCKET}}}\n", "")
    if trouble == "outage":
        desk.world.sandbox.fault(method="GET", path="/accounts/*/r2/**", status=503, times=None)
    refused = desk.ask()
    assert refused.code in {2, 3, 4}
    assert "--accept-not-kept sales" in refused.result["hint"]

    planned = press_restore(desk, accept_not_kept="sales")
    done = desk.approve()

    (line,) = planned.result["plan"]["sections"][KEPT_SECTION]
    assert line.startswith("sales: not kept, accepted by name: ")
    assert done.code in {0, 8}, done.err
    assert desk.tables["sales"] == 3
    assert kept(desk) == {}


def press_restore(desk: Desk, **inputs: str) -> Outcome:
    """Request the restore by its button, and run the job that plans."""
    given = {"database": "orders", "to": f"before-migration:{second_person.MIGRATION}", "environment": "live"}
    gate = desk.press("restore-database", {**given, "incident": str(desk.incident), **inputs}, "alice")
    assert gate.code == 0, gate.err
    done = desk.act(desk.runs[-1])
    desk.world.sandbox.clock.advance(60)
    return done


def test_person_accepts_a_table_by_the_button(desk: Desk) -> None:
    desk.world.sandbox.d1.query(DATABASE, "UPDATE sales SET item = ? WHERE id = 4", "x" * 90_000)
    assert ended(desk.ask()) == (3, "refused", "rows_not_kept")
    press_restore(desk, accept_not_kept="sales")

    done = desk.approve()

    assert done.code in {0, 8}, done.err
    assert "(5," in next(iter(kept(desk).values()))
    assert "(4," not in next(iter(kept(desk).values()))


def test_bucket_is_not_used_on_a_laptop(desk: Desk) -> None:
    where = ["--environment", "live", "--config", str(desk.world.config), "--yes", "--json", "--one-person"]
    given = ["--database", "orders", "--to", f"before-migration:{second_person.MIGRATION}"]
    done = desk.world.ops("restore-database", *given, *where, SHOP_TOKEN=TOKEN, OPS_SOURCE="")

    assert done.code in {0, 8}, done.err
    assert kept(desk) == {}
    assert [Path(each).name for each in desk.world.folder.glob(".ops/runs/*/kept*")] == ["kept-rows.sql"]
    assert not any("/r2/" in each.path for each in desk.world.sandbox.requests)


def test_only_the_token_for_databases_gets_the_right_to_the_bucket(desk: Desk) -> None:
    """The job of the report reads no rows, and a team without kept rows gives no token the right."""

    def rights() -> dict[str, str]:
        shown = desk.world.ops("workflows", "environments", "--config", str(desk.world.config))
        rows = [line.split(" | ") for line in shown.out.splitlines() if line.startswith("| `")]
        return {row[0].strip("| `"): row[3] for row in rows}

    with_bucket = rights()
    assert [name for name, given in with_bucket.items() if "R2" in given] == ["database"]
    configure(desk, "rows: {sales: {keep: true}}", "rows: {sales: {at_least: 1}}")
    assert not any("R2" in given for given in rights().values())
    assert rights().keys() == with_bucket.keys()
