"""The drill of `ops adopt` on GitHub with the real workflow files, for a game in one account."""

from pathlib import Path

from ops.core.verification_name import DRILL_PREFIX
from ops.tools import own_program
from sandbox import Sandbox
from sandbox.actions import Runner
from tests.conftest import World
from tests.setup.test_adopt import PERSON, TOKEN, adopt, adopt_and_drill, steps
from tests.support.adoption import ACTIONS, EVERY_READ, GAME, READER, Team, build_game
from tests.support.bakery import PERMISSIONS


def test_label_recovers_through_the_written_workflows(tmp_path: Path, pip_cache: Path) -> None:
    with Sandbox(account_id=GAME) as sandbox:
        sandbox.clock.longest_sleep = 5.0
        sandbox.add_token(READER, EVERY_READ)
        sandbox.add_token(TOKEN, set(PERMISSIONS) - {"API Tokens Read"})
        sandbox.github.switches.plan = "team"
        sandbox.github.add_user("dana", None)
        sandbox.github.add_token(PERSON, "dana", ["repo", "workflow"])
        build_game(sandbox)
        team = Team(World(sandbox, tmp_path))
        assert adopt(team, "--yes").code == 0
        made = sandbox.github.open_repository("dana/operations")
        before = made.files("main")
        own_program.write_program(tmp_path / "program")
        environ = {name: value for name, value in sandbox.environ().items() if name != "CLOUDFLARE_API_TOKEN"}
        programs = {ACTIONS.partition("@")[0]: tmp_path / "program"}
        with Runner(made, environ, pip_cache=pip_cache, actions=programs) as runner:
            done = adopt_and_drill(team, "--yes", "--json", "--same-account")
            runner.wait()
            log = "\n".join(line for run in made.runs for line in runner.log(run.id))

        assert (done.code, steps(done)[-1]) == (0, "done"), done.out + done.err + log
        assert f"and in account {GAME}" in done.result["steps"][-1]["details"]
        assert made.files("main") == before
        assert [each.title for each in made.issues if each.state == "open"] == []
        assert not [name for name in (*sandbox.account.workers, *made.labels) if DRILL_PREFIX in name]
        assert {each.event for each in made.runs} == {"issues"}
        assert TOKEN not in log
