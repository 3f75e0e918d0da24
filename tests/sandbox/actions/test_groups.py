"""Concurrency groups: order, displaced members and the longest queue."""

from sandbox.actions.plan import GroupClaim
from sandbox.actions.schedule import MAX_PENDING, ConcurrencyGroups

ONE, ALL = (
    GroupClaim("Group", cancels_running=False, queues_all=False),
    GroupClaim("group", cancels_running=False, queues_all=True),
)
CANCELS = GroupClaim("group", cancels_running=True, queues_all=False)


def test_group_is_held_in_joining_order() -> None:
    groups: ConcurrencyGroups[str] = ConcurrencyGroups()

    assert [groups.join(ALL, name) for name in ("a", "b", "c")] == [[], [], []]
    assert [groups.holds(ALL, name) for name in ("a", "b", "c")] == [True, False, False]
    groups.leave(ALL, "b")
    groups.leave(ALL, "a")
    assert groups.holds(ALL, "c")


def test_new_member_cancels_waiting_member_and_optionally_holder() -> None:
    groups: ConcurrencyGroups[str] = ConcurrencyGroups()

    assert groups.join(ONE, "a") + groups.join(ONE, "b") == []
    assert groups.join(ONE, "c") == ["b"]
    groups.leave(ONE, "b")
    assert groups.join(CANCELS, "d") == ["c", "a"]


def test_groups_are_independent_and_ignore_case() -> None:
    groups: ConcurrencyGroups[str] = ConcurrencyGroups()

    groups.join(ONE, "a")
    groups.join(GroupClaim("other", cancels_running=False, queues_all=False), "x")

    assert not groups.holds(ALL, "b")
    assert groups.holds(ONE, "a")
    assert groups.holds(GroupClaim("other", cancels_running=False, queues_all=False), "x")
    assert groups.holds(None, "anybody")


def test_full_queue_rejects_new_members() -> None:
    groups: ConcurrencyGroups[int] = ConcurrencyGroups()

    cancelled = [groups.join(ALL, number) for number in range(MAX_PENDING + 3)]

    assert cancelled[: MAX_PENDING + 1] == [[]] * (MAX_PENDING + 1)
    assert cancelled[MAX_PENDING + 1 :] == [[MAX_PENDING + 1], [MAX_PENDING + 2]]
