"""All routes of the local GitHub, from the modules of each resource."""

from sandbox.github.actions import deployments_api, runs_api
from sandbox.github.git import commits_api, contents_api, refs_api
from sandbox.github.issues import api as issues_api
from sandbox.github.issues import comments_api, events_api, labels_api
from sandbox.github.pulls import api as pulls_api
from sandbox.github.routing import Routes
from sandbox.github.secrets import api as secrets_api
from sandbox.github.secrets import variables_api
from sandbox.github.users import apps_api, meta_api

_MODULES = (
    apps_api,
    comments_api,
    commits_api,
    contents_api,
    deployments_api,
    events_api,
    issues_api,
    labels_api,
    meta_api,
    pulls_api,
    refs_api,
    runs_api,
    secrets_api,
    variables_api,
)
ALL = Routes([route for module in _MODULES for route in module.ROUTES.table])
