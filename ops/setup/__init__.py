"""Set up an operations repository, check it, and generate its files.

Subjects: init with the resources of an account, adopt with its label drill, GitHub environments, doctor with the
`Facts` that it reads, workflows and their release, issue form, labels, on-call card, scaffold of a runbook.

Examples: examine, button_jobs, scaffold.
"""
