"""`github.watch_runner`: the watch alone runs on another runner. Not for FortuneT."""

import pytest
import yaml

from ops.config import parse_config
from ops.core.errors import ConfigError
from tests.support.bakery import CONFIG, generated


def test_only_watches_run_on_the_other_runner() -> None:
    settings = "{watch_runner: sydney-2, included_minutes: 0, schedules: {watch: 30m}}"

    runners: dict[str, set[str]] = {}
    for path, text in generated(f"{CONFIG}github: {settings}\n").items():
        jobs = yaml.safe_load(text)["jobs"] if path.startswith(".github/workflows/") else {}
        for name, job in jobs.items():
            if "runs-on" in job:
                runners.setdefault(job["runs-on"], set()).add(name)

    assert runners["sydney-2"] == {"watch"}
    assert "watch" not in runners["ubuntu-latest"]


@pytest.mark.parametrize("given", ["[self-hosted, sydney]", '"a b"', '"${{ github.actor }}"'])
def test_other_values_than_one_label_are_refused(given: str) -> None:
    with pytest.raises(ConfigError):
        parse_config(f"{CONFIG}github: {{watch_runner: {given}}}\n", path="ops.yml")
