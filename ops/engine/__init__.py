"""Take a plan through the order of every run; `Runbook` and `Context`.

Examples: execute, check_request_age, ignore_signals.
"""
