"""`ops verify-platform` as a process of its own: at a terminal, and killed."""

import signal
from collections.abc import Iterator

import pytest

from ops.cli.verify_platform import TOKEN
from ops.platform.verification import STEPS
from tests.conftest import World
from tests.support.commands import Command
from tests.support.verification import ACCOUNT, SECRET, MeasuredAccount, measured_account


@pytest.fixture
def measured() -> Iterator[MeasuredAccount]:
    with measured_account() as account:
        yield account


def command(measured: MeasuredAccount, *more: str) -> Command:
    return Command(
        World(measured.sandbox, measured.folder),
        runbook="verify-platform",
        service="",
        environment="",
        environ={TOKEN: SECRET},
        more=("--account", ACCOUNT, *more),
    )


@pytest.mark.parametrize(("typed", "code", "is_measured"), [("Measured", 0, True), ("measured", 3, False)])
def test_a_person_types_the_name_of_the_account(
    measured: MeasuredAccount, typed: str, code: int, is_measured: bool
) -> None:
    with command(measured).on_terminal() as terminal:
        terminal.until('Type "Measured" to go on')
        terminal.type(f"{typed}\n")

        assert terminal.end() == code, terminal.shown
    assert measured.output.exists() == is_measured
    assert bool(measured.writes()) == is_measured
    assert measured.left() == []


def test_ctrl_c_at_a_terminal_deletes_what_the_run_made(measured: MeasuredAccount) -> None:
    with command(measured).on_terminal() as terminal:
        terminal.until('Type "Measured" to go on')
        terminal.type("Measured\n")
        terminal.until(STEPS["lists"])
        terminal.interrupt()

        assert terminal.end() == 130, terminal.shown
    assert measured.writes() != []
    assert measured.left() == []
    assert not measured.output.exists()


@pytest.mark.parametrize("kind", ["/storage/kv/namespaces", "/d1/database", "/pages/projects"])
def test_killed_process_leaves_what_cleanup_deletes(measured: MeasuredAccount, kind: str) -> None:
    run = command(measured)
    measured.sandbox.fault(
        method="POST", path=f"/accounts/*{kind}", after=run.send(signal.SIGKILL), lost="after", is_prompt=True
    )
    killed = run.run()
    assert killed.code == -signal.SIGKILL
    assert measured.left() != []

    cleaned = command(measured, "--cleanup").run()

    assert cleaned.code == 0, cleaned.err
    assert measured.left() == []
