"""`ops doctor` and `platform.json`: what it shows of a measurement, and which files it does not believe."""

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ops.core.version import __version__
from tests.support.bakery import ACCOUNT, Bakery, bakery
from tests.support.platform_files import platform_result, platform_text

Result = dict[str, Any]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Bakery]:
    with bakery(tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bakery]:
    """A world for the tests that change nothing but platform.json."""
    with bakery(tmp_path_factory.mktemp("shared")) as made:
        yield made


def measure(world: Bakery, days: float = 1, answers: dict[str, str | float | None] | None = None) -> Result:
    """Write a measurement, and return its result."""
    result = platform_result(world.sandbox.clock.now() - timedelta(days=days), answers)
    (world.folder / "platform.json").write_text(json.dumps(result, indent=2))
    return result


def examine(world: Bakery) -> list[Result]:
    return world.results("--only", "platform")


def test_measurement_is_shown_with_its_age_version_and_counts(world: Bakery) -> None:
    measured = measure(world, days=89, answers={"pages-canonical": "follows"})

    (found,) = examine(world)
    outcome = world.doctor("--only", "platform")

    counts = [sum(row["outcome"] == name for row in measured["assumptions"]) for name in ("confirmed", "not_provable")]
    assert found["answer"] == "right"
    for fact in (
        "89 d",
        f"Backout {__version__}",
        f"{counts[0]} confirmed",
        "1 different",
        f"{counts[1]} not provable",
    ):
        assert fact in found["text"]
    assert (outcome.code, found["text"] in outcome.out) == (0, True)


def test_team_without_a_measurement_gets_advice_and_no_failure(world: Bakery) -> None:
    (world.folder / "platform.json").unlink()

    (found,) = examine(world)

    assert (found["answer"], world.doctor("--only", "platform").code) == ("not_provable", 0)
    assert "verify-platform" in found["command"]


def test_difference_names_the_runbooks_of_this_team_that_rely_on_it(world: Bakery) -> None:
    """The bakery has a Worker, a site and maintenance by switch; it has no AI provider."""
    measure(world, answers={"worker-propagation": None, "kv-edge-lag": 118.0})

    found = {each["text"].partition(":")[0]: each for each in examine(world)}

    assert {each["answer"] for each in found.values()} == {"wrong"}
    propagation, lag = found.values()
    assert "rollback-worker" in propagation["text"]
    assert "more than 120 s" in propagation["text"]
    assert "maintenance" in lag["text"]
    assert "ai-failover" not in lag["text"]
    for each in found.values():
        assert each["command"].endswith("drill all --config ops.yml --platform platform.json")
    assert world.doctor("--only", "platform").code == 2


def test_difference_that_concerns_no_service_of_the_team_is_not_wrong(world: Bakery) -> None:
    """It has a Worker only."""
    text = world.config.read_text()
    begin, end = text.index("      blog:\n"), text.index("    secrets:\n")
    labels = text.index("  recover:blog")
    world.write("ops.yml", text[:begin] + text[end:labels] + _without_first_entry(text[labels:]))
    measure(world, answers={"pages-propagation": None})

    (found,) = examine(world)

    assert found["answer"] == "right"
    assert "1 different" in found["text"]


def _without_first_entry(text: str) -> str:
    """Return YAML lines without the first entry of their mapping."""
    first, *rest = text.splitlines(keepends=True)
    depth = len(first) - len(first.lstrip())
    nested = next(number for number, line in enumerate(rest) if len(line) - len(line.lstrip()) <= depth)
    return "".join(rest[nested:])


@pytest.mark.parametrize("is_upgraded", [False, True])
def test_old_measurement_and_upgrade_ask_for_a_new_one(world: Bakery, is_upgraded: bool) -> None:
    measured = measure(world, days=1 if is_upgraded else 91)
    if is_upgraded:
        measured["assumptions"] = [row for row in measured["assumptions"] if row["id"] != "d1-undo"]
        (world.folder / "platform.json").write_text(json.dumps(measured))

    (found,) = examine(world)

    assert found["answer"] == "not_provable"
    assert "verify-platform" in found["command"]
    assert ("d1-undo" if is_upgraded else "90 days") in found["text"]


def test_measurement_that_proved_too_little_is_not_right(world: Bakery) -> None:
    """The token had no permission for Pages: its rows say nothing about the recovery of a site."""
    measured = measure(world)
    row = next(row for row in measured["assumptions"] if row["id"] == "pages-propagation")
    row |= {"outcome": "not_provable", "measured": None, "seconds": None, "reason": "no permission"}
    (world.folder / "platform.json").write_text(json.dumps(measured))

    (found,) = examine(world)

    assert (found["answer"], "pages-propagation" in found["text"]) == ("not_provable", True)


def test_upgrade_with_another_expectation_judges_the_recorded_answer_again(world: Bakery) -> None:
    """A file of an older version, which expected another answer and found it."""
    measured = measure(world, answers={"secrets-changed": "accepted"})
    row = next(row for row in measured["assumptions"] if row["id"] == "secrets-changed")
    row |= {"outcome": "confirmed", "expected": "accepted"}
    measured |= {"program": "0.0.9", "field of a later version": 1}
    (world.folder / "platform.json").write_text(json.dumps(measured))

    (found,) = examine(world)

    assert (found["answer"], "rollback-worker" in found["text"]) == ("wrong", True)


def change_row(**fields: Any) -> Callable[[Result], object]:
    return lambda result: result["assumptions"][3].update(fields)


def change_time(measured: str, seconds: float | None = None) -> Callable[[Result], object]:
    """Return a change of the first row, which has a time."""
    fields = {"outcome": "confirmed" if seconds else "differs", "measured": measured, "seconds": seconds}
    return lambda result: result["assumptions"][0].update(fields)


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda result: result.update(at="2099-01-01T00:00:00Z"), "platform.json:4 at: in the future"),
        (lambda result: result.update(at="yesterday"), "platform.json:4 at"),
        (lambda result: result.update(schema=2), "platform.json:2 schema"),
        (lambda result: result.update(program="the newest"), "platform.json:3 program"),
        (lambda result: result.update(seconds=-1), "platform.json:5 seconds"),
        (lambda result: result.pop("schema"), "platform.json:1"),
        (lambda result: result["assumptions"].clear(), "assumptions"),
        (lambda result: result["assumptions"].append(result["assumptions"][3]), ".id"),
        (change_row(outcome="differs"), "assumptions[3].outcome"),
        (change_row(outcome="right"), "assumptions[3].outcome"),
        (change_row(outcome="not_provable"), "assumptions[3].outcome"),
        (change_row(measured=None), "assumptions[3].outcome"),
        (change_row(measured="x" * 301), "assumptions[3].measured"),
        (change_row(seconds=2000.0), "assumptions[3].outcome"),
        (change_row(seconds=float("inf")), "assumptions[3].seconds"),
        (change_row(seconds="0"), "assumptions[3].seconds"),
        (change_row(id="../etc"), "assumptions[3].id"),
        (change_time("3.0 s", 40.0), "assumptions[0].outcome"),
        (change_time("fast", 3.0), "assumptions[0].outcome"),
        (change_time("3.0 s"), "assumptions[0].outcome"),
        (change_time("more than 2000 s"), "assumptions[0].outcome"),
        (change_time(f"more than {'9' * 280} s"), "assumptions[0].outcome"),
    ],
)
def test_changed_or_foreign_file_is_refused_with_its_place(
    shared: Bakery, change: Callable[[Result], object], place: str
) -> None:
    measured = measure(shared)
    change(measured)
    (shared.folder / "platform.json").write_text(json.dumps(measured, indent=2))

    (found,) = examine(shared)

    assert found["answer"] == "wrong"
    assert place in found["text"]


@pytest.mark.parametrize("outcome", ["confirmed", "differs"])
@pytest.mark.parametrize(("beyond", "is_rounded"), [(0.009, True), (0.015, False)])
def test_time_that_rounds_to_the_limit_is_on_either_side(
    shared: Bakery, outcome: str, beyond: float, is_rounded: bool
) -> None:
    """A run compares the exact time with the limit, and writes hundredths of a second."""
    measured = measure(shared)
    row = measured["assumptions"][0]
    late = row["at_most"] + beyond
    row |= {"outcome": outcome, "measured": f"{late:.1f} s", "seconds": late}
    (shared.folder / "platform.json").write_text(json.dumps(measured))

    (found,) = examine(shared)

    assert ("assumptions[0].outcome" in found["text"]) == (outcome == "confirmed" and not is_rounded)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b"[" * 5000, b"\xff\xfe", b"{}" * 600_000, b"schema: 1"]
)
def test_damaged_file_is_refused(shared: Bakery, content: bytes) -> None:
    (shared.folder / "platform.json").write_bytes(content)

    (found,) = examine(shared)

    assert (found["answer"], "platform.json" in found["text"]) == ("wrong", True)


def test_folder_in_place_of_the_file_is_refused(world: Bakery) -> None:
    (world.folder / "platform.json").unlink()
    (world.folder / "platform.json").mkdir()

    assert [each["answer"] for each in examine(world)] == ["wrong"]


def test_two_accounts_leave_open_which_one_was_measured(world: Bakery) -> None:
    """The file names no account."""
    text = world.config.read_text()
    begin, end = text.index("  live:\n"), text.index("        compare:")
    other = text[begin:end].replace("live:", "abroad:", 1).replace(ACCOUNT, "5d" * 16).replace("BAKERY_TOKEN", "ABROAD")
    other = other.replace("bakery.example", "bakery.test").replace("1Password: bakery", "1Password: abroad")
    world.write("ops.yml", text[:begin] + other + text[begin:])
    measure(world)

    (found,) = examine(world)
    (alone,) = world.results("--only", "platform", "--environment", "live")

    assert (found["answer"], alone["answer"]) == ("right", "right")
    assert ("and ops.yml has 2" in found["text"], "ops.yml" in alone["text"]) == (True, False)


def test_text_of_the_file_cannot_change_the_terminal_or_the_page(world: Bakery) -> None:
    measure(world, answers={"secrets-changed": "\N{RIGHT-TO-LEFT OVERRIDE}\x1b[31m <b>@all</b>"})

    outcome = world.doctor("--only", "platform")

    assert "\x1b[31m" not in outcome.out
    assert "\N{RIGHT-TO-LEFT OVERRIDE}" not in outcome.out


def test_file_is_read_without_a_request(world: Bakery) -> None:
    (world.folder / "platform.json").write_text(platform_text(world.sandbox.clock.now()))

    examine(world)

    assert world.sandbox.requests == []
    assert list(world.sandbox.github.requests) == []
