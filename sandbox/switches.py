"""Switches for unconfirmed facts about Cloudflare and GitHub.

Each default is the behavior that is harder for a client.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any, Literal

GitHubPlan = Literal["free", "team", "enterprise"]


@dataclass(kw_only=True)
class Switches:
    """Can be changed while the sandbox runs, from Python or through `POST /sandbox/switches`."""

    deployments_listed: int | None = 10
    """Number of deployments on a page of GET deployments without `per_page`, newest first. None: all of them."""

    deployments_paged: bool = True
    """Whether GET deployments accepts `page`, `per_page`, `since` and `until`, as the official SDK has since 5.8.
    False: it ignores all four."""

    assets_binding_shown: bool = False
    """Whether a version with static assets shows a binding of type `assets`. False: as if its configuration named no
    binding, which is common."""

    has_assets_listed: bool = True
    """Whether the list of scripts has `has_assets` and `routes`. The official SDK has both fields as optional."""

    deployments_lag_reads: int = 0
    """Number of GET deployments after a new deployment that still return the previous list. Deployments are kept in one
    database and no stale list was ever reported, hence 0."""

    version_visible_after_reads: int = 0
    """Number of reads of a version right after its upload that answer 404 (100146). Reported only for Workers with
    containers, and wrangler itself fails on it elsewhere, hence 0."""

    code_update_strategy_answered: bool = False
    """Whether a deployment in a response shows the `code_update_strategy` that it was created with."""

    migration_tag_before_deploy: bool = False
    """Whether a version shows its `migration_tag` before its first deployment."""

    forced_rollback_restores_secrets: bool = False
    """Whether a deployment forced past changed secrets (10220) restores the values of the target version. False: the
    current values stay."""

    secrets_checked_without_traffic: bool = False
    """Whether a deployment is refused for changed secrets (10220) of a version at 0 % too. False: only of a version
    with traffic, so the check would come after a rehearsal."""

    calls_per_five_minutes: int | None = 1200
    """Most calls of the Cloudflare API that all tokens of a user may make in five minutes of the sandbox's clock. One
    more is refused (429), and so is each call of the next five minutes. None: no limit."""

    variables_per_worker: int = 64
    """Most variables and secrets of a Worker. 64 is Workers Free, and 128 Workers Paid
    (developers.cloudflare.com/workers/platform/limits)."""

    secret_edit_ends_split: bool = False
    """Whether a secret can be edited while the latest version serves a part of the traffic: the edit then serves all of
    it. False: refused (10215, in bulk 10214)."""

    content_of_deployed: bool = False
    """Whether a download of the script's content returns the live version if another one was uploaded since. False: it
    returns the latest upload."""

    propagation_seconds: float = 1.0
    """Seconds of the sandbox's clock until the last machine of the first data center, FRA, serves a new deployment of a
    Worker. Its first machine changes after a quarter of that; other data centers follow one after the other."""

    pages_propagation_seconds: float = 30.0
    """The same for the addresses of a Pages site.
    Custom domains were stale for 15 seconds to five minutes (github.com/SlopDotCash/slopdotcash/issues/86,
    github.com/langx/langx/issues/1211)."""

    edge_machines_differ: bool = True
    """Whether the machines of a data center change one after the other, and each request reaches another one. False:
    all change with the last one."""

    edge_place: str = "FRA"
    """Airport code of the data center that clients reach. Each response names it at the end of `cf-ray`."""

    edge_challenges_runners: bool = False
    """Whether the edge answers probes with a bot challenge (403, `cf-mitigated: challenge`), as a zone with Bot Fight
    Mode or *Under attack* does for data centers; not on pages.dev and workers.dev. A request passes, as with a WAF
    skip rule, if one of its headers has the value `sandbox-skips-challenge`. Off: most zones do not challenge
    runners."""

    edge_injects_beacon: bool = True
    """Whether a zone injects the Web Analytics script into the pages of a site. Cloudflare turns it on by default for
    zones of the free plan, so this is the common case. Not on pages.dev, which serves the page as it was built."""

    edge_obfuscates_emails: bool = True
    """Whether a zone hides email addresses in the pages of a site, with another key in each response. New zones do."""

    edge_detects_bots_by_script: bool = False
    """Whether a zone injects a JavaScript detections script into each page, different in each response. Part of Bot
    Fight Mode, which is off by default."""

    edge_rocket_loader: bool = False
    """Whether a zone defers the scripts of each page (Rocket Loader), with another key in each response. Off by
    default."""

    static_files_answer_hit: bool = True
    """Whether each file of a site, or of a Worker's static assets, answers `cf-cache-status: HIT` without an age, also
    right after a deployment. Workers send it if the file was read within 100 ms
    (github.com/cloudflare/workers-sdk/pull/8373); for Pages nothing is documented."""

    edge_access_refuses: bool = False
    """Whether Access refuses a request without a valid service token (403), with the headers `cf-access-domain` and
    `cf-access-aud`. False: it redirects to the team's login, also if the token has expired
    (github.com/stefanko-ch/Nexus-Stack/issues/893)."""

    edge_access_before_deployments: bool = False
    """Whether Access protects the addresses of single deployments (HASH.PROJECT.pages.dev), as its policy for previews
    does. Off by default."""

    urls_normalized: bool = True
    """Whether zones normalize incoming URLs before they match routes. Cloudflare does by default. False: adjacent
    slashes are still merged."""

    route_precedes_pages_domain: bool = False
    """Whether a route of a zone precedes the custom domain of a Pages site. Documented for the custom domains of
    Workers only (developers.cloudflare.com/workers/configuration/routing/custom-domains)."""

    pages_canonical_follows_rollbacks: bool = False
    """Whether the `canonical_deployment` of a Pages project is the live one, also after a rollback. False: it is the
    newest successful production deployment, as the API reference words it."""

    pages_canonical_lag_reads: int = 0
    """Number of reads of a project after its canonical deployment changed that still return the previous one. No stale
    read was ever reported, hence 0."""

    pages_partial_source_taken: bool = False
    """Whether PATCH of a project accepts a part of its `source`. False: 400 for anything but the whole object."""

    pages_reads_until_deployed: int = 1
    """Number of reads of a new Pages deployment that report it as queued."""

    pages_refusal_code: int = 8000000
    """Error code for a rollback to a preview or to a failed deployment. No code is documented; 8000000, "an unknown
    error", is also the answer of Pages when the change may have worked."""

    iflow_models_open: bool = True
    """Whether the provider iflow lists its models without a valid key, so that the list proves nothing about a key."""

    iflow_refuses_with_200: bool = True
    """Whether the provider iflow rejects a key in the body of a 200. False: 401."""

    kv_staleness_seconds: float = 60.0
    """Seconds of the sandbox's clock during which a location still sees its last read of a KV key, also a missing
    value. Cloudflare says 60 or more."""

    kv_api_staleness_seconds: float = 20.0
    """Seconds of the sandbox's clock during which the API returns the previous value of a key after a write. Cloudflare
    calls KV eventually consistent and does not exempt the API (developers.cloudflare.com/kv/concepts/how-kv-works)."""

    kv_writes_per_key_limited: bool = True
    """Whether KV refuses a second write to a key within a second (429)."""

    audit_lag_seconds: float = 60.0
    """Seconds of the sandbox's clock until an entry appears in the audit log."""

    audit_cursor_after: bool = True
    """Whether the audit log names its next page in `result_info.cursors.after`, as Cloudflare's SDKs read it. False: in
    `result_info.cursor`, as its reference says."""

    audit_names_next_page: bool = True
    """Whether the audit log names the next page if there is one."""

    analytics_delay_seconds: float = 240.0
    """Seconds of the sandbox's clock until the GraphQL analytics show all traffic of the edge. Single requests appear
    earlier, so the last minutes are incomplete. 0: at once. Cloudflare names no bound."""

    analytics_sample_interval: int = 10
    """Number of requests that one sample stands for, beyond the first 100 equal requests of a minute. 1: the analytics
    count each request (developers.cloudflare.com/analytics/graphql-api/sampling)."""

    analytics_down: bool = False
    """Whether each GraphQL query fails with an internal error (HTTP 200, as all errors of GraphQL)."""

    analytics_empty: bool = False
    """Whether the GraphQL analytics have no rows, as for traffic that they do not know."""

    worker_analytics_longest_seconds: int = 31 * 86400
    """Maximum time range of a query for the invocations of Workers, in seconds. "One month"
    (developers.cloudflare.com/analytics/graphql-api/tutorials/querying-workers-metrics)."""

    worker_analytics_kept_seconds: int = 91 * 86400
    """Maximum age of the invocations of Workers in a query, in seconds. "Three months"."""

    status_pages_unreachable: bool = False
    """Whether the status pages of Cloudflare and GitHub answer 503."""

    status_pages_delay_seconds: float = 0.0
    """Seconds by this machine's clock until a status page answers."""

    status_pages_lag_seconds: float = 1200.0
    """Seconds of the sandbox's clock until a status page shows a scripted incident and its end. Tens of minutes were
    observed."""

    status_pages_contradict: bool = False
    """Whether a status page shows no trouble during an incident, and an outage of one component otherwise."""

    statuspage_limit_status: int = 420
    """HTTP status of a request to Atlassian Statuspage beyond its rate limit. Its API document says 420 or 429
    (developer.statuspage.io)."""

    statuspage_metadata_merged: bool = False
    """Whether an update of an incident on Atlassian Statuspage keeps the keys of `metadata` that it does not name."""

    status_page_oldest_first: bool = True
    """Whether Atlassian Statuspage and Instatus list the oldest incidents first. Neither documents an order."""

    zone_analytics_longest_seconds: int = 86400
    """Maximum time range of a query for the requests of a zone, in seconds. Depends on the plan; a day is the free
    plan's."""

    zone_analytics_kept_seconds: int = 3 * 86400
    """Maximum age of the requests of a zone in a query, in seconds. Depends on the plan; the free plan's value is not
    known."""

    telemetry_names_what_is_missing: bool = False
    """Whether a telemetry group has keys that are missing in its events, with an empty value. False: they are left
    out."""

    telemetry_read_is_enough: bool = False
    """Whether Workers Observability Read is enough for a telemetry query. False: it needs Workers Observability Write,
    as Cloudflare's reference and four public projects say; others use Read."""

    d1_time_travel_days: int = 7
    """Days that Time Travel of D1 reaches back. Depends on the plan: 7 days is Free, 30 is Workers Paid."""

    d1_later_bookmarks_kept: bool = False
    """Whether a bookmark between the target of a D1 restore and the restore can be restored afterwards. Cloudflare says
    that a restore deletes no *older* bookmarks. False: only the state right before the restore remains."""

    d1_bookmark_shows_restore: bool = False
    """Whether D1 names a new bookmark as the current one after a restore. False: the one from before the restore, until
    the next write."""

    d1_stale_reads: int = 0
    """Number of D1 queries through the API that still read the state before a write or restore. Queries outside of a
    session go to the primary, hence 0 (developers.cloudflare.com/d1/best-practices/read-replication)."""

    d1_replica_lag_seconds: float = 5.0
    """Seconds of the sandbox's clock that a D1 replica lags. Only sessions of Workers read replicas, and only of a
    database with read replication."""

    d1_read_is_enough: bool = False
    """Whether D1 Read is enough for a D1 query that only reads, and for bookmarks, as their pages say
    (developers.cloudflare.com/api/resources/d1/subresources/database/methods/query). False: both need D1 Write."""

    auth_error_status: int = 403
    """HTTP status of an authentication error (10000): 403 or 401."""


@dataclass(kw_only=True)
class GitHubSwitches:
    """Switches of the local GitHub. They can be changed in the same way.

    The text of each default that is easier for a client gives the reason.
    """

    private: bool = True
    """Whether the repository is private: strangers have no permission at all. False: everybody can read it."""

    github_token_reads_permissions: bool = True
    """Whether GITHUB_TOKEN can read a collaborator's permission. The endpoint belongs to Metadata (read), which every
    installation token has, hence True; False answers 403."""

    over_long_issue_body_is_refused: bool = False
    """Whether an update of an issue body beyond the size limit answers 422. False: 200, and the old body stays."""

    lists_lag_seconds: float = 2.0
    """Seconds of the sandbox's clock during which lists of issues, comments, events and labels lack what the API
    created, until a job starts. GitHub documents no read-after-write consistency [unsure: list-lag]. A list of comments
    lacked a new one (github.com/kamp-us/phoenix/pull/9102); others call these lists "immediately consistent"
    (github.com/Tracer-Cloud/opensre/pull/5269). Two processes that create the same at the same moment do not see each
    other while lists are behind."""

    content_writes_per_minute: int = 80
    """Most writes of issues, comments, labels and pull requests of a user in a minute of the sandbox's clock
    (docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api#about-secondary-rate-limits). The page does
    not say which requests count [unsure: content-limit], so each write does."""

    content_writes_per_hour: int = 500
    """The same in an hour."""

    content_limit_status: int = 403
    """HTTP status of a write beyond both limits: 403 or 429. Without `Retry-After`, which "may" be there."""

    plan: GitHubPlan = "free"
    """GitHub plan of the repository's owner; `team` also stands for Pro. Most new owners are on Free, whose private
    repositories have the least. An Enterprise Server has everything."""

    free_plan_creates_environments: bool = True
    """Whether an environment without rules can be created on a plan without environments, as reported in
    github.com/integrations/terraform-provider-github/issues/1311. False: 404."""

    free_plan_lists_branch_rules: bool = True
    """Whether the rules of a branch are an empty list on a plan without rulesets. False: 403, as for the rulesets
    themselves. Neither is documented."""

    mergeable_is_known: bool = True
    """Whether GitHub has computed `mergeable`. False: it is null, as for some seconds after each push to either branch
    (docs.github.com/rest/pulls/pulls#get-a-pull-request)."""

    actions_may_create_pull_requests: bool = False
    """The setting "Allow GitHub Actions to create and approve pull requests", which is off in a new repository."""

    dispatch_answers_run_details: bool = True
    """Whether a dispatch accepts `return_run_details` and answers 200 with the run. github.com documents it, hence
    True; False answers 422 to the field, as an older GitHub Enterprise Server does."""

    cancel_ends_calls: bool = True
    """Whether a cancel of a run also ends jobs of a called workflow with `always()`, if the `if` of the calling job is
    not true then. Not documented; so the calling job needs `always()` too."""

    waiting_job_cancel_runs_always: bool = True
    """Whether the `always()` jobs of a cancelled run also run if one of its jobs waits for a concurrency group. The
    page on cancellation excludes no state of a job, hence True
    (docs.github.com/actions/reference/workflows-and-actions/workflow-cancellation)."""

    called_names_have_caller: bool = True
    """Whether the API names the jobs of a called workflow `caller / job`, as the pages of runs do
    (github.com/8398a7/action-slack/issues/183). False: by the name of the job alone."""

    refused_run_conclusion: Literal["startup_failure", "failure"] = "startup_failure"
    """Conclusion of a run whose files GitHub refuses; both were seen (github.com/z-shell/.github/issues/575,
    github.com/jmgirard/circumplex/pull/131)."""

    refused_run_has_title: bool = False
    """Whether such a run has the title of `run-name`. False: the path of its file
    (github.com/z-shell/.github/issues/575)."""

    dispatch_checks_files: bool = True
    """Whether a dispatch by the API of such a file answers 422 and starts no run, as reported for an expression that is
    too long (github.com/DOS/DOScan/pull/136), hence True. False: there is a run without a job."""

    runs_kept_days: float = 90.0
    """Days of the sandbox's clock after which GitHub deletes a workflow run: the retention of the repository, 90 by
    default and one at least
    (github.blog/changelog/2026-08-27-actions-retention-will-cover-checks-workflow-runs-and-statuses)."""

    artifacts_lag_reads: int = 0
    """Number of reads of a run's artifacts that do not show them yet. Upload v4 and later lists an artifact at once
    (docs of actions/upload-artifact), hence 0."""

    pages_cache_seconds: float = 600.0
    """Seconds of the sandbox's clock for which GitHub Pages serves an answer again, also after a deployment. Its
    answers have `max-age=600`."""

    pages_cache_ignores_query: bool = False
    """Whether that cache serves one answer for all queries of a path. No report of it is known, hence False."""

    pages_deployment_reads: int = 3
    """Number of reads of a Pages deployment that say that it goes on, before one says that it succeeded."""

    enterprise_server: bool = False
    """Whether it is a GitHub Enterprise Server, whose API is below /api/v3. Most installations use github.com, hence
    False."""

    host_in_answers: str = ""
    """Host in the addresses of a response, as an Enterprise Server behind a proxy sets it. "": the host of the request,
    as on github.com."""

    @property
    def has_environments(self) -> bool:
        """Whether rules, secrets and variables of environments work, and rulesets exist.

        False for private repositories on Free: a job that names an environment gets neither its secrets nor its rules.
        docs.github.com/actions/reference/workflows-and-actions/deployments-and-environments,
        docs.github.com/repositories/configuring-branches-and-merges-in-your-repository/managing-rulesets/about-rulesets
        """
        return self.enterprise_server or not self.private or self.plan != "free"

    @property
    def has_reviewers(self) -> bool:
        """Whether environments can have required reviewers; in private repositories on Enterprise only."""
        return self.enterprise_server or not self.private or self.plan == "enterprise"


def parse(assignments: Iterable[str]) -> Switches:
    """Parse `name=value` assignments, each value as JSON.

    Raises:
        ValueError: a name or value is invalid; the message is for people.
    """
    return Switches(**parse_values(assignments, Switches()))


def parse_values(assignments: Iterable[str], defaults: Switches | GitHubSwitches) -> dict[str, Any]:
    """Return name → value of the assignments. Raises ValueError."""
    names = [field.name for field in fields(defaults)]
    values = {}
    for assignment in assignments:
        name, _, value = assignment.partition("=")
        if name not in names:
            raise ValueError(f'no switch "{name}"; choose from: {", ".join(names)}')
        values[name] = _parse_value(name, value, defaults)
    return values


_TYPE_NAMES = {bool: "true or false", int: "a whole number", float: "a number"}


def _parse_value(name: str, text: str, defaults: Switches | GitHubSwitches) -> Any:
    """Return the JSON value, with the type of the switch's default.

    Raises:
        ValueError: the value has another type.
    """
    default = getattr(defaults, name)
    kind = type(default)
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    if value is None and "None" in str(type(defaults).__annotations__[name]):
        return value
    if kind in _TYPE_NAMES and type(value) is not kind and (kind, type(value)) != (float, int):
        example = f"{name}={json.dumps(default)}"
        raise ValueError(f'the switch {name} takes {_TYPE_NAMES[kind]}, not "{text[:40]}"; the default is {example}')
    return value
