"""Texts of a guard: lines of the command, and the incident of a bad deployment."""

from collections.abc import Iterator
from urllib.parse import urlencode

from ops.cloudflare.types.workers import short_id
from ops.core.clock import format_utc
from ops.core.errors import Reason
from ops.core.names import first_of
from ops.core.sequential_test import ShareVerdict
from ops.watch.guard import GuardResult
from ops.watch.judgment import Metric

INCIDENT_LABELS = ("incident",)


def name_deployment(result: GuardResult) -> str:
    """Return the new versions of the deployment, or the deployment of a site."""
    return " and ".join(map(short_id, result.deployment.versions or (result.deployment.id,)))


def start_line(result: GuardResult) -> str:
    """Return the first line of a guard: the deployment that it judges, and until when."""
    deployment = result.deployment
    where = f"{result.service} in {result.environment}"
    return (
        f"guarding deployment {short_id(deployment.id)} of {where} until {result.state.until:%H:%M} UTC: "
        f"{deployment.text}"
    )


def round_line(result: GuardResult) -> str:
    """Return the line of the command for the latest minute."""
    metrics = [*([result.judgment.probes] if result.judgment.has_probes else []), *result.judgment.rates]
    counted = "; ".join(_describe_metric_counts(each) for each in metrics if each.share.has_counts)
    return f"{format_utc(result.state.seen_at)}  {counted or 'no evidence yet'}"


def _describe_metric_counts(metric: Metric) -> str:
    share = metric.share
    return f"{metric.name}: {share.failed:,.0f} of {share.total:,.0f} {metric.unit} failed"


def guard_headline(result: GuardResult) -> str:
    where, name = f"{result.service} in {result.environment}", name_deployment(result)
    texts = {
        Reason.GOOD_DEPLOYMENT: f"{where}: {name} is good",
        Reason.BAD_DEPLOYMENT: f"{where}: {name} is bad: {result.judgment.cause}",
        Reason.NO_EVIDENCE: f"{where}: nothing shows whether {name} is good",
        Reason.REPLACED: f"{where}: another deployment is live: {result.deployment.replacement}",
        Reason.ALREADY_STEPPED_BACK: f"{where}: {name} was already rolled back: {result.deployment.replacement}",
    }
    return texts[result.reason] if result.reason else start_line(result)


def detail_lines(result: GuardResult) -> Iterator[str]:
    """Yield the counts, with the shares that are good and bad, and the missing data."""
    if result.judgment.has_probes:
        yield f"{_describe_metric_counts(result.judgment.probes)}{_describe_limits(result.judgment.probes.share)}"
    else:
        yield "No probe: only Cloudflare's error rates decide"
    for rate in result.judgment.rates:
        yield f"{_describe_metric_counts(rate)}{_describe_limits(rate.share)}"
    if result.deployment.predecessors:
        yield f"Compared with {', '.join(first_of([short_id(each) for each in result.deployment.predecessors]))}"
    yield from (note[:1].upper() + note[1:] for note in result.notes)


def _describe_limits(share: ShareVerdict) -> str:
    good, bad = (f"{100 * limit:.2g} %" for limit in (share.limits.good, share.limits.bad))
    return f"; above {bad} is bad, below {good} is good"


def incident_title(result: GuardResult) -> str:
    return f"Bad deployment of {result.service} in {result.environment}: {name_deployment(result)}"


def incident_symptom(result: GuardResult, job: str) -> str:
    """Return the facts of the incident in one paragraph. `job`: URL of the job that guarded; empty on a laptop."""
    found = f"Found by `ops guard`{f' in {job}' if job else ''}."
    return f"Deployment {short_id(result.deployment.id)}: {result.deployment.text}. {result.judgment.cause}. {found}"


def incident_link(page: str, title: str, body: str) -> str:
    """Return the address of a new issue with this content. `page`: URL of the operations repository."""
    return f"{page}/issues/new?{urlencode({'labels': ','.join(INCIDENT_LABELS), 'title': title, 'body': body})}"
