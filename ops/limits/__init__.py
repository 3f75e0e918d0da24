"""Parse, edit and compare `limits.yml`, and build its value in KV.

Subjects: also a limit with an end (`Temporary`) and a value in KV that a newer version wrote.

Examples: compare_limits, build_patch, render_drift.
"""
