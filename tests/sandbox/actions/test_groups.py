"""Concurrency groups: turns, newcomers and the longest queue."""

from sandbox.actions.groups import MOST_PENDING, ConcurrencyGroups
from sandbox.actions.plan import GroupClaim

ONE, ALL = GroupClaim("Group", cancels=False, queues_all=False), GroupClaim("group", cancels=False, queues_all=True)
CANCELS = GroupClaim("group", cancels=True, queues_all=False)


def test_members_hold_a_group_in_the_order_in_which_they_joined() -> None:
    groups: ConcurrencyGroups[str] = ConcurrencyGroups()

    assert [groups.join(ALL, name) for name in ("a", "b", "c")] == [[], [], []]
    assert [groups.holds(ALL, name) for name in ("a", "b", "c")] == [True, False, False]
    groups.leave(ALL, "b")
    groups.leave(ALL, "a")
    assert groups.holds(ALL, "c")


def test_a_newcomer_displaces_the_member_that_waits_and_with_cancel_in_progress_the_holder_too() -> None:
    groups: ConcurrencyGroups[str] = ConcurrencyGroups()

    assert groups.join(ONE, "a") + groups.join(ONE, "b") == []
    assert groups.join(ONE, "c") == ["b"]
    groups.leave(ONE, "b")
    assert groups.join(CANCELS, "d") == ["c", "a"]


def test_groups_are_apart_and_their_names_ignore_case() -> None:
    groups: ConcurrencyGroups[str] = ConcurrencyGroups()

    groups.join(ONE, "a")
    groups.join(GroupClaim("other", cancels=False, queues_all=False), "x")

    assert not groups.holds(ALL, "b")
    assert groups.holds(ONE, "a")
    assert groups.holds(GroupClaim("other", cancels=False, queues_all=False), "x")
    assert groups.holds(None, "anybody")


def test_a_full_queue_takes_no_further_member() -> None:
    groups: ConcurrencyGroups[int] = ConcurrencyGroups()

    cancelled = [groups.join(ALL, number) for number in range(MOST_PENDING + 3)]

    assert cancelled[: MOST_PENDING + 1] == [[]] * (MOST_PENDING + 1)
    assert cancelled[MOST_PENDING + 1 :] == [[MOST_PENDING + 1], [MOST_PENDING + 2]]
