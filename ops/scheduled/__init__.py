"""Runbooks without a button, started by a merge, a schedule or a person on a quiet day.

Subjects: also the limits plan of a pull request; the staging drill with its incident, wait and undo.

Examples: plan_limits, find_notes, windows_to_reopen.
"""
