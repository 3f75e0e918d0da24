"""Measure whether a real account and repository behave as Backout assumes.

Subjects: `ops verify-platform`, table of assumptions, account and resources of a run, checks, report.

Examples: measure_account, sample_edge, delete_leftovers.
"""
