"""Find out when a version's code was uploaded, and the schema marks around that time."""

import json
from collections.abc import Iterator
from datetime import datetime

from ops.cloudflare.schema_mark import CodeAge, SchemaMark, parse_schema_marks
from ops.workers.history import WorkerHistory


def find_code_age(history: WorkerHistory, version: str) -> CodeAge:
    """Return the age of a version's code: that of its release, since old code may be uploaded again."""
    release = history.releases[version]
    uploaded_at = history.version(release).created_on
    marks = list(_marks(history))
    later = [
        (at, mark)
        for at, other, mark in marks
        if uploaded_at and other != release and (at or history.now) > uploaded_at
    ]
    return CodeAge(
        uploaded_at,
        own=tuple(mark for _, other, mark in marks if other == release),
        later=tuple(mark for _, mark in sorted(later, key=lambda each: each[0] or history.now)),
    )


def bound_databases(history: WorkerHistory, version: str) -> frozenset[str]:
    """Return the ids of the D1 databases that a version is bound to; empty if its details are unread."""
    found = (
        json.loads(rest).get("id") for (kind, _), rest in history.version(version).bindings.items() if kind == "d1"
    )
    return frozenset(each for each in found if isinstance(each, str))


def _marks(history: WorkerHistory) -> Iterator[tuple[datetime | None, str, SchemaMark]]:
    """Yield time, release and mark of each version and deployment. A deployment's mark is about its newest version."""
    for name, version in history.versions.items():
        yield from ((version.created_on, history.releases[name], mark) for mark in parse_schema_marks(version.message))
    for deployment in history.deployments:
        if deployment.serving_versions:
            release = history.releases[history.newest_version(deployment.serving_versions)]
            yield from ((deployment.created_on, release, mark) for mark in parse_schema_marks(deployment.message))
