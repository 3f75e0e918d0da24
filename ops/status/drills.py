"""Results of the staging drills, which `ops status` shows if ops.yml has the section."""

import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ops.app.configuration import read_config
from ops.app.registry import record_rules
from ops.core.clock import current_time
from ops.core.drill_trend import DrillTrend
from ops.core.errors import ConfigError, OpsError
from ops.core.redaction import Redactor
from ops.core.threads import start_call
from ops.github.client import connect
from ops.status.last_runs import GITHUB_SECONDS

if TYPE_CHECKING:
    from ops.config import Config


def start_reading(config_path: Path, environ: Mapping[str, str], redactor: Redactor) -> Callable[[], DrillTrend | None]:
    """Begin to read the results, and return what waits for them, at most GITHUB_SECONDS from now.

    It returns None if ops.yml has no `staging_drill`, or cannot be used, which other parts of a command name.
    """
    try:
        config, now = read_config(config_path)[0], current_time(environ)
    except ConfigError:
        return lambda: None
    if config.staging_drill is None:
        return lambda: None
    if not (environ.get("GITHUB_TOKEN") and environ.get("GITHUB_REPOSITORY")):
        return lambda: DrillTrend(now, problem="set GITHUB_TOKEN and GITHUB_REPOSITORY")
    reading, until = start_call(partial(read_drills, config, environ, redactor)), time.monotonic() + GITHUB_SECONDS

    def finish() -> DrillTrend:
        try:
            return reading.result(timeout=max(0.0, until - time.monotonic()))
        except OpsError as error:
            return DrillTrend(now, problem=error.message)
        except TimeoutError:
            return DrillTrend(now, problem=f"GitHub gave no answer within {GITHUB_SECONDS:g} s")

    return finish


def read_drills(config: "Config", environ: Mapping[str, str], redactor: Redactor) -> DrillTrend:
    """Return the results on the tracking issue, redacted. Raises ConfigError and ProviderError."""
    from ops.github.drill_results import read_trend

    number = config.staging_drill.tracking_issue if config.staging_drill else None
    repository = connect(environ, redactor, read_only=True)
    trend = read_trend(repository, number, record_rules(config), current_time(environ))
    redacted: DrillTrend = redactor.redact_value(trend)
    return redacted
