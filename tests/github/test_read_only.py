"""A read-only connection to GitHub refuses every write before it is sent."""

import pytest

from ops.core.errors import Refused
from ops.core.redaction import Redactor
from ops.github.client import connect
from sandbox import Sandbox


def test_read_only_connection_sends_no_write(sandbox: Sandbox) -> None:
    repository = connect(sandbox.github.environ(), Redactor(), read_only=True)

    with pytest.raises(Refused, match=r"^POST /repos/acme/operations/issues "):
        repository.create_issue("Anything")

    assert [label.name for label in repository.get_labels()] == []
    assert {request.method for request in sandbox.github.requests} == {"GET"}
