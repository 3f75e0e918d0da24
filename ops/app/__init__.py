"""Start a run: build clients from environment variables.

Subjects: it finds runbooks by file name too, and gives their facts to the gate.

Examples: register_secrets, find_runbook_file, may_start_by_label.
"""
