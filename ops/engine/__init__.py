"""Take a plan through the order of every run; `Runbook` and `Context`.

Subjects: also the clients and secret values of a run, the age of a request, the latest start of a job, signals,
suggested commands of a run.

Examples: execute, check_request_age, ignore_signals.
"""
