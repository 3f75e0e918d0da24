"""A job that deploys a site to GitHub Pages with both actions."""

from email.message import Message

import pytest
import yaml

from sandbox import Sandbox
from sandbox.actions import Runner
from sandbox.server import HttpRequest
from tests.support.actions import conclusions

BUILD = "mkdir -p out/.hidden && echo built > out/index.html && echo no > out/.hidden/a && ln -s index.html out/b.html"


@pytest.mark.slow
@pytest.mark.parametrize("may_sign", [True, False])
def test_site_is_deployed_by_a_job_with_both_rights(sandbox: Sandbox, *, may_sign: bool) -> None:
    hub = sandbox.github
    hub.add_user("alice")
    hub.enable_pages("status.bakery.example")
    steps = [
        {"run": BUILD},
        {"uses": "actions/upload-pages-artifact@v5", "with": {"path": "out"}},
        {"id": "site", "uses": "actions/deploy-pages@v5"},
        {"run": "echo at $ADDRESS", "env": {"ADDRESS": "${{ steps.site.outputs.page_url }}"}},
    ]
    job = {
        "runs-on": "ubuntu-latest",
        "environment": {"name": "github-pages", "url": "${{ steps.site.outputs.page_url }}"},
        "permissions": {"pages": "write", **({"id-token": "write"} if may_sign else {})},
        "steps": steps,
    }
    text = yaml.safe_dump({"on": "workflow_dispatch", "jobs": {"deploy": job}}, sort_keys=False)
    hub.add_commit("a", "alice", files={".github/workflows/a.yml": text})

    with Runner(hub, {}) as runner:
        run = hub.dispatch("a.yml", by="alice")
        runner.wait()
        log = runner.log(run.id)

    assert conclusions(run) == {"deploy": "success" if may_sign else "failure"}
    if not may_sign:
        assert hub.pages.deployments == {}
        return
    assert {"Reported success!", "at https://status.bakery.example/"} <= {*log}
    assert sorted(hub.pages.files) == ["b.html", "index.html"]
    headers = Message()
    headers["host"] = "status.bakery.example"
    answer = sandbox.edge.answer(HttpRequest(method="GET", target="/b.html", headers=headers, body=b""))
    assert (answer.status, answer.body) == (200, b"built\n")
