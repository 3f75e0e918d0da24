"""`ops drill bad-deploy-guarded`: a guard in a job of the application's repository."""

import pytest

from tests.support.configurations import ONE_WORKER
from tests.support.drills import Run, drill, run_id, taken

GUARDED: list[Run] = [
    ("bad-deploy-guarded", "embedded", None),
    *taken(("bad-deploy-guarded", "embedded", "label"), ("bad-deploy-guarded", "embedded", "button")),
]


@pytest.mark.parametrize("run", GUARDED, ids=run_id)
def test_guard_of_an_application_elsewhere_leads_to_the_recovery(run: Run) -> None:
    name, _, trigger = run
    given = ["--trigger", trigger] if trigger else []
    # Without a trigger the guard rolls back, in another application than FortuneT.
    shop = [] if trigger else ["--config", str(ONE_WORKER), "--environment", "live"]

    result = drill(*given, *shop, name=name)

    assert (result["decision"], result["reason"]) == ("recovered", "verified"), result
    assert "the sandbox serves the good release, healthy" in result["message"]
    assert (result["journal"], result["report"] is not None) == (True, True)
