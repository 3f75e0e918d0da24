"""Send one request to GitHub's API; read the job, its input, output and log.

Subjects: issues and their titles, the incident form, comments, labels, permissions, approvals, protection and plan,
what a token may do, secrets, environments, rulesets, pull requests, committed files.

Examples: save_comment, check_permission, mask_command.
"""
