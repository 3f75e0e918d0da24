"""`ops stats` over a thousand incidents: few calls, and each one counted."""

from datetime import timedelta
from statistics import median

from ops.core.clock import format_rfc3339
from ops.report.facts import IncidentFacts, embed_incident_facts
from ops.report.issue import FACTS, build_report_region
from tests.support.shop import Shop

COUNT = 1000
MOST_CALLS = 25
TEXT = "A line of the report that a person wrote.\n" * 200


def test_thousand_incidents_take_few_calls(shop: Shop) -> None:
    hub, now = shop.world.sandbox.github, shop.world.sandbox.clock.now().replace(microsecond=0)
    hub.add_user("mai")
    lengths = [60 * (1 + number * 37 % 500) for number in range(COUNT)]
    for number, seconds in enumerate(lengths):
        opened = now - timedelta(hours=2 * COUNT - 2 * number, days=1)
        ended = opened + timedelta(seconds=seconds)
        incident = hub.open_issue(f"It fails {number}", "", ["incident"], "mai", at=opened)
        hub.close(incident, "mai", at=ended)
        facts = IncidentFacts(ended, ended, opened, opened, opened, opened, opened, ended, ended)
        body = f"{TEXT}{build_report_region(FACTS, incident, embed_incident_facts(facts))}\n"
        hub.open_issue(f"Report {number}", body, ["post-incident"], at=ended)
    hub.requests.clear()

    done = shop.ops("stats", "--since", "400d", "--json", **hub.environ())

    assert done.code == 0, done.err
    restore = done.result["incidents"]["times"]["restore"]
    assert (done.result["incidents"]["count"], len(restore["points"])) == (COUNT, COUNT)
    assert restore["median"] == median(lengths)
    assert len(hub.requests) <= MOST_CALLS
    assert done.result["until"] == format_rfc3339(now)
