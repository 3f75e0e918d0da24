"""Measure on a real account whether Cloudflare behaves as Backout assumes.

Subjects: `ops verify-platform`, table of assumptions, resources of a run, checks, report.

Examples: measure_account, sample_edge, delete_leftovers.
"""
