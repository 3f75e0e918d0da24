"""Select secrets, check new and old values, plan their writes to Workers and GitHub.

Examples: select_secrets, check_values, plan_github_copies.
"""
