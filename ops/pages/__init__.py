"""Identify the live deployment of a site by its content, choose the target.

Examples: identify_live, site_digest, blamed_deployments.
"""
