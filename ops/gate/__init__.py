"""A GitHub event becomes a request, a refusal, "not for us", or "malformed". Pure: who may ask is asked elsewhere.

Only the label that was just put on chooses, and `ops.yml` says what it stands for. No title, comment or other label of
the issue is ever looked at, and of the body only when the incident began, which describes and chooses nothing.

Payloads: docs.github.com/webhooks/webhook-events-and-payloads
"""
