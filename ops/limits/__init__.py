"""Parse, edit and compare `limits.yml`, and build its value in KV.

Examples: compare_limits, build_patch, render_drift.
"""
