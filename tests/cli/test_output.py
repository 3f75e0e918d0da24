"""No way of printing shows a secret of a command that runs in this process."""

import json
import os
from collections.abc import Callable

import pytest

from ops import cli
from ops.cli import output
from ops.core.errors import Reason, Refused
from ops.core.redaction import Redactor

SECRET, OTHER = "correct-horse-battery\nab=", "staple-of-another-command"
"""The last line of the first one is too short to be masked alone."""
WAYS: dict[str, Callable[[str], object]] = {
    "text": output.echo,
    "text on stderr": lambda text: output.echo(text, err=True),
    "headline": lambda text: output.show_headline("recovered", text, exit_code=0),
    "JSON": lambda text: output.echo_json({"message": text, text: [text]}),
    "annotation": lambda text: output.annotate("error", text, text),
}


def knowing(*secrets: str) -> Redactor:
    redactor = Redactor()
    for secret in secrets:
        redactor.add_secret(secret)
    return redactor


@pytest.mark.parametrize("way", WAYS)
def test_secret_of_a_running_command_is_masked(
    way: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environ, "GITHUB_ACTIONS", "true")
    with output.hide_secrets_of(knowing(SECRET)), output.hide_secrets_of(knowing(OTHER)):
        WAYS[way](f"at first {SECRET} and then {OTHER}.")

    shown = "".join(capfd.readouterr())
    assert "at first *** and then ***." in shown
    assert SECRET not in shown
    assert OTHER not in shown


def test_error_with_a_secret_of_several_lines_is_masked_as_a_whole(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(os.environ, "GITHUB_ACTIONS", raising=False)
    with output.hide_secrets_of(knowing("-----BEGIN KEY-----\nMIIEow\nab=")):
        cli.show_error(Refused("no: -----BEGIN KEY-----\nMIIEow\nab= is no key", reason=Reason.VALUES_UNUSABLE))

    first, docs = capfd.readouterr().err.splitlines()
    assert (first, docs) == ("error: no: *** is no key", " docs: docs/reference/reasons.md#values_unusable")


def test_end_of_a_command_ends_its_masks_only(capfd: pytest.CaptureFixture[str]) -> None:
    with output.hide_secrets_of(knowing(SECRET)):
        with output.hide_secrets_of(knowing(OTHER)):
            pass
        output.echo(f"{SECRET} {OTHER}")

    assert capfd.readouterr().out == f"*** {OTHER}\n"


def test_ids_stay_in_results_that_were_masked_before(capfd: pytest.CaptureFixture[str]) -> None:
    with output.hide_secrets_of(knowing("production")):
        output.echo_json({"environment": "production"}, is_masked=True)

    assert json.loads(capfd.readouterr().out) == {"environment": "production"}
