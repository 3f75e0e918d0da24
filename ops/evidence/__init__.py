"""Build the tables of `ops evidence` from Cloudflare's and GitHub's records.

Examples: collect_evidence, audit_table, describe_outcome.
"""
