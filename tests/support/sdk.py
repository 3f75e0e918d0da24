"""Check the sandbox's responses against the models of Cloudflare's official Python SDK.

The models come from its OpenAPI spec. The SDK builds them without validation; here pydantic validates strictly:
required fields, types and literals. A field missing in the model is also a problem.
"""

import importlib
import json
import pkgutil
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from types import GenericAlias
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

import ops.cloudflare
from ops.cloudflare.client import DECLARED_READS
from sandbox import Sandbox
from sandbox.cloudflare.api import ROUTER, match
from sandbox.server import HttpRequest, HttpResponse

ACCOUNT = "/accounts/{account}"
SCRIPT = f"{ACCOUNT}/workers/scripts/{{script}}"
PROJECT = f"{ACCOUNT}/pages/projects/{{project}}"
DATABASE = f"{ACCOUNT}/d1/database/{{database}}"
BUCKET = f"{ACCOUNT}/r2/buckets/{{bucket}}"
NAMESPACE = f"{ACCOUNT}/storage/kv/namespaces/{{namespace}}"


@dataclass(frozen=True)
class Model:
    """A model below cloudflare.types.

    `many`: the result is a list of it. `under`: it is at that key of the result.
    """

    name: str
    many: bool = False
    under: str = ""
    may_be_null: bool = False
    whole: bool = False
    """The model describes the whole response instead of its result."""


MODELS: Mapping[str, Model] = {
    f"GET {ACCOUNT}/workers/scripts": Model("workers.ScriptListResponse", many=True),
    f"PUT {SCRIPT}": Model("workers.ScriptUpdateResponse"),
    f"GET {SCRIPT}/deployments": Model("workers.scripts.DeploymentListResponse"),
    f"POST {SCRIPT}/deployments": Model("workers.scripts.Deployment"),
    f"GET {SCRIPT}/versions": Model("workers.scripts.VersionListResponse", under="items"),
    f"POST {SCRIPT}/versions": Model("workers.scripts.VersionCreateResponse"),
    f"GET {SCRIPT}/versions/{{version}}": Model("workers.scripts.VersionGetResponse"),
    f"GET {SCRIPT}/secrets": Model("workers.scripts.SecretListResponse", many=True),
    f"PATCH {SCRIPT}/secrets-bulk": Model("workers.scripts.SecretBulkUpdateResponse"),
    f"GET {SCRIPT}/settings": Model("workers.scripts.ScriptAndVersionSettingGetResponse"),
    f"GET {SCRIPT}/schedules": Model("workers.scripts.ScheduleGetResponse"),
    f"GET {SCRIPT}/subdomain": Model("workers.scripts.SubdomainGetResponse"),
    f"POST {SCRIPT}/subdomain": Model("workers.scripts.SubdomainCreateResponse"),
    f"GET {ACCOUNT}/workers/workers/{{script}}": Model("workers.beta.Worker"),
    f"GET {ACCOUNT}/workers/workers/{{script}}/versions/{{version}}": Model("workers.beta.workers.Version"),
    f"GET {ACCOUNT}/workers/domains": Model("workers.DomainListResponse", many=True),
    f"GET {ACCOUNT}/workers/subdomain": Model("workers.SubdomainGetResponse"),
    f"POST {ACCOUNT}/workers/observability/telemetry/query": Model("workers.observability.TelemetryQueryResponse"),
    f"GET {ACCOUNT}/access/service_tokens": Model("zero_trust.access.ServiceToken", many=True),
    "GET /zones": Model("zones.Zone", many=True),
    "GET /zones/{zone}/workers/routes": Model("workers.RouteListResponse", many=True),
    "POST /zones/{zone}/workers/routes": Model("workers.RouteCreateResponse"),
    "PUT /zones/{zone}/workers/routes/{route}": Model("workers.RouteUpdateResponse"),
    "DELETE /zones/{zone}/workers/routes/{route}": Model("workers.RouteDeleteResponse"),
    f"GET {ACCOUNT}/pages/projects": Model("pages.Project", many=True),
    f"GET {PROJECT}": Model("pages.Project"),
    f"GET {PROJECT}/deployments": Model("pages.Deployment", many=True),
    f"POST {PROJECT}/deployments": Model("pages.Deployment"),
    f"GET {PROJECT}/deployments/{{deployment}}": Model("pages.Deployment"),
    f"POST {PROJECT}/deployments/{{deployment}}/rollback": Model("pages.Deployment"),
    f"GET {PROJECT}/upload-token": Model("pages.ProjectGetUploadTokenResponse"),
    "POST /pages/assets/check-missing": Model("pages.AssetCheckMissingResponse", many=True),
    "POST /pages/assets/upload": Model("pages.AssetUploadResponse", whole=True),
    "POST /pages/assets/upsert-hashes": Model("pages.AssetUpsertHashesResponse", whole=True),
    "GET /accounts": Model("accounts.Account", many=True),
    f"GET {ACCOUNT}/d1/database": Model("d1.DatabaseListResponse", many=True),
    f"GET {DATABASE}": Model("d1.D1"),
    f"POST {DATABASE}/query": Model("d1.QueryResult", many=True),
    f"GET {DATABASE}/time_travel/bookmark": Model("d1.database.TimeTravelGetBookmarkResponse"),
    f"POST {DATABASE}/time_travel/restore": Model("d1.database.TimeTravelRestoreResponse"),
    f"GET {BUCKET}/domains/managed": Model("r2.buckets.domains.ManagedListResponse"),
    f"GET {BUCKET}/domains/custom": Model("r2.buckets.domains.CustomListResponse"),
    f"GET {BUCKET}/objects": Model("r2.buckets.ObjectListResponse", many=True),
    f"PUT {BUCKET}/objects/{{key}}": Model("r2.buckets.ObjectUploadResponse"),
    f"GET {ACCOUNT}/storage/kv/namespaces": Model("kv.Namespace", many=True),
    f"POST {NAMESPACE}/bulk/get": Model("kv.namespaces.key_bulk_get_response.WorkersKVBulkGetResult"),
    f"PUT {NAMESPACE}/values/{{key}}": Model("kv.namespaces.ValueUpdateResponse", may_be_null=True),
    f"GET {ACCOUNT}/logs/audit": Model("accounts.logs.AuditListResponse", many=True),
    "GET /user/tokens/verify": Model("user.TokenVerifyResponse"),
    "GET /user/tokens/{token}": Model("shared.Token"),
    f"GET {ACCOUNT}/tokens/{{token}}": Model("shared.Token"),
    f"GET {ACCOUNT}/tokens/verify": Model("accounts.TokenVerifyResponse"),
}
"""Method and route → model of the result in the SDK."""
WITHOUT_MODEL: Mapping[str, str] = {
    "POST /graphql": "the SDK has no GraphQL",
    f"GET {SCRIPT}/content/v2": "a form, which the SDK hands on as bytes",
}
"""Method and route → reason why the SDK has no model."""
EXCUSED: Mapping[str, str] = {
    r"(\w+_deployment\.)?source: null": "a project of Direct Uploads has no source",
    r"values\.ops/\S+: null": "a key that is not there is answered with null",
    r"Version\w+Response\.annotations: not in the model": "wrangler shows message and tag of a version from it",
    r"ScriptUpdateResponse\.deployment_id: not in the model": "wrangler reads the id of the version from it",
    r"D1\.running_in_region: not in the model": "wrangler shows the region of a database from it",
    r"Asset\w+Response\.result: not in the model": "every answer of the API has it in its envelope",
}
"""Problem (a pattern of its whole text) → reason why the sandbox answers it anyway."""


@dataclass(frozen=True)
class Exchange:
    route: str
    response: HttpResponse


class Recording(Sandbox):
    """A sandbox that keeps each successful response of Cloudflare's API."""

    def __init__(self, **options: Any) -> None:
        self.exchanges: list[Exchange] = []
        super().__init__(**options)

    def _answer(self, request: HttpRequest) -> HttpResponse | None:
        response = super()._answer(request)
        if response is not None and response.status < 300 and request.path.startswith("/client/"):
            found = match(request)
            assert found is not None
            self.exchanges.append(Exchange(f"{request.method} {found[0].template}", response))
        return response


def fill(template: str) -> str:
    """Return a path for the route."""
    long = dict.fromkeys(("account", "zone", "namespace", "token"), "0" * 32)
    return re.sub(r"\{(\w+)\}", lambda found: long.get(found[1], "0" * 36), template)


def import_all_reads() -> None:
    """Import all modules of `ops.cloudflare`: each declares its reads when it is imported."""
    for module in pkgutil.iter_modules(ops.cloudflare.__path__):
        importlib.import_module(f"ops.cloudflare.{module.name}")


def readable() -> set[str]:
    """Return the routes of the sandbox that a client may read while it plans."""
    import_all_reads()
    declared = [(verb, pattern) for (verb, _), pattern in DECLARED_READS.items()]
    return {
        f"{each.method} {each.template}"
        for each in ROUTER.routes
        if any(verb == each.method and pattern.fullmatch(fill(each.template)) for verb, pattern in declared)
    }


def problems(exchange: Exchange) -> Iterator[str]:
    """Yield the problems of a response whose route has a model."""
    model = MODELS[exchange.route]
    answer = json.loads(exchange.response.body)
    result = answer if model.whole else answer["result"]
    if model.under:
        assert result.keys() == {model.under}
        result = result[model.under]
    yield from unfit(_type(model), json.dumps(result))


@cache
def _type(model: Model) -> TypeAdapter[Any]:
    found = _model(model.name)
    if empty := getattr(import_module(found.__module__), "ResourcesBindings", None):
        # Pydantic refuses this class, which has no fields. The bindings of the settings are the same, with fields.
        bindings = GenericAlias(list, _model("workers.scripts.script_and_version_setting_get_response.Binding"))
        empty.__get_pydantic_core_schema__ = lambda _, handler: handler.generate_schema(bindings)
    whole: Any = GenericAlias(list, found) if model.many or model.under else found
    return TypeAdapter(whole | None if model.may_be_null else whole)


def _model(dotted: str) -> Any:
    module, _, name = dotted.rpartition(".")
    return getattr(import_module(f"cloudflare.types.{module}"), name)


@cache
def unfit(adapter: TypeAdapter[Any], text: str) -> tuple[str, ...]:
    try:
        value = adapter.validate_json(text, strict=True)
    except ValidationError as error:
        return tuple(f"{_field(each['loc'])}: {_message(each)}" for each in _told(error))
    return tuple(f"{name}: not in the model" for name in _unknown(value))


def _told(error: ValidationError) -> list[Any]:
    """For a union, return only the errors of members whose literals match; the others do not apply."""
    errors = error.errors()
    others = {each["loc"][:-1] for each in errors if each["type"] == "literal_error"}
    meant = [each for each in errors if not any(each["loc"][: len(other)] == other for other in others)]
    return meant or errors


def _message(error: Any) -> str:
    return "null" if error["input"] is None and error["type"] != "missing" else str(error["msg"])


def _field(location: tuple[int | str, ...]) -> str:
    return ".".join(str(step) for step in location if not isinstance(step, int))


def _unknown(value: Any) -> Iterator[str]:
    """Yield model and name of each field that a model does not have."""
    if isinstance(value, BaseModel):
        yield from (f"{type(value).__name__}.{name}" for name in value.model_extra or {})
        value = {name: getattr(value, name) for name in type(value).model_fields}
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from _unknown(each)
