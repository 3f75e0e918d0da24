"""Send one request to GitHub's API; read the job, its input, output and log.

Subjects: issues, the incident form, comments, labels, permissions, secrets, environments, rulesets.

Examples: save_comment, check_permission, mask_command.
"""
