"""Send one request to GitHub's API; read the job, its input, output and log.

Subjects: issues, comments, labels, permissions, secrets, environments, rulesets.

Examples: save_comment, check_permission, mask_command.
"""
