"""What other processes may read and change of the GitHub part, besides the clock, the faults and the switches."""

import inspect
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sandbox.github.actions import Run
from sandbox.github.shapes import issues

if TYPE_CHECKING:
    from sandbox.github.hub import GitHub

_SEEDS = (
    "add_user",
    "add_token",
    "add_workflow_token",
    "add_app",
    "open_issue",
    "label",
    "unlabel",
    "close",
    "reopen",
    "comment",
    "add_commit",
    "open_pull",
    "open_fork_pull",
    "push_to_fork",
    "merge",
    "add_environment",
    "put_secret",
    "put_variable",
    "secrets",
    "variables",
)


def routes(github: "GitHub") -> Mapping[tuple[str, str], Callable[[Any], Any]]:
    """`POST /sandbox/NAME` seeds as the method of that name, with its parameters as JSON."""
    seeds = {("POST", f"/{name}"): _seed(getattr(github, name)) for name in _SEEDS}
    return {
        **seeds,
        ("POST", "/dispatch"): lambda body: _dispatched(github.dispatch(**body)),
        ("GET", "/deliveries"): lambda _: [delivery._asdict() for delivery in github.deliveries],
        ("GET", "/issues"): lambda _: [issues.full(issue, github.urls) for issue in github.issues],
    }


def _seed(method: Callable[..., Any]) -> Callable[[Any], Any]:
    """A parameter that does not fit is a TypeError, which is answered with 400."""

    def answer(body: Any) -> Any:
        arguments = inspect.signature(method).bind(**body).arguments
        for name in arguments.keys() & {"at"}:
            arguments[name] = datetime.fromisoformat(arguments[name])
        return method(**arguments)

    return answer


def _dispatched(run: Run) -> dict[str, Any]:
    return {"id": run.id, "payload": run.payload}
