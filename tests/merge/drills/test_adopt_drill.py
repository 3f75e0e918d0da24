"""`ops adopt` ends with a label that recovers the written configuration in a sandbox."""

import time

from tests.setup.test_adopt import TOKEN, adopt_and_drill, shop, steps
from tests.support.adoption import Team

__all__ = ["shop"]
LONGEST = 240.0
"""Most seconds for one account with two services, on a busy machine; docs/how-to/set-up.md has a measured one."""


def test_adoption_of_two_services_ends_with_a_recovery_by_label(shop: Team) -> None:
    started = time.monotonic()

    done = adopt_and_drill(shop, "--yes", "--json")

    seconds = time.monotonic() - started
    assert done.code == 0, done.out + done.err
    assert steps(done)[-1] == "done"
    assert "recover:shop-web: " in done.result["steps"][-1]["details"]
    assert seconds < LONGEST
    print(f"{seconds:.1f} s")
    assert TOKEN not in done.out + done.err
    again = adopt_and_drill(shop, "--yes", "--json")
    assert (again.result["decision"], steps(again)[-1]) == ("nothing_to_do", "already done")
