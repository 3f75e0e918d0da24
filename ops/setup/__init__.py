"""Set up an operations repository, check it, and generate its files.

Subjects: init, GitHub environments, doctor, workflows, issue form, labels, scaffold of a runbook.

Examples: examine, button_jobs, scaffold.
"""
