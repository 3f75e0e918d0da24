"""One procedure per file = one command = one button.

Examples: preflight, check, apply.
"""
