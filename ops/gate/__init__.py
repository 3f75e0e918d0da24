"""Turn a GitHub event into a request with a pass, a refusal or "not for us".

Only the label that was just added selects the recovery, and `ops.yml` defines its meaning. The gate reads no title, no
comment and no other label to select it. An approval selects a request by its hidden record, whose signature the acting
job verifies. From the body it reads only when the incident began, which may only make a run stricter.

Payloads: docs.github.com/webhooks/webhook-events-and-payloads

Subjects: labels, buttons, attempts and who requested, lead, stop, also an event about a leaked secret, cleared of keys.

Examples: read_event, refuse_sender, judge_approval.
"""
