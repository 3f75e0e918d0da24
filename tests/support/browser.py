"""Helpers for tests of the `browser` probe: its configuration, a served site, Chromium."""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ops.config import parse_config
from ops.config.probes import BrowserProbe
from ops.core.redaction import Redactor
from ops.core.verdict import ProbeResult
from ops.probes import browser
from tests.conftest import World
from tests.support.site import URL, Answer, Site, served

CHROMIUM = next(filter(None, map(shutil.which, browser.PROGRAMS)), None)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium or Chrome on PATH: apt-get install chromium")
PASSWORD = "pässword & 1"
IS_OVER = "within 10 s"
"""Says that the time of a page or step was over: on a busy machine, and so nothing about the site. It is tried again."""
STEPS: list[dict[str, Any]] = [
    {"goto": "/login"},
    {"fill": {"field": "[name=email]", "variable": "DEMO_EMAIL"}},
    {"fill": {"field": "[name=password]", "variable": "DEMO_PASSWORD"}},
    {"click": "button"},
    {"expect": "text=Welcome"},
    {"wait": "1ms"},
]


def spec(**fields: Any) -> BrowserProbe:
    """Return the probe as configured in ops.yml. Default: required, with a timeout for a busy machine."""
    text = {"environments": {"p": {"account_id": "0" * 32, "services": {"s": {"worker": "w", "url": URL}}}}}
    probes = [
        {"name": "health", "http": {"path": "/"}},
        {"name": "visit", "browser": {"required": True, "timeout": "2m", **fields}},
    ]
    text["environments"]["p"]["services"]["s"]["probes"] = probes  # type: ignore[index]
    found = parse_config(json.dumps(text), path="ops.yml")[0].environment("p").service("s").probes[1].browser
    assert found
    return found


def look(
    files: Mapping[str, str | bytes | Answer], pictures: Path, *, redactor: Redactor | None = None, **fields: Any
) -> ProbeResult:
    environ = {"DEMO_EMAIL": "mia", "DEMO_PASSWORD": PASSWORD, **fields.pop("environ", {})}
    environ |= {name: os.environ[name] for name in ("PATH", "HOME")}
    with served(Site(files)) as web:

        def once() -> ProbeResult:
            return browser.run_browser_probe(
                "visit", spec(**fields), URL, environ, redactor or Redactor(), edge_url=web.edge_url, pictures=pictures
            )

        found = once()
        return once() if IS_OVER in found.detail else found


def add_probe(world: World, browser: str) -> None:
    """Add the probe as the last one of the service in production."""
    here = "          # A program can be a probe too"
    world.edit_config(here, f"          - name: visit\n            browser: {browser}\n{here}")
