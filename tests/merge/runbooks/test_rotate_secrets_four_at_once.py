"""Four rotations of one secret at once that all fail: each names GitHub's old copy, and the next one writes it."""

import random
import re
from functools import partial
from itertools import product
from typing import Any

import pytest

from tests.conftest import Outcome
from tests.runbooks.test_rotate_secrets import BULK, FRESH, KEY, Leak, leak, with_token
from tests.runbooks.test_rotate_secrets_github import copied

__all__ = ["copied", "leak"]

EDIT, MARK = BULK, {"method": "POST", "path": "/accounts/*/workers/scripts/*/deployments"}
ORDERS = random.Random(4).sample([*product((EDIT, MARK), repeat=3)], 6)
"""The write before which each of the first three runs pauses, while the next one acts."""
MOST_PRESSES = 3


@pytest.mark.sampled
@pytest.mark.parametrize("order", ORDERS, ids=lambda order: "-".join(each["method"] for each in order))
def test_old_copy_on_github_is_named_and_written_next(copied: Leak, order: tuple[Any, ...]) -> None:
    environ, sandbox = with_token(copied), copied.world.sandbox
    ended, started = list[Outcome](), [0]

    def act() -> None:
        started[0] += 1
        ended.append(copied.rotate_one(**environ))

    def meet(write: Any) -> None:
        if started[0] <= len(order) and order[started[0] - 1] is write:
            act()

    for write in (EDIT, MARK):
        sandbox.fault(**write, times=None, before=partial(meet, write))
    sandbox.edge_fault(status=500, times=None)
    act()
    sandbox.faults.clear()
    sandbox.edge_faults.clear()

    assert len(ended) > 1
    assert all(each.code for each in ended)
    assert sandbox.github.secrets("production") == {}
    for each in ended:
        assert not each.result["wrote"] or f"GitHub secret {KEY} of production" in each.result["message"], each.out
    accepted = list[str]()
    for _ in range(MOST_PRESSES):
        done = copied.rotate_one(*accepted, **environ)
        if done.code == 0:
            break
        accepted = re.findall(r"--inherit-latest|(?<=--inherit-latest )\w+", done.result["press"])
    assert sandbox.github.secrets("production") == {KEY: FRESH}
