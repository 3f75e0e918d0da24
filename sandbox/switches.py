"""Each unsure fact about Cloudflare and GitHub as a switch. The default is the inconvenient answer."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any


@dataclass(kw_only=True)
class Switches:
    """May be changed while the sandbox runs, from Python or through `POST /sandbox/switches`."""

    deployments_listed: int | None = 10
    """How many deployments a page of GET deployments holds without `per_page`, newest first. None: all of them."""

    deployments_paged: bool = True
    """Whether GET deployments takes `page`, `per_page`, `since` and `until`, as the official SDK has them since 5.8.
    False: it ignores all four."""

    assets_binding_shown: bool = False
    """Whether a version with static assets shows a binding of type `assets`. False: as if its configuration named
    none, which is usual."""

    has_assets_listed: bool = True
    """Whether the list of scripts says `has_assets`. The official SDK has the field, and as optional."""

    deployments_lag_reads: int = 0
    """How many GET deployments after a new deployment still answer the list as it was before. One database keeps
    deployments, and no stale list was ever reported, hence 0."""

    version_visible_after_reads: int = 0
    """How many reads of a version right after its upload answer 404 (100146). Reported for Workers with containers
    only, and wrangler itself cannot take it elsewhere, hence 0."""

    code_update_strategy_answered: bool = False
    """Whether a deployment in an answer shows the `code_update_strategy` that it was created with."""

    migration_tag_before_deploy: bool = False
    """Whether a version shows its `migration_tag` before it was first deployed."""

    forced_rollback_restores_secrets: bool = False
    """Whether a deployment forced past changed secrets (10220) brings back the values of the target version. False:
    the values now in effect stay."""

    secret_edit_ends_split: bool = False
    """Whether a secret can be edited while the latest version serves a part of the traffic: the edit then serves all of
    it. False: refused (10215, in bulk 10214)."""

    content_of_deployed: bool = False
    """Whether the script's content that can be downloaded is that of the version which serves, where another one was
    uploaded since. False: it is the latest upload's."""

    propagation_seconds: float = 1.0
    """For how many seconds of the sandbox's clock the edge goes on serving the former deployment, of a Worker or of
    Pages."""

    edge_challenges_runners: bool = False
    """Whether the edge answers probes with a bot challenge (403, `cf-mitigated: challenge`), as a zone with Bot Fight
    Mode or *Under attack* does to data centers; not at pages.dev and workers.dev. A request passes, as by a WAF skip
    rule, if one of its headers has the value `sandbox-skips-challenge`. Off: most zones challenge no runner."""

    edge_injects_beacon: bool = True
    """Whether a zone puts the script of Web Analytics into the pages of a site. Cloudflare switches it on by itself for
    zones of the free plan, so that is the usual case. Not at pages.dev, which serves the page as it was built."""

    edge_obfuscates_emails: bool = True
    """Whether a zone hides addresses of email in the pages of a site, with another key in each answer. New zones do."""

    edge_detects_bots_by_script: bool = False
    """Whether a zone puts a script of JavaScript detections into each page, another one in each answer. It comes with
    Bot Fight Mode, which is a choice."""

    edge_rocket_loader: bool = False
    """Whether a zone defers the scripts of each page (Rocket Loader), with another key in each answer. A choice."""

    edge_access_before_deployments: bool = False
    """Whether Access stands before the addresses of single deployments (HASH.PROJECT.pages.dev), as its policy for
    previews does. It is a choice."""

    urls_normalized: bool = True
    """Whether the zones normalize incoming URLs before routes are matched: Cloudflare does, unless told not to.
    Adjacent slashes become one all the same."""

    pages_canonical_follows_rollbacks: bool = False
    """Whether the `canonical_deployment` of a Pages project is the one that serves, after a rollback too. False: it is
    the newest successful one of production, as the API's reference words it."""

    pages_canonical_lag_reads: int = 0
    """How many reads of a project after its canonical deployment changed still answer the former one. No stale one was
    ever reported, hence 0."""

    pages_partial_source_taken: bool = False
    """Whether PATCH of a project takes a part of its `source`. False: 400 to anything but the whole object."""

    pages_reads_until_deployed: int = 1
    """How many reads of a new Pages deployment answer that it is still queued."""

    pages_refusal_code: int = 8000000
    """What a rollback to a preview or to a deployment that failed is refused with. No code is documented; 8000000, "an
    unknown error", is also what Pages answers when it may have worked."""

    iflow_models_open: bool = True
    """Whether the provider iflow lists its models without a valid key, so that the list proves nothing of a key."""

    iflow_refuses_with_200: bool = True
    """Whether the provider iflow refuses a key in the body of a 200. False: 401."""

    kv_staleness_seconds: float = 60.0
    """For how many seconds of the sandbox's clock a location goes on seeing what it read of a key in KV, or that there
    was none. Cloudflare says 60 or more."""

    kv_api_staleness_seconds: float = 20.0
    """For how many seconds of the sandbox's clock the API answers the former value of a key after a write. Cloudflare
    calls KV eventually consistent and does not exempt the API (developers.cloudflare.com/kv/concepts/how-kv-works)."""

    kv_writes_per_key_limited: bool = True
    """Whether KV refuses a second write to a key within a second (429)."""

    audit_lag_seconds: float = 60.0
    """How many seconds of the sandbox's clock pass until an entry stands in the audit log."""

    audit_cursor_after: bool = True
    """Whether the audit log names its next page in `result_info.cursors.after`, as Cloudflare's SDKs read it. False: in
    `result_info.cursor`, as its reference says."""

    audit_names_next_page: bool = True
    """Whether the audit log names a next page where there is one."""

    zone_analytics_longest_seconds: int = 86400
    """How wide a question to the requests of a zone may be, in seconds. By the plan; a day is the free one's."""

    zone_analytics_kept_seconds: int = 3 * 86400
    """How far back the requests of a zone reach, in seconds. By the plan, and the free one's number is not known."""

    telemetry_names_what_is_missing: bool = False
    """Whether a group of telemetry's answer names a key that its events have not, with an empty value. False: it is
    left out."""

    auth_error_status: int = 403
    """HTTP status of an authentication error (10000): 403 or 401."""


@dataclass(kw_only=True)
class GitHubSwitches:
    """Those of the local GitHub, to be changed in the same way. The text of a convenient default says why."""

    private: bool = True
    """Whether the repository is private: strangers then have no permission at all, else everybody reads."""

    github_token_reads_permissions: bool = True
    """Whether GITHUB_TOKEN may ask for a collaborator's permission. The endpoint belongs to Metadata (read), which
    every installation token has, hence True; False answers 403."""

    over_long_issue_body_is_refused: bool = False
    """Whether an update of an issue's body beyond the limit answers 422. False: 200, and the old body stays."""

    plan_has_environments: bool = True
    """Whether the plan has environments for this repository. False, as for private repositories on GitHub Free: a job
    that names one gets neither its secrets and variables nor its rules. Most plans have them, hence True."""

    plan_has_reviewers: bool = True
    """Whether the plan has required reviewers. False, as for private repositories below Enterprise: the API refuses
    them, and no job waits. Tests of approvals need them, hence True."""

    actions_may_create_pull_requests: bool = False
    """The setting "Allow GitHub Actions to create and approve pull requests", which is off in a new repository."""

    dispatch_answers_run_details: bool = True
    """Whether a dispatch takes `return_run_details` and answers 200 with the run. github.com documents it, hence True;
    False answers 422 to the field, as an older GitHub Enterprise Server does."""

    enterprise_server: bool = False
    """Whether it is a GitHub Enterprise Server, whose API is below /api/v3. Most are github.com, hence False."""

    host_in_answers: str = ""
    """The host that addresses in answers name, as an Enterprise Server behind a proxy does. "": the host that was
    asked, as github.com does."""


def parse(assignments: Iterable[str]) -> Switches:
    """From `name=value`, the value as JSON. ValueError with a sentence for people."""
    names = [field.name for field in fields(Switches)]
    values = {}
    for assignment in assignments:
        name, _, value = assignment.partition("=")
        if name not in names:
            raise ValueError(f'no switch "{name}"; there are: {", ".join(names)}')
        values[name] = _value(name, value)
    return Switches(**values)


_KINDS = {bool: "true or false", int: "a whole number", float: "a number"}


def _value(name: str, text: str) -> Any:
    """Return the JSON value, of the kind that the switch has by default."""
    default = getattr(Switches(), name)
    kind = type(default)
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    if value is None and "None" in str(Switches.__annotations__[name]):
        return value
    if kind in _KINDS and type(value) is not kind and (kind, type(value)) != (float, int):
        example = f"{name}={json.dumps(default)}"
        raise ValueError(f'the switch {name} takes {_KINDS[kind]}, not "{text[:40]}"; the default is {example}')
    return value
