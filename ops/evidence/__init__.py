"""Build tables of Cloudflare's and GitHub's records.

Examples: collect_evidence, audit_table, describe_outcome.
"""
