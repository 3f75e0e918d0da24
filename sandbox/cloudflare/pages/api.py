"""Pages API: projects, deployments, and rollbacks of production.

developers.cloudflare.com/api/resources/pages/subresources/projects
"""

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, TypeVar

from sandbox.clock import timestamp
from sandbox.cloudflare.call import CloudflareAnswer, CloudflareCall, CloudflareRefusal, Routes, fields, invalid, parse
from sandbox.cloudflare.pages.state import FakePagesDeployment, FakePagesProject, merge_config

T = TypeVar("T")

ROUTES = Routes()
_PROJECTS = "/accounts/{account}/pages/projects"
_PROJECT = _PROJECTS + "/{project}"
_DEPLOYMENTS = _PROJECT + "/deployments"
_DEPLOYMENT = _DEPLOYMENTS + "/{deployment}"
_SETTINGS = {"production_branch": str, "deployment_configs": dict, "source": dict, "build_config": dict}
_SOURCE = {"type": str, "config": dict}
_DEFAULTS = {
    "fail_open": True,
    "always_use_latest_compatibility_date": False,
    "build_image_major_version": 3,
    "compatibility_date": "2026-01-01",
    "compatibility_flags": (),
    "usage_model": "standard",
}
"""Default settings of an environment."""
_STAGES = ("queued", "initialize", "clone_repo", "build", "deploy")


@ROUTES.add("GET", _PROJECTS)
def list_projects(call: CloudflareCall) -> CloudflareAnswer:
    """Return a page of projects, without total counts."""
    projects, info = _page(call, list(call.account.pages.projects.values()), most=10)
    del info["total_count"], info["total_pages"]
    return CloudflareAnswer([_project_to_json(call, project) for project in projects], result_info=info)


@ROUTES.add("POST", _PROJECTS)
def create_project(call: CloudflareCall) -> CloudflareAnswer:
    """Create a project. The body is JSON, although wrangler does not set the content type."""
    body = fields(parse(call.request.body), required={"name": str}, optional=_SETTINGS)
    configs = _configs(body)
    if not re.fullmatch("[a-z0-9](?:[a-z0-9-]{0,56}[a-z0-9])?", body["name"]):
        raise invalid("body.name", "must be 1 to 58 lower case letters, digits and inner hyphens")
    if body["name"] in call.account.pages.projects:
        raise CloudflareRefusal(
            8000002, "A project with this name already exists. Choose a different project name.", status=409
        )
    project = call.account.pages.add_project(
        body["name"],
        production_branch=body.get("production_branch", "production"),
        configs=configs,
    )
    if "source" in body:
        project.source = fields(body["source"], required=_SOURCE, optional={}, at="body.source")
    return CloudflareAnswer(_project_to_json(call, project))


@ROUTES.add("GET", _PROJECT)
def get_project(call: CloudflareCall) -> CloudflareAnswer:
    return CloudflareAnswer(_project_to_json(call, call.project))


@ROUTES.add("PATCH", _PROJECT)
def patch_project(call: CloudflareCall) -> CloudflareAnswer:
    """Change settings. Existing deployments stay unchanged."""
    project = call.project
    body = fields(parse(call.request.body), required={}, optional=_SETTINGS)
    configs = _configs(body)
    if "source" in body:
        project.source = _patched_source(call, project, body["source"])
    project.production_branch = body.get("production_branch", project.production_branch)
    for environment, change in configs.items():
        project.configs[environment] = merge_config(project.configs[environment], change)
    return CloudflareAnswer(_project_to_json(call, project))


@ROUTES.add("DELETE", _PROJECT)
def delete_project(call: CloudflareCall) -> CloudflareAnswer:
    """Delete the project with its deployments. Its answer has no result."""
    # developers.cloudflare.com/api/resources/pages/subresources/projects/methods/delete
    del call.account.pages.projects[call.project.name]
    return CloudflareAnswer(None)


def _configs(body: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    """Return the settings of each environment in `body`, with checked variables."""
    at = "body.deployment_configs"
    known = {"production": dict, "preview": dict}
    configs = fields(body.get("deployment_configs", {}), required={}, optional=known, at=at)
    for environment, config in configs.items():
        for name, variable in (config.get("env_vars") or {}).items():
            if variable is not None:
                texts = {"type": str, "value": str}
                fields(variable, required=texts, optional={}, at=f"{at}.{environment}.env_vars.{name}")
    return configs


def _patched_source(call: CloudflareCall, project: FakePagesProject, change: Mapping[str, Any]) -> dict[str, Any]:
    if project.source is None:
        raise invalid("body.source", "cannot be set: this project takes Direct Uploads")
    fields(change, required={}, optional=_SOURCE, at="body.source")
    config = {**project.source["config"], **change.get("config", {})}
    whole = change.keys() == project.source.keys() and change["config"].keys() == project.source["config"].keys()
    if not whole and not call.account.switches.pages_partial_source_taken:
        raise invalid("body.source", "must be whole")
    return {**project.source, **change, "config": config}


@ROUTES.add("GET", _DEPLOYMENTS)
def list_deployments(call: CloudflareCall) -> CloudflareAnswer:
    """Return the deployments, newest first; of both environments unless the query names one."""
    wanted = call.request.query.get("env")
    if wanted not in {None, "production", "preview"}:
        raise invalid("query.env", "must be production or preview")
    newest_first = [d for d in reversed(call.project.deployments) if wanted in {None, d.environment}]
    rows, info = _page(call, newest_first, most=25)
    return CloudflareAnswer([_deployment_to_json(call.project, deployment) for deployment in rows], result_info=info)


@ROUTES.add("GET", _DEPLOYMENT)
def get_deployment(call: CloudflareCall) -> CloudflareAnswer:
    return CloudflareAnswer(_deployment_to_json(call.project, _find_deployment(call)))


@ROUTES.add("DELETE", _DEPLOYMENT)
def delete_deployment(call: CloudflareCall) -> CloudflareAnswer:
    project, deployment = call.project, _find_deployment(call)
    if deployment is project.live:
        raise CloudflareRefusal(8000034, "Cannot delete active production deployment")
    if deployment.alias and call.request.query.get("force") != "true":
        raise CloudflareRefusal(8000035, "Cannot delete aliased deployment without a `?force=true` query parameter")
    project.deployments.remove(deployment)
    project.promotions = [promotion for promotion in project.promotions if promotion[1] is not deployment]
    return CloudflareAnswer(None)


@ROUTES.add("POST", _DEPLOYMENT + "/rollback")
def rollback(call: CloudflareCall) -> CloudflareAnswer:
    """Make a deployment live, at once and without a build. The target may be newer than the live deployment.

    developers.cloudflare.com/pages/configuration/rollbacks
    """
    project, deployment = call.project, _find_deployment(call)
    if not deployment.may_serve_production or deployment.queued_reads:
        raise _refusal(call, "Only a successful deployment of production can be rolled back to.")
    call.account.pages.rollback(project.name, deployment.id)
    return CloudflareAnswer(_deployment_to_json(project, deployment))


@ROUTES.add("POST", _DEPLOYMENT + "/retry")
def retry(call: CloudflareCall) -> CloudflareAnswer:
    """Build the same commit again as a new deployment; only for Git projects."""
    project, old = call.project, _find_deployment(call)
    if project.source is None:
        raise _refusal(call, "Only a deployment that was built from Git can be retried.")
    pages = call.account.pages
    new_id = pages.add_deployment(
        project.name,
        files=old.files,
        commit=old.commit_hash,
        message=old.commit_message,
        branch=old.branch,
        environment=old.environment,
        rules=old.rules,
    )
    return CloudflareAnswer(queued_deployment(call, new_id))


@ROUTES.add("GET", _DEPLOYMENT + "/history/logs")
def get_logs(call: CloudflareCall) -> CloudflareAnswer:
    deployment = _find_deployment(call)
    data = [{"ts": timestamp(deployment.created_on), "line": deployment.log}]
    return CloudflareAnswer({"total": len(data), "includes_container_logs": False, "data": data})


def queued_deployment(call: CloudflareCall, deployment_id: str) -> dict[str, Any]:
    """Return the answer to a request that created a deployment, which is still queued."""
    deployment = call.project.deployment(deployment_id)
    assert deployment is not None
    deployment.queued_reads = call.account.switches.pages_reads_until_deployed
    return _to_json(call.project, deployment, "queued", "active" if deployment.queued_reads else "success")


def _find_deployment(call: CloudflareCall) -> FakePagesDeployment:
    deployment = call.project.deployment(call.parameters["deployment"])
    if deployment is None:
        message = "The deployment ID you have specified does not exist. Update the deployment ID and try again."
        raise CloudflareRefusal(8000009, message, status=404)
    return deployment


def _refusal(call: CloudflareCall, message: str) -> CloudflareRefusal:
    code = call.account.switches.pages_refusal_code
    return CloudflareRefusal(code, "An unknown error occurred" if code == 8000000 else message)


def _page(call: CloudflareCall, rows: Sequence[T], *, most: int) -> tuple[Sequence[T], dict[str, Any]]:
    try:
        page, size = (int(call.request.query.get(name, default)) for name, default in (("page", 1), ("per_page", most)))
    except ValueError:
        page = size = 0
    if page < 1 or not 1 <= size <= most:
        raise CloudflareRefusal(8000024, "Invalid list options provided. Review the `page` or `per_page` parameter.")
    part = rows[(page - 1) * size : page * size]
    pages = -(-len(rows) // size)
    info = {"page": page, "per_page": size, "count": len(part), "total_count": len(rows), "total_pages": pages}
    return part, info


def _project_to_json(call: CloudflareCall, project: FakePagesProject) -> dict[str, Any]:
    latest = project.deployments[-1] if project.deployments else None
    canonical = call.account.pages.canonical(project)
    return {
        "id": project.id,
        "name": project.name,
        "subdomain": project.subdomain,
        "domains": [project.subdomain, *project.domains],
        "created_on": timestamp(project.created_on),
        "production_branch": project.production_branch,
        "production_script_name": f"pages-worker--{project.id[:8]}-production",
        "preview_script_name": f"pages-worker--{project.id[:8]}-preview",
        "framework": "",
        "framework_version": "",
        "uses_functions": bool(latest and latest.uses_functions),
        "source": project.source,
        "build_config": {},
        "canonical_deployment": _deployment_to_json(project, canonical) if canonical else None,
        "latest_deployment": _deployment_to_json(project, latest) if latest else None,
        "deployment_configs": {name: {**_DEFAULTS, **config} for name, config in project.configs.items()},
    }


def _deployment_to_json(project: FakePagesProject, deployment: FakePagesDeployment) -> dict[str, Any]:
    """Return the deployment as the API does; each call counts as a read."""
    if deployment.queued_reads:
        deployment.queued_reads -= 1
        return _to_json(project, deployment, "queued", "active")
    failed_in_build = deployment.status == "failure" and deployment.trigger == "github:push"
    return _to_json(project, deployment, "build" if failed_in_build else "deploy", deployment.status)


def _to_json(project: FakePagesProject, deployment: FakePagesDeployment, stage: str, status: str) -> dict[str, Any]:
    stages = _stages(deployment, stage, status)
    return {
        "id": deployment.id,
        "short_id": deployment.short_id,
        "project_id": project.id,
        "project_name": project.name,
        "environment": deployment.environment,
        "url": deployment.url,
        "aliases": [deployment.alias] if deployment.alias else None,
        "created_on": timestamp(deployment.created_on),
        "modified_on": timestamp(deployment.created_on + timedelta(seconds=len(_STAGES))),
        "latest_stage": next(each for each in stages if each["name"] == stage),
        "stages": stages,
        "deployment_trigger": {
            "type": deployment.trigger,
            "metadata": {
                "branch": deployment.branch,
                "commit_hash": deployment.commit_hash,
                "commit_message": deployment.commit_message,
                "commit_dirty": deployment.commit_dirty,
            },
        },
        "env_vars": deployment.env_vars,
        "is_skipped": deployment.status == "skipped",
        "uses_functions": deployment.uses_functions,
        "source": project.source,
        "build_config": {},
    }


def _stages(deployment: FakePagesDeployment, last: str, status: str) -> list[dict[str, Any]]:
    """Return the stages, one second each. Stages after `last` have not started."""
    stages: list[dict[str, Any]] = []
    for number, name in enumerate(_STAGES):
        begun, is_last = number <= _STAGES.index(last), name == last
        ended = begun and not (is_last and status == "active")
        started_on, ended_on = (deployment.created_on + timedelta(seconds=number + after) for after in (0, 1))
        stages.append(
            {
                "name": name,
                "started_on": timestamp(started_on) if begun else None,
                "ended_on": timestamp(ended_on) if ended else None,
                "status": status if is_last else "success" if begun else "idle",
            }
        )
    return stages
