"""The table of assumptions is complete: each switch and each declared read has a row, each row a check or a reason."""

import importlib
import pkgutil
from collections import Counter
from dataclasses import fields

from ops import cloudflare
from ops.app import registry
from ops.cloudflare.client import DECLARED_READS
from ops.platform.github_verification import GITHUB_STEPS
from ops.platform.measurements import read_assumptions
from ops.platform.verification import STEPS
from sandbox.switches import GitHubSwitches, Switches

ASSUMPTIONS = read_assumptions()


def test_each_switch_has_one_row() -> None:
    named = Counter(switch for each in ASSUMPTIONS for switch in each.switches)

    assert named == Counter(field.name for kind in (Switches, GitHubSwitches) for field in fields(kind))


def test_each_declared_read_has_one_row() -> None:
    for module in pkgutil.iter_modules(cloudflare.__path__):
        importlib.import_module(f"ops.cloudflare.{module.name}")

    named = Counter(read for each in ASSUMPTIONS for read in each.reads)
    assert named == Counter(" ".join(request) for request in DECLARED_READS)


def test_each_row_has_a_check_or_a_sourced_reason() -> None:
    wrong = [each.id for each in ASSUMPTIONS if bool(each.check) == bool(each.reason)]
    wrong += [each.id for each in ASSUMPTIONS if each.check and bool(each.expected) == (each.at_most is not None)]
    wrong += [each.id for each in ASSUMPTIONS if each.reason and not is_sourced(each.reason)]
    assert wrong == []
    assert {each.check for each in ASSUMPTIONS} - {""} == STEPS.keys() | GITHUB_STEPS.keys()
    assert len({each.id for each in ASSUMPTIONS}) == len(ASSUMPTIONS)


def is_sourced(reason: str) -> bool:
    """Return whether a reason names a page in parentheses, or why workers.dev and pages.dev cannot show it."""
    return "(" in reason and ("." in reason.rpartition("(")[2] or "zone settings" in reason)


def test_runbooks_of_a_row_exist() -> None:
    assert {name for each in ASSUMPTIONS for name in each.runbooks} <= {*registry.runbook_names()}
