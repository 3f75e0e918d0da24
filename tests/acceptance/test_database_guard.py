"""The action `hold-migrate` in the deployment workflow of an application: not the operations repository."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ops.cloudflare.marks import parse_schema_marks
from ops.tools import own_program
from sandbox import Sandbox
from sandbox.actions import Runner
from tests.conftest import ACCOUNT
from tests.support.deployment import BINDING, FIRST, ID, QUERY, SECOND, TABLE, jsonc

ACTIONS = "backout-tools/backout"
PIN = "a" * 40
WORKFLOW = f"""\
name: deploy
on: push
permissions: {{}}
jobs:
  deploy:
    runs-on: ubuntu-latest
    permissions:
      contents: read
    steps:
      - uses: actions/checkout@{PIN}
      - uses: {ACTIONS}/.github/actions/setup@{PIN}
      - id: guard
        uses: {ACTIONS}/.github/actions/hold-migrate@{PIN}
        with:
          wrangler: backend/wrangler.jsonc
          known-as: lib
          checks: |
            SELECT count(*) FROM customers WHERE email = ''
          message: ${{{{ github.event.head_commit.message }}}}
        env:
          CLOUDFLARE_API_TOKEN: ${{{{ secrets.D1_TOKEN }}}}
          CLOUDFLARE_ACCOUNT_ID: {ACCOUNT}
      - run: printf 'deploys with [%s]\\n' "$MESSAGE"
        env:
          MESSAGE: ${{{{ steps.guard.outputs.message }}}}
      - if: failure()
        run: printf 'not deployed, bookmark [%s], applied %s\\n' "$BOOKMARK" "$APPLIED"
        env:
          BOOKMARK: ${{{{ steps.guard.outputs.bookmark }}}}
          APPLIED: ${{{{ steps.guard.outputs.applied }}}}
"""
FOLDER = "backend/db/changes"
FIRST_ROW = "INSERT INTO customers (email) VALUES ('a@shop.example');\n"


class Application:
    """A repository with a Worker's backend, its database, and a runner for its workflow."""

    def __init__(self, sandbox: Sandbox, runner: Runner) -> None:
        self.sandbox, self.runner = sandbox, runner

    def push(self, subject: str, **files: str) -> tuple[str | None, str]:
        """Push migrations; return the conclusion of the job and its log."""
        hub = self.sandbox.github
        hub.add_commit(subject, "alice", files={f"{FOLDER}/{name}.sql": text for name, text in files.items()})
        self.runner.wait()
        return hub.runs[-1].jobs[0].conclusion, "\n".join(self.runner.log(hub.runs[-1].id))

    @property
    def applied(self) -> list[str]:
        return [row["name"] for row in self.sandbox.d1.query(ID, f"SELECT name FROM {TABLE} ORDER BY id")]


@contextmanager
def deployed(plain_pip_cache: Path, program: Path) -> Iterator[Application]:
    with Sandbox(account_id=ACCOUNT) as sandbox:
        sandbox.d1.add("orders", ID)
        hub = sandbox.github
        hub.add_user("alice")
        hub.put_secret("D1_TOKEN", sandbox.add_token("deployment", permissions=["D1 Write"]))
        own_program.write_program(program)
        known = {name: value for name, value in sandbox.environ().items() if name != "CLOUDFLARE_API_TOKEN"}
        with Runner(hub, known, pip_cache=plain_pip_cache, actions={ACTIONS: program}) as runner:
            files = {".github/workflows/deploy.yml": WORKFLOW, "backend/wrangler.jsonc": jsonc(BINDING)}
            files |= {f"{FOLDER}/0001_customers.sql": FIRST, "ops/__init__.py": "raise SystemExit('imported')"}
            hub.add_commit("The shop's desk", "alice", files=files)
            runner.wait()
            yield Application(sandbox, runner)


def printed(words: str, log: str) -> str:
    """Return what a step printed in brackets; the log has its script too."""
    (found,) = re.findall(rf"^{words} \[(.*?)\]", log, re.MULTILINE)
    return str(found)


def test_good_bad_and_slow_migrations_are_guarded(plain_pip_cache: Path, tmp_path: Path) -> None:
    with deployed(plain_pip_cache, tmp_path / "program") as shop:
        first = "\n".join(shop.runner.log(shop.sandbox.github.runs[-1].id))
        assert shop.applied == ["0001_customers.sql"], first
        (mark,) = parse_schema_marks(printed("deploys with", first))
        assert (mark.last, mark.applied) == ("0001_customers.sql", ("0001_customers.sql",))
        assert "deploys with [The shop's desk ops-schema1" in first
        assert shop.sandbox.token not in first

        ended, log = shop.push("$(touch pwned) `x`", **{"0002_orders": SECOND + FIRST_ROW})
        assert ended == "success", log
        assert "deploys with [$(touch pwned) `x` ops-schema1" in log

        ended, log = shop.push("bad", **{"0003_bad": "ALTER TABLE customers ADD COLUMN x; SELECT y FROM customers;"})
        assert ended == "failure", log
        assert re.search(r"0003_bad\.sql\b.*no such column: y", log)
        assert "not deployed, bookmark [], applied []" in log

        files = {"0003_bad": "SELECT 1;", "0004_unique": "CREATE UNIQUE INDEX emails ON customers (email);"}
        ended, log = shop.push("only the data breaks it", **files)
        assert ended == "failure", log
        assert "D1 rejected 0004_unique.sql" in log
        bookmark = printed("not deployed, bookmark", log)
        assert f"ops restore-database --database lib --to {bookmark}" in log
        assert 'applied ["0003_bad.sql"]' in log
        assert shop.applied == ["0001_customers.sql", "0002_orders.sql", "0003_bad.sql"]

        ended, log = shop.push("mended", **{"0004_unique": "CREATE INDEX emails ON customers (email);"})
        assert ended == "success", log
        assert shop.applied[-1] == "0004_unique.sql"

        # The answer comes after the time limit of the guard; D1 has applied the migration meanwhile.
        shop.sandbox.fault(path=QUERY, sends="CREATE TABLE slow", lost="after")
        ended, log = shop.push("slow", **{"0005_slow": "CREATE TABLE slow AS SELECT * FROM customers;"})
        assert ended == "success", log
        assert "no answer for 0005_slow.sql; its row shows that it was applied" in log
        assert shop.applied[-1] == "0005_slow.sql"
