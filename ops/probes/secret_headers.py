"""Read secret request headers of probes from environment variables."""

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from ops.core.verdict import Assertion, Verdict

if TYPE_CHECKING:
    from ops.config import Service

NO_VARIABLES: Mapping[str, str] = {}
NO_HEADERS_BY_ORIGIN: Mapping[str, Mapping[str, str]] = {}


def read_secret_headers(names: Mapping[str, str], environ: Mapping[str, str]) -> Mapping[str, str] | Assertion:
    """Return header → value; or an inconclusive assertion that names each variable without a usable value.

    `names` maps each header to its variable. No value of a variable is shown.
    """
    missing = dict.fromkeys(variable for variable in names.values() if not environ.get(variable))
    if missing:
        return _unusable(f"{' and '.join(missing)} is not set, but `request_headers` of this probe needs it")
    values = {header: environ[variable].strip() for header, variable in names.items()}
    for header, value in values.items():
        if not re.fullmatch(r"[!-~]([ -~]{0,8190}[!-~])?", value):
            return _unusable(f"{names[header]} has a value that cannot be sent as a header")
    return values


def headers_by_origin(services: Iterable["Service"], environ: Mapping[str, str]) -> Mapping[str, Mapping[str, str]]:
    """Return origin → all usable secret headers of the http and page probes there."""
    found: dict[str, dict[str, str]] = {}
    for service in services:
        for probe in service.probes:
            asked = probe.http or probe.page
            headers = read_secret_headers(asked.request_headers, environ) if asked else {}
            if headers and not isinstance(headers, Assertion):
                found.setdefault(service.url, {}).update(headers)
    return found


def _unusable(text: str) -> Assertion:
    hint = "Set the variable: on a laptop with `export`, in a job as a secret under `env:` of the step in the workflow."
    return Assertion("request_headers", Verdict.INCONCLUSIVE, text, hint)
