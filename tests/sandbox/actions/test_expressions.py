"""Expressions before a job runs: known values are computed, unknown ones stay unknown."""

from typing import Any

import pytest

from sandbox.actions.expressions import HIDDEN, UNKNOWN, UnsupportedExpression, evaluate, render_text

LABELS = [{"name": "incident"}, {"name": "sev1"}, "odd"]
CONTEXTS: dict[str, Any] = {
    "github": {
        "event": {"label": {"name": "Recover:api"}, "issue": {"number": 7, "state": "open"}, "labels": LABELS},
        "ref": "main",
    },
    "inputs": {"environment": "staging", "dry_run": False},
    "needs": {"gate": UNKNOWN, "skipped": {"result": "skipped", "outputs": {}}},
}


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("startsWith(github.event.label.name, 'recover:')", True),
        ("github.event.issue.state == 'open' && github.event.label.name == 'x'", False),
        ("${{ github.event.issue.number }}", 7),
        ("github.event.comment.body", None),
        ("github.event['issue'].state", "open"),
        ("fromJSON('{\"service\": \"web\"}').service == 'web'", True),
        ("fromJSON(needs.gate.outputs.go).service", UNKNOWN),
        ("!inputs.dry_run", True),
        ("inputs.dry_run && '--dry-run' || ''", ""),
        ("needs.gate.outputs.go == 'true'", UNKNOWN),
        ("needs.gate.outputs.go == 'true' && inputs.dry_run", False),
        ("inputs.dry_run && needs.gate.outputs.go", False),
        ("always() && needs.gate.result == 'success'", UNKNOWN),
        ("needs.skipped.outputs.go == 'true'", False),
        ("needs.skipped.result != 'skipped' || 'it''s'", "it's"),
        ("(github.ref == 'main' || false) && contains(github.ref, 'AI')", True),
        ("1 == '1'", True),
        ("null == 'x'", False),
        ("success()", UNKNOWN),
        ("contains(github.event.labels.*.name, 'Incident')", True),
        ("contains(github.event.labels.*.name, 'inc')", False),
        ("contains(github.event.nothing.*.name, 'incident')", False),
        ("contains(needs.gate.*.name, 'incident')", UNKNOWN),
    ],
)
def test_expression_has_github_value_or_is_unknown(expression: str, value: Any) -> None:
    found = evaluate(expression, CONTEXTS)

    assert found is value or found == value


@pytest.mark.parametrize(
    "expression",
    ["secrets.X", "hashFiles('x')", "a b", "github.ref == ", "github.ref ~ 'x'", "(true"],
)
def test_unsupported_expression_raises(expression: str) -> None:
    with pytest.raises(UnsupportedExpression):
        evaluate(expression, CONTEXTS)


def test_template_marks_unknown_values() -> None:
    template = "recover-${{ needs.gate.outputs.environment }}-${{ inputs.environment }}-${{ inputs.dry_run }}"

    assert render_text(template, CONTEXTS) == f"recover-{HIDDEN}-staging-false"
