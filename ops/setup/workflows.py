"""What stands in .github and comes from ops.yml: lists and secrets' names in the buttons, what to press in the form."""

import re
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ops.config.labels import Recovery, params_text, ways
from ops.core.runtime_contract import AI, MAINTENANCE

if TYPE_CHECKING:
    from ops.config import Config
    from ops.config.probes import Probe

FOLDER = Path(".github", "workflows")
RUNTIME = "runtime"
"""The kind of runbooks that set switches or limits."""
FORM = Path("ISSUE_TEMPLATE", "incident.yml")
"""Beside that folder."""
LIST = re.compile(
    r"^(?P<head> +(?P<name>\w+):\n(?: +(?!options:)\w+: .*\n)* +options: # generated .*\n)"
    r"(?P<items>(?P<indent> +)- .*\n(?: +- .*\n)*)",
    re.MULTILINE,
)
PRESSED = re.compile(
    r"^(?P<head>(?P<indent> +)# generated from ops\.yml .*\n +value: \|\n)(?:(?P=indent) +.*\n|\n)+", re.MULTILINE
)


KEYS = re.compile(
    r"^(?P<head>(?P<indent> +)# generated .*: keys of AI providers\n)(?: +(?:NEW|OLD)_\w+: .*\n)*", re.MULTILINE
)
VALUES = re.compile(r"^(?P<head>(?P<indent> +)# generated .*: values\n)(?: +(?:NEW|OLD)_\w+: .*\n)*", re.MULTILINE)


BROWSER = re.compile(r"^(?P<head> +browser: )\w+(?P<end> # generated from ops\.yml .*)$", re.MULTILINE)


def sync(folder: Path, config: "Config", recoveries: Sequence[Recovery]) -> tuple[Path, ...]:
    """Rewrite the generated parts of every workflow in `folder` and of the issue form. Return the changed files."""
    kinds = {each.name: each.kind for each in recoveries}
    changed = []
    for path in [*sorted(folder.glob("*.yml")), *folder.parent.glob(str(FORM))]:
        text = path.read_text(encoding="utf-8")
        is_form = path.name == FORM.name and path.parent.name == FORM.parent.name
        wanted = pressed(text, config, recoveries) if is_form else synced(text, config, kinds.get(path.stem))
        if wanted != text:
            path.write_text(wanted, encoding="utf-8")
            changed.append(path)
    return tuple(changed)


def pressed(text: str, config: "Config", recoveries: Sequence[Recovery]) -> str:
    """The issue form with what to press as ops.yml has it."""
    lines = ["When the issue stands, this starts a recovery. What you write into the form starts nothing.", ""]
    labels: dict[tuple[str, str], list[str]] = {}
    for way in ways(config, recoveries):
        besides = params_text({name: value for name, value in way.params.items() if name != "service"})
        found = labels.setdefault((f"**{way.service} in {way.environment}.** {way.when}", way.runbook), [])
        found += [f"`{label}`{f' ({besides})' if besides else ''}" for label in way.labels]
    for (what, runbook), put in labels.items():
        label = f"the label {' or '.join(put)} on the issue, or " if put else ""
        lines.append(f"- {what}: {label}the button Actions → {runbook} → Run workflow")
    return PRESSED.sub(
        lambda found: found["head"] + "".join(f"{found['indent']}  {line}".rstrip() + "\n" for line in lines), text
    )


def synced(text: str, config: "Config", kind: str | None) -> str:
    """The text of a workflow with what is generated as ops.yml has it. Without a kind: services of every kind."""
    lists = {
        "service": dict.fromkeys(
            name
            for env in config.environments.values()
            for name, service in env.services.items()
            if kind in {None, service.kind}
        ),
        "environment": config.environments,
        **_of_switches(config),
    }
    browser = "true" if _needs_browser(config, kind) else "false"
    text = BROWSER.sub(lambda found: found["head"] + browser + found["end"], text)
    text = LIST.sub(lambda found: found["head"] + _items(found, lists.get(found["name"])), text)
    rules = {name: rule for env in config.environments.values() for name, rule in env.secrets.items()}
    # Of what is generated a former value may be held, and a new one is made.
    values = [f"NEW_{name}" for name, rule in rules.items() if rule.rotate == "provided"]
    values += [f"OLD_{name}" for name, rule in rules.items() if rule.rotate != "never"]
    runtimes = [env.runtime for env in config.environments.values() if env.runtime]
    asked = dict.fromkeys(key for each in runtimes if each.ai for key in each.ai.keys.values())
    keys = [prefix + name for name in asked for prefix in ("NEW_", "OLD_")]
    return KEYS.sub(partial(_variables, keys), VALUES.sub(partial(_variables, values), text))


def _needs_browser(config: "Config", kind: str | None) -> bool:
    """Whether a run of a runbook for services of that kind may start a browser; without a kind: any run."""
    of_kind = "worker" if kind == RUNTIME else kind
    probes: list[Probe] = []
    for environment in config.environments.values():
        for service in environment.services.values():
            probes += service.probes_with(service.durable_objects) if of_kind in {None, service.kind} else ()
        if environment.runtime and kind in {None, RUNTIME}:
            probes += [probe for switch in environment.runtime.switches.values() for probe in switch.probes]
    return any(probe.browser for probe in probes)


def _of_switches(config: "Config") -> dict[str, Iterable[str]]:
    """What the buttons of switches list: `name` and `state` of a feature, `to` of the providers."""
    runtimes = [env.runtime for env in config.environments.values() if env.runtime]
    features = {name: each for one in runtimes for name, each in one.switches.items() if name not in {AI, MAINTENANCE}}
    providers = [name for one in runtimes if one.ai for name in one.ai.order]
    return {
        "name": features,
        "state": dict.fromkeys(state for each in features.values() for state in each.states),
        "to": dict.fromkeys(["auto", *providers, "off", "restore"]),
    }


def _variables(names: Iterable[str], found: re.Match[str]) -> str:
    """One by one: never all secrets at once, which would hand over the others too."""
    return found["head"] + "".join(f"{found['indent']}{name}: ${{{{ secrets.{name} }}}}\n" for name in names)


def _items(found: re.Match[str], names: Iterable[str] | None) -> str:
    if names is None:
        return found["items"]
    return "".join(f"{found['indent']}- {_quoted(name)}\n" for name in names)


def _quoted(name: str) -> str:
    """YAML may read these as yes and no."""
    return f'"{name}"' if name in {"on", "off", "yes", "no"} else name
