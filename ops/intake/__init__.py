"""A GitHub event becomes a request, a refusal, "not for us", or "malformed". Pure: who may ask is asked elsewhere.

Only the label that was just put on chooses, and `ops.yml` says what it stands for. No title, body, comment or other
label of the issue is ever looked at. Payloads: docs.github.com/webhooks/webhook-events-and-payloads
"""

from ops.intake.events import read
from ops.intake.form import form
from ops.intake.values import Job, Malformed, NotForUs, Outcome, Refusal, ReportDue, Request

__all__ = ["Job", "Malformed", "NotForUs", "Outcome", "Refusal", "ReportDue", "Request", "form", "read"]
