"""Send one request to Cloudflare's API and decode the response.

Subjects: in `types/` the returned values, their texts and comparisons: versions, splits, routes, audit
records.

Examples: list_deployments, paginate_by_cursor, describe_version_changes.
"""
