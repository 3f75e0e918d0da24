"""Labels in GitHub's API."""

from typing import Any

import pytest

from tests.sandbox.github.conftest import Api


def names(labels: Any) -> list[str]:
    return [label["name"] for label in labels]


def test_labels_are_created_read_renamed_and_deleted(api: Api, incident: int) -> None:
    made = api("POST", "labels", json={"name": "recover:rollback-worker", "color": "B60205", "description": "Acts"})
    assert (made.status_code, made.json()["color"]) == (201, "B60205")
    assert api.get("labels/RECOVER%3Arollback-worker") == made.json()
    assert names(api.get("labels")) == ["incident", "recover:rollback-worker"]
    renamed = api.ok("PATCH", "labels/incident", json={"new_name": "Incident", "color": "ffffff"})
    assert names(api.get(f"issues/{incident}/labels")) == [renamed["name"]] == ["Incident"]
    assert api("DELETE", "labels/incident").status_code == 204
    assert api.get(f"issues/{incident}")["labels"] == []


def test_label_can_contain_any_character(api: Api, incident: int) -> None:
    api.ok("POST", f"issues/{incident}/labels", json=["a/b c?#"])
    assert names(api.ok("DELETE", f"issues/{incident}/labels/a%2Fb%20c%3F%23")) == ["incident"]


@pytest.mark.parametrize(
    ("body", "refusal"),
    [
        ({"name": "INCIDENT"}, "name already_exists"),
        ({"name": "x" * 51}, "name is too long (maximum is 50 characters)"),
        ({"name": "x", "color": "red"}, "color invalid"),
        ({"name": "x", "description": "x" * 101}, "description is too long (maximum is 100 characters)"),
        ({"color": "ffffff"}, '"name" wasn\'t supplied.'),
    ],
)
def test_invalid_label_is_refused(api: Api, incident: int, body: Any, refusal: str) -> None:
    assert api.refusal("POST", "labels", json=body) == (422, refusal)


def test_issue_labels_are_added_replaced_and_removed(api: Api, incident: int) -> None:
    labels = f"issues/{incident}/labels"
    assert names(api.ok("POST", labels, json=["sev1", "Incident"])) == ["incident", "sev1"]
    assert names(api.ok("POST", labels, json={"labels": ["api", {"name": "web"}]})) == [
        "incident",
        "sev1",
        "api",
        "web",
    ]
    assert names(api.ok("PUT", labels, json={"labels": ["sev1", "new"]})) == ["sev1", "new"]
    assert names(api.ok("DELETE", f"{labels}/SEV1")) == ["new"]
    assert api.refusal("DELETE", f"{labels}/sev1") == (404, "Label does not exist")
    assert api("DELETE", labels).status_code == 204
    assert api.get(labels) == []


def test_suggested_label_is_not_added(api: Api, incident: int) -> None:
    suggested = {"name": "recover:rollback-worker", "suggest": True, "rationale": "it looks broken"}
    assert names(api.ok("POST", f"issues/{incident}/labels", json={"labels": [suggested]})) == ["incident"]
    assert api.github.deliveries[-1].payload["label"]["name"] == "incident"


def test_labels_require_triage_role(api: Api, incident: int, tina: str, rita: str) -> None:
    assert api.ok("POST", f"issues/{incident}/labels", token=tina, json=["sev1"])
    assert api.refusal("POST", f"issues/{incident}/labels", token=rita, json=["sev2"])[0] == 403
    assert api.refusal("POST", "labels", token=tina, json={"name": "new"})[0] == 403
