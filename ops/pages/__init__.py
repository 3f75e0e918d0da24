"""Identify the live deployment of a site by its content, choose the target.

Subjects: also that deployment for a probe, to compare a cached answer with, and the text of a deployment.

Examples: identify_live, site_digest, blamed_deployments.
"""
