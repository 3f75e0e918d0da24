"""Parse an upload: a multipart form with a part `metadata` and a part per module.

developers.cloudflare.com/workers/configuration/multipart-upload-metadata
"""

import json
import re
from collections.abc import Container, Iterable, Mapping
from io import BytesIO
from typing import Any

from multipart import MultipartError, MultipartParser  # type: ignore[import-untyped]

from sandbox.cloudflare.call import CloudflareRefusal, Fields, fields, invalid, parse
from sandbox.cloudflare.codes import UNREADABLE
from sandbox.cloudflare.pages.state import Asset
from sandbox.cloudflare.workers.state import FakeWorker, Module, WorkerUpload
from sandbox.server import HttpRequest

_METADATA_FIELDS: Fields = {
    "annotations": dict,
    "assets": dict,
    "bindings": list,
    "cache_options": dict,
    "code_update_strategy": dict,
    "compatibility_date": str,
    "compatibility_flags": list,
    "keep_assets": bool,
    "keep_bindings": list,
    "limits": dict,
    "logpush": bool,
    "migrations": dict,
    "observability": dict,
    "package_dependencies": list,
    "placement": dict,
    "tail_consumers": list,
    "usage_model": str,
}
"""Fields for Workers in the module format, without containers and declared exports."""

# Guesses at the exports of the main module, which is not run here.
_HANDLERS = re.compile(r"(?:^|[{,])\s*(?:async\s+)?(email|fetch|queue|scheduled|tail)\s*[(:]", re.MULTILINE)
_EXPORTED = re.compile(r"\bexport\s+default\s*(?=\{)")
_EXPORTED_BY_NAME = re.compile(r"\b([\w$]+)\s+as\s+default\b")
_BRACES = re.compile(r"[{}]|[^{}]+")
_CLASSES = re.compile(r"\bclass\s+(\w+)\s+extends\s+DurableObject\b")


class UploadForm:
    """A validated upload form. Raises CloudflareRefusal if the form is invalid."""

    def __init__(self, request: HttpRequest) -> None:
        parts = form_parts(request)
        metadata = parts.pop("metadata", None)
        if metadata is None:
            raise invalid("body", 'lacks the part "metadata"')
        sent = parse(metadata.content)
        has_only_assets = isinstance(sent, dict) and "assets" in sent and "main_module" not in sent
        required: Fields = {} if has_only_assets else {"main_module": str}
        self.metadata = fields(sent, required=required, optional=_METADATA_FIELDS, at="metadata")
        self.assets = fields(
            self.metadata.get("assets", {}), required={}, optional={"jwt": str, "config": dict}, at="metadata.assets"
        )
        self.modules = tuple(parts.values())
        self.annotations = fields(
            self.metadata.get("annotations", {}),
            required={},
            optional={"workers/message": str, "workers/tag": str},
            at="metadata.annotations",
        )
        self._strict = request.query.get("bindings_inherit") == "strict"

    def upload(self, worker: FakeWorker, *, migration_tag: str | None, assets: Mapping[str, Asset]) -> WorkerUpload:
        """Return the content of a new version, with bindings kept or inherited from the latest version of `worker`.

        `assets` are the previously uploaded files that belong to the token in `assets.jwt`.
        """
        name = self.metadata.get("main_module", "")
        main = next((module for module in self.modules if module.name == name), None)
        if name and main is None:
            raise CloudflareRefusal(10021, f"No such module: {name}.")
        latest = worker.latest.upload if worker.latest else None
        keep = self.metadata.get("keep_bindings", [])
        sent = parse_bindings(self.metadata.get("bindings", []), latest, keep=keep, strict=self._strict)
        bindings, secrets = split_secrets(sent)
        kept = latest if latest and self.metadata.get("keep_assets") and not assets else None
        code = main.content.decode(errors="replace") if main else ""
        return WorkerUpload(
            modules=self.modules,
            main_module=name,
            assets=kept.assets if kept else assets,
            assets_config=kept.assets_config if kept else self.assets.get("config", {}),
            has_assets=kept.has_assets if kept else "jwt" in self.assets,
            bindings=bindings,
            secrets=secrets,
            compatibility_date=self.metadata.get("compatibility_date"),
            compatibility_flags=tuple(self.metadata.get("compatibility_flags", ())),
            limits=self.metadata.get("limits"),
            placement=self.metadata.get("placement"),
            usage_model=self._usage_model(),
            cache_options=self.metadata.get("cache_options"),
            migration_tag=migration_tag,
            handlers=tuple(sorted(set(_HANDLERS.findall(_default_export(code))))),
            durable_objects=tuple(sorted(set(_CLASSES.findall(code)))),
        )

    def _usage_model(self) -> str:
        asked: str = self.metadata.get("usage_model", "standard")
        if asked not in {"standard", "bundled", "unbound"}:
            raise invalid("metadata.usage_model", 'must be "standard", "bundled" or "unbound"')
        return asked


def parse_bindings(
    values: list[Any], latest: WorkerUpload | None, *, keep: Container[str], strict: bool, at: str = "metadata"
) -> list[Mapping[str, Any]]:
    """Return the new bindings, the inherited ones, and those of the latest version with a type in `keep`."""
    sent = [_binding(value, f"{at}.bindings[{index}]") for index, value in enumerate(values)]
    names = {binding["name"] for binding in sent}
    former = _all_bindings(latest) if latest else {}
    kept = [b for name, b in former.items() if b["type"] in keep and name not in names]
    own = [binding for binding in sent if binding["type"] != "inherit"]
    inherited = (_inherit(binding, former, strict=strict) for binding in sent if binding["type"] == "inherit")
    return [*own, *filter(None, inherited), *kept]


_MAX_VARIABLE_BYTES = 5000


def check_variables(upload: WorkerUpload, most: int) -> None:
    """Raise CloudflareRefusal for too many variables and secrets, or a large one.

    developers.cloudflare.com/workers/platform/limits/#environment-variables
    """
    values = {b["name"]: json.dumps(b["json"]) for b in upload.bindings if b["type"] == "json"}
    values |= {b["name"]: b["text"] for b in upload.bindings if b["type"] == "plain_text"} | dict(upload.secrets)
    if len(values) > most:
        raise invalid("metadata.bindings", f"has {len(values)} variables and secrets, and {most} are allowed")
    for name, text in values.items():
        if len(text.encode()) > _MAX_VARIABLE_BYTES:
            raise invalid("metadata.bindings", f"has the variable {name}, which is larger than 5.0 kB")


def split_secrets(bindings: list[Mapping[str, Any]]) -> tuple[tuple[Mapping[str, Any], ...], dict[str, str]]:
    """Return all bindings except secrets, and the values of the secrets by name."""
    secrets = {binding["name"]: binding["text"] for binding in bindings if binding["type"] == "secret_text"}
    return tuple(binding for binding in bindings if binding["type"] != "secret_text"), secrets


def _inherit(
    binding: Mapping[str, Any], former: Mapping[str, Mapping[str, Any]], *, strict: bool
) -> Mapping[str, Any] | None:
    """Return the binding of the latest version; if it is missing, None or, with `strict`, a refusal.

    developers.cloudflare.com/api/resources/workers/subresources/scripts/subresources/versions/methods/create
    """
    if binding.get("version_id", "latest") != "latest":
        raise CloudflareRefusal(10057, f"{binding['name']}: only the literal 'latest' is supported by this API.")
    source = former.get(binding.get("old_name", binding["name"]))
    if source is None and strict:
        raise CloudflareRefusal(10057, f"{binding['name']}: the latest version has no binding to inherit.")
    return source and {**source, "name": binding["name"]}


def form_parts(request: HttpRequest) -> dict[str, Module]:
    """Return the parts of a multipart form by name. Raises CloudflareRefusal if the body is not a form."""
    boundary = request.headers.get_param("boundary")
    if request.headers.get_content_type() != "multipart/form-data" or not isinstance(boundary, str):
        raise CloudflareRefusal(UNREADABLE, "Could not parse your request body: expected multipart/form-data.")
    try:
        return dict(_modules(MultipartParser(BytesIO(request.body), boundary, strict=True)))
    except MultipartError as error:
        raise CloudflareRefusal(UNREADABLE, f"Could not parse your request body: {error}.") from error


def _modules(parser: MultipartParser) -> Iterable[tuple[str, Module]]:
    """Yield part name → module, which is named after the file if the part has a file name."""
    for part in parser:
        name = part.filename or part.name
        yield part.name, Module(name=name, content_type=part.content_type, content=part.raw)
        part.close()


def _binding(value: Any, at: str) -> Mapping[str, Any]:
    """Check the fields common to all types of bindings, and those of texts."""
    if not isinstance(value, dict):
        raise invalid(at, "must be an object")
    common = {name: value[name] for name in ("name", "type") if name in value}
    fields(common, required={"name": str, "type": str}, optional={}, at=at)
    if value["type"] in {"plain_text", "secret_text"}:
        fields(value, required={"name": str, "type": str, "text": str}, optional={}, at=at)
    return value


def _all_bindings(upload: WorkerUpload) -> dict[str, Mapping[str, Any]]:
    secrets = [{"name": name, "type": "secret_text", "text": text} for name, text in upload.secrets.items()]
    return {binding["name"]: binding for binding in [*upload.bindings, *secrets]}


def _default_export(code: str) -> str:
    """Return the object that a module exports by default, without what its braces contain; else the whole code."""
    found = _EXPORTED.search(code)
    if found is None and (name := _EXPORTED_BY_NAME.search(code)):  # as wrangler bundles it
        found = re.search(rf"\b(?:var|let|const)\s+{re.escape(name[1])}\s*=\s*(?=\{{)", code)
    if found is None:
        return code
    depth, kept = 0, ""
    for each in _BRACES.finditer(code, found.end()):
        depth -= each[0] == "}"
        kept += each[0] if depth <= 1 else ""
        depth += each[0] == "{"
        if depth == 0:
            break
    return kept
