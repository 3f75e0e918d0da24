"""Scenario of a complete outage that users hear about, from the first update to the end.

A copy of `ops.yml` gets a status page, a chat, and the banner of the application. Updates come by label and button, a
correction by button. Page, feed, chat and banner are read as their readers see them.
"""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from email.message import Message
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ops.config.strict_yaml import insert_below, set_key
from ops.core.errors import Decision
from ops.core.names import DRILL_LABEL, PUBLISH_UPDATE
from ops.core.public_update import PublicState
from ops.core.runtime_contract import BANNER_SWITCH, SWITCH_KEY_PREFIX, parse_switch_value
from ops.core.verdict import ProbeObservation, Verdict
from ops.drills import github, release_answers, scenario_release, scenario_switch
from ops.drills.command import DrillWorld, Say
from ops.drills.score import mark_drill_unhealthy

if TYPE_CHECKING:
    from ops.config import Environment, Service
    from sandbox import Sandbox
    from sandbox.chat import FakeChats

NAME, AT_PROVIDER = "tell", "tell-provider"
RUNBOOK, SWITCHER = "rollback-worker", "feature"
HOST, COMPONENT = "status.drill.example", "The application"
PAGE_ID, COMPONENT_ID, KEY_NAME, KEY = "pagedrill1", "compdrill1", "STATUS_PAGE_KEY", "key-of-the-page-0123456789"
WEBHOOK = "SLACK_WEBHOOK_URL"
WRONG, RIGHT = "All payments fail.", "Card payments fail. Other payments work."
"""Text of an update, and its correction."""
HTML = "<b>Sorry</b>"
"""Typed in an update of the own page. A provider might show it as HTML, so none of it is sent there."""
FORM = "### Service\n\n{service}\n"
NOTHING = "nothing"
INCIDENT_LINK = re.compile(r'href="(incidents/[^"]+)"')
"""Link of the front page to the updates of an incident, which it does not show itself after the end."""
CALM = "off"
BANNER = f'{{states: ["{CALM}", investigating, identified, monitoring], longest: 4h}}'


def add_page(text: str, environment: "Environment", *, has_provider: bool) -> str:
    """Return the text of a valid `ops.yml` with a status page, a chat, and the banner if the application can show it.

    Its own page and chats are replaced, so that a drill depends on none of them.
    """
    component: dict[str, Any] = {"name": COMPONENT, "services": list(environment.services)}
    page: dict[str, Any] = {"url": f"https://{HOST}", "title": "Drill"}
    if has_provider:
        page |= {"provider": "statuspage", "page_id": PAGE_ID, "token": KEY_NAME}
        component["id"] = COMPONENT_ID
    text = set_key(text, "status_page", json.dumps({**page, "components": [component]}))
    text = set_key(text, "notify", json.dumps({"slack": {"webhook": WEBHOOK}}))
    return insert_below(text, ("environments", environment.name, "runtime", "switches"), BANNER_SWITCH, BANNER)


def run(
    world: DrillWorld,
    service: "Service",
    probe: Callable[[], ProbeObservation],
    start_runbook: Any,
    say: Say,
    *,
    has_provider: bool,
) -> dict[str, Any]:
    """Tell users, recover, and tell them the end. Return the result of the recovery."""
    incident = start_runbook.incident
    assert incident is not None, "the scenario needs an incident"
    incident.github.unlabel(incident.number, DRILL_LABEL, world.responder)  # no chat hears of a drill
    incident.github.edit_issue(incident.number, FORM.format(service=world.service), world.responder)
    incident.github.enable_pages(HOST)
    with _open_chat(world) as chats:
        readers = _Readers(world, chats, _DrilledPageProvider.add(world) if has_provider else _DrilledStatusPage(world))
        by_label = start_runbook.drill.trigger == "label"
        press = partial(_publish_update, world, incident, say=say)
        problems = press(PublicState.INVESTIGATING, by_label=by_label)
        wrong = WRONG if has_provider else f"{WRONG} {HTML}"
        problems += press(PublicState.IDENTIFIED, text=wrong, components=f"{COMPONENT}=major outage")
        problems += press(PublicState.IDENTIFIED, text=RIGHT, corrects="last")
        problems += readers.find_untruths(PublicState.IDENTIFIED, say)
        result = dict(start_runbook({}))
        if result["decision"] != Decision.RECOVERED:
            return result
        problems += [] if probe().verdict == Verdict.HEALTHY else ["the service is not healthy"]
        banner = _DrilledBanner(world, incident, service)
        problems += banner.show(PublicState.MONITORING, say)
        problems += press(PublicState.RESOLVED, by_label=by_label)
        problems += banner.find_untruths(CALM)  # the end of the incident removed it
        problems += readers.find_untruths(PublicState.RESOLVED, say)
    if problems:
        return mark_drill_unhealthy(result, "; ".join([result["message"], *problems]))
    shown = ["page", *([] if has_provider else ["feed"]), "chat", *(["banner"] if banner.is_known else [])]
    names = f"{', '.join(shown[:-1])} and {shown[-1]}"
    return {**result, "message": f"{result['message']}; {names} told users what happened, and its end"}


@contextmanager
def _open_chat(world: DrillWorld) -> "Iterator[FakeChats]":
    """Start the chat, and give the jobs its address."""
    from sandbox.chat import start_chats

    chats, server = start_chats()
    try:
        for name in (WEBHOOK, KEY_NAME):
            value = KEY if name == KEY_NAME else f"{server.url}/services/T0/B0/drill"
            github.put_secret(world, github.READ_ONLY_ENVIRONMENT, name, value)
        yield chats
    finally:
        server.stop()


def _publish_update(
    world: DrillWorld,
    incident: github.DrillIncident,
    state: PublicState,
    *,
    say: Say,
    by_label: bool = False,
    **inputs: str,
) -> list[str]:
    """Publish an update by label or button. Return what went wrong."""
    act: Callable[[], object]
    if by_label:
        say(f'{world.responder} put the label "{state.label}" on it')
        act = partial(incident.github.label, incident.number, state.label, world.responder)
    else:
        say(f"{world.responder} pressed the button of {PUBLISH_UPDATE}.yml: {state.words}")
        fields = {"incident": str(incident.number), "state": state.value, **inputs}
        act = partial(incident.github.dispatch, f"{PUBLISH_UPDATE}.yml", fields, world.responder)
    return _find_failed_jobs(github.finish_workflows(world, act, say))


def _find_failed_jobs(runs: "list[Any]") -> list[str]:
    return [f'the job "{job.name}" failed' for run in runs for job in run.jobs if job.conclusion == "failure"]


@dataclass(frozen=True)
class _DrilledStatusPage:
    """The own page, as a browser that passes its cache reads it."""

    world: DrillWorld

    def read(self) -> tuple[str, dict[str, str]]:
        """Return the public state of the incident, and the texts of page and feed."""
        front = self._fetch_status_page("/")
        linked = [self._fetch_status_page(f"/{path}") for path in INCIDENT_LINK.findall(front)]
        texts = {"status page": "\n".join([front, *linked]), "feed": self._fetch_status_page("/feed.atom")}
        summary = self._fetch_status_page("/status.json")
        if not summary:
            return NOTHING, texts
        listed = json.loads(summary)["incidents"]
        return listed[0]["status"] if listed else PublicState.RESOLVED.value, texts

    def _fetch_status_page(self, path: str) -> str:
        """Return the file; empty if the page does not answer."""
        from sandbox.server import HttpRequest

        headers = Message()
        headers["host"] = HOST
        at = self.world.sandbox.clock.now().timestamp()
        request = HttpRequest(method="GET", target=f"{path}?at={at}", headers=headers, body=b"")
        answer = self.world.sandbox.edge.answer(request)
        return answer.body.decode() if answer.status == 200 else ""


@dataclass(frozen=True)
class _DrilledPageProvider:
    """The page at Statuspage."""

    page: Any

    @classmethod
    def add(cls, world: DrillWorld) -> "_DrilledPageProvider":
        return cls(world.sandbox.statuspage.add_page(PAGE_ID, KEY, {COMPONENT_ID: COMPONENT}))

    def read(self) -> tuple[str, dict[str, str]]:
        """Return the public state of the incident, and the texts of the page."""
        state, updates = self.page.shown[-1] if self.page.shown else (NOTHING, [])
        return state, {"status page": "\n".join(text for _, text in updates)}


@dataclass(frozen=True)
class _Readers:
    """Those who read page, feed and chat."""

    world: DrillWorld
    chats: "FakeChats"
    page: _DrilledStatusPage | _DrilledPageProvider

    def find_untruths(self, state: PublicState, say: Say) -> list[str]:
        """Return what page, feed or chat says that is not as it was published."""
        shown, texts = self.page.read()
        say(f"the status page says: {shown}")
        problems = [] if shown == state.value else [f"the status page says {shown} instead of {state.value}"]
        private = (self.world.responder, self.world.environment.account_id)
        for name, text in texts.items():
            problems += [f"the {name} shows HTML of an update"] if HTML in text else []
            problems += [f"the {name} shows what is private" for word in private if word in text]
        texts["chat"] = "\n".join(each["text"] for each in self.chats.webhook_messages)
        return problems + [f"the {name} lacks the correction" for name, text in texts.items() if RIGHT not in text]


class _DrilledBanner:
    """The banner of the application."""

    def __init__(self, world: DrillWorld, incident: github.DrillIncident, service: "Service") -> None:
        runtime = world.environment.runtime
        self.world, self.incident = world, incident
        self.namespace = runtime.namespace if runtime and runtime.service == service.name else ""

    @property
    def is_known(self) -> bool:
        """Whether the application of the drill can show it."""
        return bool(self.namespace)

    def show(self, state: PublicState, say: Say) -> list[str]:
        """Show the text of the state by button. Return what went wrong."""
        if not self.is_known:
            return []
        say(f"{self.world.responder} pressed the button of {SWITCHER}.yml: {BANNER_SWITCH} {state.value}")
        inputs = {"environment": self.world.environment.name, "incident": str(self.incident.number)}
        inputs |= {"name": BANNER_SWITCH, "state": state.value}
        act = partial(self.incident.github.dispatch, f"{SWITCHER}.yml", inputs, self.world.responder)
        return _find_failed_jobs(github.finish_workflows(self.world, act, say)) + self.find_untruths(state.value)

    def find_untruths(self, wanted: str) -> list[str]:
        """Return that the banner has another state, if so."""
        if not self.is_known:
            return []
        text = self.world.sandbox.kv.get(self.namespace, f"{SWITCH_KEY_PREFIX}{BANNER_SWITCH}") or ""
        state = parse_switch_value(text).state
        return [] if state == wanted else [f"the banner shows {state} instead of {wanted}"]


def _deploy_with_switches(sandbox: "Sandbox", service: "Service", name: str, _edge: str, _folder: Path) -> None:
    """Deploy the Worker. The good release reads the switches whose normal states are in KV."""
    behaviour: dict[str, Any] = {"status": 500}
    if name == "good":
        states = {
            key.removeprefix(SWITCH_KEY_PREFIX): parse_switch_value(sandbox.kv.get(namespace, key) or "").state
            for namespace in sandbox.kv.namespaces
            for key in sandbox.kv.entries(namespace)
        }
        declared = {switch: {"normal": state, "on_unknown": state} for switch, state in states.items()}
        behaviour = {**release_answers.build_behavior(service.probes), "runtime": {"switches": declared}}
    bound = [
        {"type": "kv_namespace", "name": "OPS_RUNTIME", "namespace_id": namespace}
        for namespace in sandbox.kv.namespaces
    ]
    version = sandbox.upload(service.worker, code=name, behaviour=behaviour, bindings=bound, tag=name)
    sandbox.deploy(service.worker, version)


def _write_normal_states(sandbox: "Sandbox", environment: "Environment", _service: "Service") -> None:
    if environment.runtime is not None:
        scenario_switch.write_normal_states(sandbox, environment.runtime)


def _build_scenario(*, has_provider: bool) -> scenario_release.Scenario:
    return replace(
        scenario_release.WORKER,
        release=_deploy_with_switches,
        prepare=_write_normal_states,
        suits=scenario_switch.reads_switches,
        runbook=RUNBOOK,
        run=partial(run, has_provider=has_provider),
        edit_config=partial(add_page, has_provider=has_provider),
        needs_incident=True,
        unsupported={
            "workerd": "it reads pages and chat, so the runtime of the Workers does not matter",
            "command": "only a job publishes an update",
        },
    )


SCENARIOS = {NAME: _build_scenario(has_provider=False), AT_PROVIDER: _build_scenario(has_provider=True)}
