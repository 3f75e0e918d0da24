"""Judge a Worker's history, choose the target, compare code, reset Durable Objects.

Examples: find_warning_sign, list_fallbacks, find_code_differences.
"""
