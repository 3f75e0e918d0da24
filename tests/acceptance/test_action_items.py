"""Action items under act: labels alone lead from a bad release to one linked issue for each row of the report."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.acceptance.test_forty_services import ACCOUNT, FORM, LABEL, SERVICE
from tests.status.test_incident_menu import forty_services
from tests.support.actions import conclusions, stage

PLACEHOLDER = "| _TODO_ | detect | | | |"
ROWS = (
    "| Alert on an empty basket | detect | alice | 2026-12-24 | |",
    "| Refuse an empty basket | prevent | | | |",
    "| Page two people | process | | | |",
)


def test_labels_lead_from_a_bad_release_to_three_linked_issues(pip_cache: Path, tmp_path: Path) -> None:
    config = tmp_path / "ops.yml"
    url = f"        url: https://{SERVICE}.shop.example\n"
    quick = f"{url}        verify: {{interval: 10ms, deadline: 20s}}\n"
    section = "action_items: {required_from: sev2}\n"
    config.write_text(forty_services(ACCOUNT).replace(url, quick) + LABEL + section)
    names: Mapping[str, Any] = {"account": ACCOUNT, "worker": f"{SERVICE}-production", "token": "SHOP_TOKEN"}
    with stage(pip_cache, {"status": 200}, config=config, **names) as world:
        hub = world.github
        world.sandbox.route(f"{SERVICE}.shop.example", f"{SERVICE}-production")
        number = hub.open_issue("It answers 500", FORM, ["incident", "sev1"], "alice")

        with world.runner() as runner:
            runner.wait()
            hub.label(number, "recover:checkout", "alice")
            runner.wait()
            hub.close(number, "alice")
            runner.wait()
            hub.label(number, "report", "alice")
            runner.wait()
            (report,) = (each for each in hub.issues if each.find_label("post-incident"))
            assert PLACEHOLDER in (report.body or "")
            hub.edit_issue(report.number, (report.body or "").replace(PLACEHOLDER, "\n".join(ROWS)), "alice")
            known = {each.number for each in hub.issues}
            for _ in range(2):
                hub.label(report.number, "actions:create", "alice")
                runner.wait()
            log = "\n".join(line for run in hub.runs for line in runner.log(run.id))

        issues = [each for each in hub.issues if each.number not in known]
        assert world.live == {world.good: 100}, log
        assert len(issues) == len(ROWS), log
        assert all(f"#{each.number} |" in (report.body or "") for each in issues)
        assert all(f"#{report.number}" in (each.body or "") for each in issues)
        assert world.labels(report.number) == {"post-incident"}
        assert [conclusions(run)["action-items"] for run in hub.runs[-2:]] == ["success"] * 2
