"""`ops targets` says what a plan says: for each documented history, and for each configuration. Its calls are limited."""

from contextlib import ExitStack
from datetime import timedelta
from functools import partial
from itertools import product
from pathlib import Path

import pytest

from ops.app.configuration import read_config
from sandbox import Sandbox
from tests.conftest import ACCOUNT, World
from tests.merge.runbooks import test_rollback_pages_target as of_pages
from tests.runbooks import test_rollback_worker_target as of_workers
from tests.support.configurations import CONFIGURATIONS, SHOPDESK
from tests.support.named_histories import HistoryCase, named_histories
from tests.support.rollback_targets import RunOps, assert_same_as_plan, targets_of
from tests.support.shop import answering


def ops_of(world: World) -> RunOps:
    return lambda *arguments, **environ: world.ops(*arguments, "--config", str(world.config), **environ)


@pytest.mark.parametrize("case", named_histories("rollback-worker"), ids=lambda case: case.happened.replace(" ", "-"))
def test_history_of_a_worker_gets_the_target_of_its_plan(world: World, case: HistoryCase) -> None:
    of_workers.create_history(world, case.history)
    run = ops_of(world)

    assert_same_as_plan(run, targets_of(run, "--environment", "production")["api in production"])


@pytest.mark.parametrize("case", named_histories("rollback-pages"), ids=lambda case: case.happened.replace(" ", "-"))
def test_history_of_a_site_gets_the_target_of_its_plan(world: World, case: HistoryCase) -> None:
    of_pages.create_history(world, case.history)
    run = ops_of(world)

    assert_same_as_plan(run, targets_of(run, "--environment", "production")["frontend in production"])


def fill_accounts(world: World, path: Path, ending: ExitStack) -> dict[str, str]:
    """Deploy two releases of each service of the configuration, and return the variables with its tokens."""
    world.config.write_text(path.read_text())
    config, _ = read_config(world.config)
    now, tokens = world.sandbox.clock.now(), dict[str, str]()
    for environment in config.environments.values():
        account = ending.enter_context(Sandbox(account_id=environment.account_id, virtual_clock=True))
        world.sandbox.add_account(account)
        tokens[environment.token] = world.sandbox.token
        for service in environment.services.values():
            for hours, code in ((30, "good"), (1, "bad")):
                at = now - timedelta(hours=hours)
                if service.worker:
                    version = account.upload(service.worker, code=code, behaviour=answering(), at=at)
                    account.deploy(service.worker, version, at=at)
                    continue
                if service.pages not in account.pages.projects:
                    account.pages.add_project(service.pages, domains=[service.url.removeprefix("https://")])
                account.pages.add_deployment(
                    service.pages, files={"index.html": code.encode()}, commit=code[0] * 40, at=at
                )
    return tokens


@pytest.mark.parametrize("path", [*CONFIGURATIONS, SHOPDESK], ids=lambda path: path.parent.name)
def test_each_service_of_a_configuration_gets_the_target_of_its_plan(world: World, path: Path) -> None:
    with ExitStack() as ending:
        tokens = fill_accounts(world, path, ending)
        run = partial(ops_of(world), **tokens)

        rows = targets_of(run)

        assert rows
        assert {row["state"] for row in rows.values()} <= {"ready", "blocked"}
        for row in rows.values():
            assert_same_as_plan(run, row)


SERVICE = """\
      worker-{0}:
        worker: worker-{0}
        url: https://worker-{0}.example
"""


def test_many_services_leave_calls_for_a_recovery(world: World) -> None:
    """Beyond 1,200 calls of a user in five minutes Cloudflare refuses each one, also those of a rollback.

    Two tokens may belong to one user.
    """
    sandbox = world.sandbox
    text = "environments:\n"
    for name, token, numbers in (("live", "SHOP_TOKEN", range(50)), ("canary", "CANARY_TOKEN", range(50, 100))):
        text += f"  {name}:\n    account_id: {ACCOUNT}\n    token: {token}\n    services:\n"
        text += "".join(map(SERVICE.format, numbers))
    world.config.write_text(text)
    for number, back in product(range(100), range(10)):
        at = sandbox.clock.now() - timedelta(days=1 + 2 * back)
        name = f"worker-{number}"
        sandbox.deploy(name, sandbox.upload(name, code=f"code {back}", behaviour=answering(), at=at), at=at)

    rows = targets_of(partial(ops_of(world), SHOP_TOKEN=sandbox.token, CANARY_TOKEN=sandbox.token))

    states = [(row["state"], row["reason"]) for row in rows.values()]
    assert states == [("ready", None)] * 60 + [("unknown", "rate_limited")] * 40
    assert sum(each.path.startswith("/client/") for each in sandbox.requests) <= 900
