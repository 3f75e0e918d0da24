"""From a label to the served page: within five seconds of our own, and few calls of GitHub."""

import json
import time

from tests.conftest import World
from tests.status_page.desk import open_desk
from tests.status_page.test_served import read_files


def test_label_to_served_page_takes_five_seconds_and_twenty_calls(world: World) -> None:
    desk, hub = open_desk(world), world.sandbox.github
    hub.enable_pages("status.bakery.example")
    target, config = str(world.folder / "public"), ("--config", str(world.config))
    before, began = len(hub.requests), time.process_time()

    assert desk.put_label("status:investigating").code == 0
    assert world.ops("status-page", "build", target, *config, **hub.environ()).code == 0
    hub.pages.files = read_files(world.folder / "public")
    assert world.ops("status-page", "compare", target, *config).code == 0

    assert time.process_time() - began < 5
    assert len(hub.requests) - before <= 20
    (incident,) = json.loads(hub.pages.files["status.json"])["incidents"]
    assert incident["status"] == "investigating"
