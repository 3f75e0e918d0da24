"""Output on a terminal, in a pipe and in another encoding: colors, waits, the headline."""

import io
import re
import subprocess
import sys
import threading

import pytest

from ops.cli.output import AsciiStream
from ops.render import fit_line
from tests.conftest import ROOT
from tests.support.commands import Command
from tests.support.shop import Shop

ANSI = "\033["
ERASE = "\r\033[K"


def recover_on_terminal(shop: Shop, **environ: str) -> str:
    """Return everything that a terminal got from a rollback."""
    variables = shop.environ(CLOUDFLARE_API_TOKEN="", TERM="xterm-256color", **environ)
    with Command(shop.world, service="web", environment="live", environ=variables).on_terminal() as terminal:
        terminal.until("to go on in live")
        terminal.type("web\n")
        assert terminal.end() == 0, terminal.shown
    return terminal.shown


@pytest.mark.slow
def test_terminal_shows_waits_and_a_colored_headline(shop: Shop) -> None:
    shop.world.edit_config("successes: 1, interval: 500ms, deadline: 1s", "successes: 2, interval: 500ms, deadline: 9s")

    shown = recover_on_terminal(shop)

    for wait in ("reading the live state …", "probing …", "waiting for round 2 of 2 …"):
        assert f"{ERASE}{wait}{ERASE}" in shown, shown
    assert re.search(r"\033\[32m\033\[1m\r?\n✔ RECOVERED  Rolled back web to [0-9a-f]{8}: healthy after \d", shown)
    left = re.sub(r"\r\033\[K[^\r\n]*(?=\r\033\[K)", "", shown)
    assert "waiting for" not in left, "a line about a wait stayed"


@pytest.mark.slow
def test_narrow_terminal_names_a_missing_incident_at_the_question(shop: Shop) -> None:
    github = shop.world.sandbox.github
    variables = shop.environ(CLOUDFLARE_API_TOKEN="", TERM="dumb", COLUMNS="60", NO_COLOR="1", **github.environ())
    command = Command(shop.world, service="web", environment="live", environ=variables, more=("--incident", "999"))

    with command.on_terminal() as terminal:
        terminal.until("to go on in live")
        terminal.type("\n")
        code = terminal.end()

    asked = " ".join(terminal.shown.rpartition("Worker shop-web: ")[2].split())
    assert "GitHub shows no issue #999 of acme/operations to this token: press Ctrl-C to correct the number." in asked
    wide = [line for line in terminal.shown.splitlines() if len(line) > 60]
    assert wide
    assert all(re.match(r"\s+(ops|or the button:|https?:)", line) for line in wide), wide
    assert (code, shop.live) == (3, {shop.bad: 100})


def test_broken_line_keeps_its_command_whole() -> None:
    line = "  it is not on incident #42; to post it: ./run ops incident import .ops/runs/20261124T031220-4f0a --incident 42"

    assert fit_line(line, 40).split("\n") == [
        "  it is not on incident #42; to post it:",
        "    ./run ops incident import .ops/runs/20261124T031220-4f0a --incident 42",
    ]
    assert fit_line("  a word that is too long for its line", 20).split("\n") == [
        "  a word that is too",
        "    long for its",
        "    line",
    ]


@pytest.mark.slow
def test_command_that_reads_for_seconds_shows_progress(shop: Shop) -> None:
    is_shown = threading.Event()
    read = {"method": "GET", "path": "/accounts/*/workers/scripts/*/deployments"}
    shop.world.sandbox.fault(**read, before=lambda: is_shown.wait(60))
    variables = shop.environ(CLOUDFLARE_API_TOKEN="", TERM="xterm-256color")

    with Command(shop.world, "status", service="", environment="live", environ=variables).on_terminal() as terminal:
        terminal.until(f"{ERASE}reading … ")
        is_shown.set()
        code = terminal.end()

    assert code == 0, terminal.shown
    assert re.search(rf"{re.escape(ERASE)}reading … \d+ s{re.escape(ERASE)}", terminal.shown)
    assert f"{ERASE}live, read at " in terminal.shown


@pytest.mark.slow
def test_missing_incident_does_not_stop_a_recovery_without_a_question(shop: Shop) -> None:
    outcome = shop.ops("rollback-worker", "--incident", "999", "--yes", **shop.world.sandbox.github.environ())

    assert (outcome.code, shop.live) == (0, {shop.good: 100})
    assert "issue #999 does not exist there" in outcome.out
    assert "it is not on incident #999; to post it: " in outcome.out


@pytest.mark.slow
def test_no_color_turns_colors_off(shop: Shop) -> None:
    shown = recover_on_terminal(shop, NO_COLOR="1")

    assert "✔ RECOVERED  " in shown
    assert ANSI not in shown.replace(ERASE, "")


@pytest.mark.slow
def test_pipe_gets_neither_colors_nor_waits(shop: Shop) -> None:
    outcome = shop.ops("rollback-worker", "--yes")

    assert re.search(r"\n✔ RECOVERED  Rolled back web to [0-9a-f]{8}: healthy after \d", outcome.out)
    assert "\n  the probes failed before and are healthy now, seen from FRA\n" in outcome.out
    assert ANSI not in outcome.out
    assert "waiting for" not in outcome.out


@pytest.mark.parametrize(
    ("arguments", "color"),
    [(("--yes",), 32), (("--yes", "--to", "0" * 8), 33), (("--environment", "production"), 31)],
)
def test_forced_color_tells_how_a_run_ended(shop: Shop, arguments: tuple[str, ...], color: int) -> None:
    outcome = shop.ops("rollback-worker", *arguments, FORCE_COLOR="1")

    assert f"{ANSI}{color}m" in outcome.out + outcome.err
    assert ANSI not in shop.ops("rollback-worker", *arguments, FORCE_COLOR="1", NO_COLOR="1").out


@pytest.mark.slow
def test_json_has_no_colors(shop: Shop) -> None:
    outcome = shop.ops("rollback-worker", "--dry-run", "--json", FORCE_COLOR="1")

    assert outcome.result["decision"] == "planned"
    assert ANSI not in outcome.out + outcome.err


def test_stream_without_utf8_gets_ascii() -> None:
    written = io.BytesIO()
    stream = AsciiStream(written, encoding="utf-8", write_through=True)

    stream.write("✔ RECOVERED  a → b … “zoë” ≤ 5 %\n")

    assert written.getvalue() == b'OK RECOVERED  a -> b ... "zo?" <= 5 %\n'


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_signs_become_ascii_without_utf8(shop: Shop, encoding: str) -> None:
    environ = {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": encoding, **shop.world.sandbox.environ()}

    done = subprocess.run(
        [sys.executable, "-m", "ops", "rollback-worker", "--yes"],
        env=environ | shop.environ(CLOUDFLARE_API_TOKEN="", USER="zoë"),
        cwd=shop.folder,
        capture_output=True,
        check=False,
    )

    out = done.stdout.decode("ascii")
    assert done.returncode == 0, done.stderr
    assert "\nOK RECOVERED  Rolled back web to " in out
    assert re.search(r"Worker shop-web: [0-9a-f]{8} -> [0-9a-f]{8}", out)
    assert "zo?" in out
