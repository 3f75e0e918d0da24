"""Judge a Worker's history, choose the target, compare code, reset Durable Objects.

Subjects: also releases that can be deployed again, blamed commits, upload a version again, rehearse a rollback, texts
of a rollback plan.

Examples: find_warning_sign, list_fallbacks, find_code_differences.
"""
