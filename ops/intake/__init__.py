"""A GitHub event becomes a request, a refusal, "not for us", or "malformed". Pure: who may ask is asked elsewhere.

Only the label that was just put on chooses, and `ops.yml` says what it stands for. No title, comment or other label of
the issue is ever looked at, and of the body only when the incident began, which describes and chooses nothing.

Payloads: docs.github.com/webhooks/webhook-events-and-payloads
"""

from ops.intake.events import read
from ops.intake.form import began, form, stated
from ops.intake.refusals import closed_incident, not_an_incident
from ops.intake.values import Job, Malformed, NotForUs, Outcome, Refusal, ReportDue, Request

__all__ = [
    "Job",
    "Malformed",
    "NotForUs",
    "Outcome",
    "Refusal",
    "ReportDue",
    "Request",
    "began",
    "closed_incident",
    "form",
    "not_an_incident",
    "read",
    "stated",
]
