"""Build the recovery menu of an incident from ops.yml and the runbooks."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ops.app.registry import list_runbook_facts, load_runbook
from ops.app.scope import button_inputs, scope_of
from ops.config.labels import RecoveryOption, list_recovery_options
from ops.core.approval import APPROVE_BUTTON
from ops.core.next_step import build_command
from ops.core.outage import LiveSigns
from ops.core.recent_change import RecentChanges
from ops.core.responders import find_lists, permitted_logins
from ops.publish.menu import MenuRow, MenuSection, MenuStart, RecoveryMenu

if TYPE_CHECKING:
    from ops.config import Config


def build_menu(
    config: "Config",
    program: Sequence[str],
    number: str,
    page: str,
    *,
    environment: str = "",
    signs: LiveSigns | None = None,
    note: str = "",
    recent: RecentChanges | None = None,
) -> RecoveryMenu:
    """Return the menu of an incident.

    `program` starts its commands and may name the file of ops.yml; `page` is the URL of the operations repository.
    `environment`: the only one to show (default: all). `note` answers a name that ops.yml does not have.
    """
    facts = list_runbook_facts()
    options: dict[str, list[RecoveryOption]] = {}
    for option in list_recovery_options(config, facts, environment):
        options.setdefault(option.service, []).append(option)
    sections = [_menu_section(config, service, each, program, number) for service, each in options.items()]
    seen = [(place, each) for place, each in (signs.services.items() if signs else ()) if each.is_likely]
    likely = [
        _menu_section(config, service, list(list_recovery_options(config, facts, name, service)), program, number)
        for (name, service), _ in sorted(seen, key=lambda item: not item[1].is_failing)
    ]
    return RecoveryMenu(
        number,
        program[0],
        page,
        sections,
        [each for each in likely if each.rows],
        config.responders,
        signs,
        note,
        recent,
    )


def _menu_section(
    config: "Config", service: str, options: Sequence[RecoveryOption], program: Sequence[str], number: str
) -> MenuSection:
    environments = tuple(dict.fromkeys(option.environment for option in options))
    rows = list(_menu_rows(config, options, program, number))
    return MenuSection(service, environments, rows, _laptop_variables(config, service, options))


def _menu_rows(
    config: "Config", options: Sequence[RecoveryOption], program: Sequence[str], number: str
) -> Iterator[MenuRow]:
    for when in dict.fromkeys(option.when for option in options):
        starts = [_menu_start(config, option, program, number) for option in options if option.when == when]
        yield MenuRow(when, starts)


def _menu_start(config: "Config", option: RecoveryOption, program: Sequence[str], number: str) -> MenuStart:
    runbook = load_runbook(option.runbook)
    form = button_inputs(config, runbook)
    known = {"service": option.service, **option.params, "environment": option.environment}
    values = {name: value for name, value in known.items() if name in {field.name for field in form}}
    fields = [(field, _menu_field_text(values[field.name])) for field in form if field.name in values]
    chosen = tuple((field.name, text) for field, text in fields if len(field.options) > 1)
    typed = tuple((field.name, text) for field, text in fields if not field.options and text != field.default)
    command = build_command(program[0], option.runbook, {**values, "incident": number}, *program[1:])
    approval = APPROVE_BUTTON if runbook.incident_use.needs_approval else ""
    lists = find_lists(config, scope_of(config.environments[option.environment], option.runbook, values))
    people = permitted_logins(lists) if len(lists) > bool(config.responders) else ()
    is_for_nobody = bool(lists) and not permitted_logins(lists)
    return MenuStart(option.labels, option.runbook, chosen, typed, command, approval, people, is_for_nobody)


def _menu_field_text(value: object) -> str:
    """Return the value as people choose or type it in a field."""
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(value) if isinstance(value, tuple | list) else str(value)


def _laptop_variables(config: "Config", service: str, options: Sequence[RecoveryOption]) -> str:
    """Return the variables that the commands need on a laptop, with the places of their values."""
    needed = dict.fromkeys(each.environment for each in options if load_runbook(each.runbook).github_environment)
    return "; ".join(dict.fromkeys(config.environments[name].laptop_variables(service) for name in needed))
