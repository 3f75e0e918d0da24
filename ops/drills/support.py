"""State which edges and triggers a drill supports, and why not the others."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from ops.core.errors import ConfigError
from ops.drills.command import Params, param_text

if TYPE_CHECKING:
    from ops.config import Config

Edge = Literal["embedded", "workerd"]
Trigger = Literal["label", "button", "command"]
EDGES: tuple[Edge, ...] = get_args(Edge)
TRIGGERS: tuple[Trigger, ...] = get_args(Trigger)


@dataclass(frozen=True)
class DrillSupport:
    """The edges and triggers that a drill lacks, and the parameters of the runs that it triggers."""

    drill: str
    unsupported: Mapping[str, str]
    """Edge or trigger → the reason."""
    runbook: str
    environment: str
    runs: tuple[Params, ...]

    def reason(self, config: "Config", edge: Edge, trigger: Trigger | None) -> str:
        """Return why the drill does not run with this edge and trigger, with its name; "" if it does."""
        option = _unsupported_option(edge, trigger, self.unsupported) or "--trigger label"
        gap = self.describe_gap(config, edge, trigger)
        return gap and f"{self.drill} does not run with {option}: {gap}"

    def describe_gap(self, config: "Config", edge: Edge, trigger: Trigger | None) -> str:
        """Return why the drill does not run with this edge and trigger; "" if it does."""
        option = _unsupported_option(edge, trigger, self.unsupported)
        if option:
            return self.unsupported[option.rpartition(" ")[2]]
        where = config, self.runbook, self.environment
        missing = [run for run in self.runs if trigger == "label" and not find_label(*where, run)]
        if not missing:
            return ""
        params = "".join(f" {name}={param_text(value)}" for name, value in missing[0].items())
        return f"no label of ops.yml starts {self.runbook}{params} in {self.environment}"

    def check(self, config: "Config", edge: Edge, trigger: Trigger | None) -> None:
        """Raise ConfigError if the drill does not run with this edge and trigger."""
        if reason := self.reason(config, edge, trigger):
            raise ConfigError(reason, hint=self._suggest_drill_option(config, edge))

    def _suggest_drill_option(self, config: "Config", edge: Edge) -> str:
        if edge in self.unsupported:
            return f"Use --edge {next(each for each in EDGES if each not in self.unsupported)}."
        known = [f"--trigger {each}" for each in TRIGGERS if not self.reason(config, edge, each)]
        return f"Use {', '.join(known)}, or omit --trigger."


def find_label(config: "Config", runbook: str, environment: str, params: Params) -> str:
    """Return the label of ops.yml that starts this run; "" if there is none."""
    key = (runbook, environment, dict(params))
    labels = (name for name, one in config.labels.items() if (one.runbook, one.environment, one.params) == key)
    return next(labels, "")


def _unsupported_option(edge: Edge, trigger: Trigger | None, unsupported: Mapping[str, str]) -> str:
    given = {f"--edge {edge}": edge, f"--trigger {trigger}": trigger}
    return next((option for option, value in given.items() if value in unsupported), "")


def describe_unsupported(unsupported: Mapping[str, str]) -> Iterator[str]:
    """Describe each reason once, with the edges and triggers that it rules out."""
    for reason in dict.fromkeys(unsupported.values()):
        options = [
            ("--edge " if each in EDGES else "--trigger ") + each for each in unsupported if unsupported[each] == reason
        ]
        yield f"not with {' or '.join(options)}: {reason}"
