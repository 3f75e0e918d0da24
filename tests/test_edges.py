"""`./run benchmarks.edges` fails if a share leaves the interval of the recorded one."""

import pytest

from benchmarks.edges import find_changes

RECORDED = {"runs": 100, "asked": 0.0, "place": 57.0, "elsewhere": 100.0, "seconds": 3.0}


@pytest.mark.parametrize(
    ("counted", "changed"),
    [
        ({}, []),
        ({"asked": 3.0}, []),
        ({"asked": 17.0}, ["asked"]),
        ({"place": 90.0, "elsewhere": 50.0}, ["place", "elsewhere"]),
    ],
)
def test_share_outside_of_its_interval_is_an_error(counted: dict[str, float], changed: list[str]) -> None:
    found = [*find_changes("one edge", {**RECORDED, **counted}, RECORDED)]

    assert [line.split(": ")[2].split()[0] for line in found] == changed
