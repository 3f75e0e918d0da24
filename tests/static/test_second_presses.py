"""Texts that ask people to start the same command again: each names the test that presses it a second time."""

import ast
from collections import Counter
from collections.abc import Iterator, Mapping

from tests.conftest import ROOT
from tests.support.commands import PROMISE
from tests.support.syntax import named, parsed

HERE = "tests/merge/engine/test_second_press.py::test_command_is_pressed_three_times"
RANDOM = "tests/test_claims.py::test_run_result_is_true_and_next_run_continues"
KILLED = "tests/engine/test_interruption.py::test_any_runbook_killed_at_its_write_can_be_finished"
RESTORE = (
    "tests/runbooks/test_restore_database_edge.py::test_maintenance_that_does_not_take_effect_prevents_the_restore"
)
CONTINUED = "tests/runbooks/test_rollback_worker_current_secrets_interrupted.py::test_run_interrupted_at_a_write_can_be_finished"
SET_UP_TWICE = "tests/setup/test_github_setup.py::test_environments_labels_and_ruleset_are_created_once"
PLANNING = "refused while planning"
PRESSED: Mapping[str, tuple[str, ...]] = {
    "ops/app/run.py AFTER_A_BUG": (KILLED,),
    "ops/cli/__init__.py describe_interrupted": (
        SET_UP_TWICE,
        "an interrupted command that only reads",
        "a command whose run had not begun",
    ),
    "ops/cli/setup.py _end_setup": (SET_UP_TWICE,),
    "ops/cloudflare/response.py HINTS": (HERE, RANDOM),
    "ops/core/errors.py SecretsChanged.__init__": (
        "tests/runbooks/test_rotate_secrets_unclear.py::test_secret_edited_before_the_mark_leaves_a_way_on",
    ),
    "ops/database/earlier_restores.py refuse_concurrent_restore": (
        "tests/runbooks/test_restore_database_repeated.py::test_second_press_within_a_minute_of_a_kill_waits",
    ),
    "ops/database/terms.py PLAN_AGAIN": (
        "tests/runbooks/test_grown_losses.py::test_revert_loses_at_most_the_accepted_rows",
    ),
    "ops/engine/change_writer.py ChangeWriter.read_back": (HERE,),
    "ops/engine/change_writer.py SentChange.start_again_hint": (HERE,),
    "ops/engine/change_writer.py _not_applied": (HERE, HERE),
    "ops/engine/engine.py Engine._await_step_probes": (RESTORE,),
    "ops/engine/signals.py SignalHandler._raise_signal": (KILLED,),
    "ops/github/requester.py MalformedAnswer.__init__": (RANDOM,),
    "ops/github/requester.py malformed_answer": (RANDOM,),
    "ops/maintenance/former_configuration.py keep_closed_by_switch": (
        "tests/merge/status/test_changed_configuration.py::test_service_closed_by_both_methods_is_opened_by_two_presses",
    ),
    "ops/maintenance/refusals.py closed_paths_refusal": (PLANNING,),
    "ops/maintenance/refusals.py open_path_refusal": (PLANNING,),
    "ops/maintenance/refusals.py unknown_paths_refusal": (PLANNING,),
    "ops/maintenance/refusals.py unknown_switch_refusal": (PLANNING,),
    "ops/maintenance/steps.py read_maintenance_worker": ("the state cannot be read before a write",),
    "ops/probes/http.py FORMER_HINT": (
        "tests/merge/switches/test_stale_values.py::test_former_value_is_no_evidence_until_a_later_press_sees_the_new_one",
    ),
    "ops/probes/page_content.py UNREAD_HINT": (
        "tests/runbooks/test_rollback_pages_cached.py::test_deployments_that_cannot_be_read_leave_no_evidence",
    ),
    "ops/probes/page_content.py PURGE_HINT": (
        "tests/runbooks/test_rollback_pages_cached.py::test_bad_page_in_the_cache_of_the_zone_is_no_recovery",
    ),
    "ops/probes/edge_answer.py CHALLENGE_HINT": (HERE,),
    "ops/probes/edge_answer.py BROWSER_HINT": (HERE,),
    "ops/probes/edge_answer.py ACCESS_HINT": (
        "tests/merge/probes/test_access.py::test_next_press_after_a_refreshed_token_proves_the_recovery",
    ),
    "ops/probes/edge_answer.py PROXY_HINT": (
        "tests/probes/test_edge_answer.py::test_proxy_leaves_no_evidence_until_it_is_gone",
    ),
    "ops/probes/application.py DurableObjectAdmin.reset": (
        "tests/runbooks/test_reset_one_durable_object.py::test_interrupted_single_reset_is_repeated",
    ),
    "ops/runbooks/all_clear.py AllClear.plan": (PLANNING, RANDOM),
    "ops/status/held_states.py _describe_run_of_held_state": (KILLED,),
    "ops/switches/steps.py _refuse_hidden_owners": (PLANNING,),
    "ops/switches/steps.py _refuse_other_namespace": (PLANNING,),
    "ops/workers/reupload.py DeployUpload.check": (CONTINUED,),
    "ops/setup/adopt/own_repository.py find_own": (
        "tests/setup/test_adopt_removal.py::test_removal_without_an_adoption_or_a_confirmation_changes_nothing",
    ),
}
"""Function or constant → for each of its texts the test that presses the command again in a state with that text, after
something may be sent; or why the second press is the first one."""


def text_of(node: ast.AST) -> str:
    if isinstance(node, ast.JoinedStr):
        return "".join(str(each.value) for each in node.values if isinstance(each, ast.Constant))
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def promises(node: ast.AST, place: str = "") -> Iterator[str]:
    """Yield the function, class or constant of each text below the node that makes the promise; docstrings do not."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
            continue
        if PROMISE.search(text_of(child)):
            yield place
        elif not isinstance(child, ast.JoinedStr):
            yield from promises(child, named(child, place))


def test_each_text_names_the_test_of_its_second_press() -> None:
    found = Counter(
        f"{path.relative_to(ROOT)} {place}"
        for path in sorted((ROOT / "ops").rglob("*.py"))
        if PROMISE.search(path.read_text())
        for place in promises(parsed(path))
    )

    assert found == {place: len(shown) for place, shown in PRESSED.items()}
    for each in {each for shown in PRESSED.values() for each in shown if "::" in each}:
        path, test = each.split("::")
        assert f"def {test}(" in (ROOT / path).read_text()
