"""One file for each kind of thing that the API has routes for."""

from sandbox.github.routes import (
    apps,
    collaborators,
    comments,
    commits,
    contents,
    deployments,
    environments,
    events,
    issues,
    labels,
    meta,
    pulls,
    refs,
    runs,
    secrets,
    variables,
    workflows,
)
from sandbox.github.routing import Routes

_MODULES = (
    apps,
    collaborators,
    comments,
    commits,
    contents,
    deployments,
    environments,
    events,
    issues,
    labels,
    meta,
    pulls,
    refs,
    runs,
    secrets,
    variables,
    workflows,
)
ALL = Routes([route for module in _MODULES for route in module.ROUTES.table])
