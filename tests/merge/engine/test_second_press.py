"""Texts that ask people to start the same command again: each is pressed a second and a third time in its state."""

import ast
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.conftest import ROOT, Releases, World
from tests.support.commands import LIST, WRITE, ours

PROMISE = re.compile("same command again", re.IGNORECASE)
HERE = "tests/merge/engine/test_second_press.py::test_command_is_pressed_three_times"
RANDOM = "tests/test_claims.py::test_run_result_is_true_and_next_run_continues"
KILLED = "tests/engine/test_interruption.py::test_any_runbook_killed_at_its_write_can_be_finished"
RESTORE = (
    "tests/runbooks/test_restore_database_edge.py::test_maintenance_that_does_not_take_effect_prevents_the_restore"
)
PRESSED = {
    "Or start the same command again: it reads the state first.": KILLED,
    "it reads the state and continues.": KILLED,
    "Start the same command again when the API answers: {}": HERE,
    "Start the same command again in a minute: {}": HERE,
    "start the same command again in {}.": HERE,
    "{}Start the same command again.": HERE,
    "Start the same command again in a minute.": RESTORE,
    "Run the same command again in a minute.": HERE,
    "Check https://www.cloudflarestatus.com/, then run the same command again.": RANDOM,
    "Check https://www.githubstatus.com/, then start the same command again.": RANDOM,
    "before you start the same command again.": RANDOM,
    "(docs/reference/ops-yml.md). Then run the same command again.": HERE,
    "Let this machine through with a WAF skip rule. Then run the same command again.": HERE,
    "own URLs. Then run the same command again.": (
        "tests/runbooks/test_rollback_pages_cached.py::test_deployments_that_cannot_be_read_leave_no_evidence"
    ),
    "Purge the cache of the zone (dashboard → Caching → Configuration). Then run the same command again.": (
        "tests/runbooks/test_rollback_pages_cached.py::test_bad_page_in_the_cache_of_the_zone_is_no_recovery"
    ),
    "for this path. Then run the same command again.": (
        "tests/runbooks/test_reset_one_durable_object.py::test_interrupted_single_reset_is_repeated"
    ),
    "{}. Run the same command again in a minute": RANDOM,
    "{} Run the same command again.": (
        "tests/runbooks/test_rollback_worker_current_secrets_interrupted.py::test_run_interrupted_at_a_write_can_be_finished"
    ),
    "Check what was changed, then run the same command again.": (
        "tests/setup/test_github_setup.py::test_environments_labels_and_ruleset_are_created_once"
    ),
    "Correct this, or use the token of an admin. Then run the same command again.": (
        "tests/setup/test_github_setup.py::test_environments_labels_and_ruleset_are_created_once"
    ),
    "the same command again": (
        "tests/runbooks/test_restore_database_repeated.py::test_second_press_within_a_minute_of_a_kill_waits"
    ),
}
"""End of a text → the test that presses the command again in a state with that text, after something may be sent."""
NOTHING_SENT = {
    "Run the same command again.": "an interrupted command that only reads, or whose run had not begun",
    "or without --path for the whole service.": "refused while planning",
    "in ops.yml, then run the same command again.": "refused while planning",
    "in ops.yml. Then run the same command again.": "refused while planning",
    "in a minute: it opens nothing that another run closed.": "refused while planning",
    "or open these paths. Then run the same command again.": "refused while planning",
    "a new version may not be readable yet.": "the state cannot be read before a write",
}
"""End of a text → why the second press is the first one."""


def text_of(node: ast.AST) -> str:
    if isinstance(node, ast.JoinedStr):
        return "".join(str(each.value) if isinstance(each, ast.Constant) else "{}" for each in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def promises() -> Iterator[str]:
    """Yield each text of the program that makes the promise, with {} for its values."""
    for path in sorted((ROOT / "ops").rglob("*.py")):
        source = path.read_text()
        if not PROMISE.search(source):
            continue
        nodes = list(ast.walk(ast.parse(source)))
        skipped = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
        joined = [node for node in nodes if isinstance(node, ast.JoinedStr)]
        skipped |= {id(part) for node in joined for part in ast.walk(node) if part is not node}
        yield from (text for node in nodes if id(node) not in skipped and PROMISE.search(text := text_of(node)))


def test_each_text_names_the_test_of_its_second_press() -> None:
    known = {**PRESSED, **NOTHING_SENT}
    found = {max((end for end in known if text.endswith(end)), key=len, default=text) for text in promises()}

    assert found == known.keys()
    for path, test in {tuple(each.split("::")) for each in PRESSED.values()}:
        assert f"def {test}(" in (ROOT / path).read_text()


STATES: Mapping[str, tuple[list[dict[str, Any]], dict[str, Any], dict[str, Any]]] = {
    "unreadable": ([{**WRITE, "lost": "after"}, {**LIST, "status": 500, "skip": 1, "times": None}], {}, {}),
    "invisible": ([], {"deployments_lag_reads": 100}, {}),
    "limited": ([{**WRITE, "status": 429, "headers": {"retry-after": "300"}}], {}, {}),
    "not applied": ([{**WRITE, "code": 10035, "times": 2}], {}, {}),
    "refused for now": ([{**LIST, "status": 429, "times": None}], {}, {}),
    "challenge": ([], {}, {"status": 403, "headers": {"cf-mitigated": "challenge"}, "body": "<html>", "times": None}),
}
"""Faults of the API, switches, and a fault of the edge."""


@pytest.mark.parametrize("state", STATES)
def test_command_is_pressed_three_times(world: World, releases: Releases, state: str) -> None:
    """The state has the text; the second press reaches the goal, and the third changes nothing."""
    faults, switches, at_edge = STATES[state]
    for fault in faults:
        world.sandbox.fault(**fault)
    vars(world.sandbox.switches).update(switches)
    if at_edge:
        world.sandbox.edge_fault(**at_edge)

    first = world.rollback()

    assert PROMISE.search(first.result["hint"]), first.result
    world.sandbox.faults.clear()
    world.sandbox.edge_faults.clear()
    world.sandbox.switches.deployments_lag_reads = 0
    world.sandbox.clock.advance(300)
    second, third = world.rollback(), world.rollback()
    assert (second.code, third.code) == (0, 0), second.err
    assert third.result["decision"] == "nothing_to_do"
    assert world.live == {releases.good: 100}
    assert len(ours(world)) == (2 if state == "invisible" else 1)  # the list still lags, and both are equal
