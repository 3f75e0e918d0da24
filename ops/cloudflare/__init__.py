"""Send one request to Cloudflare's API and decode the response.

Subjects: also the count of calls, marks in messages, source and upload of `ops-maintenance`; in `types/` the returned
values, their texts and comparisons: versions, splits, routes, the wrangler file of a site, audit records and their
tables.

Examples: list_deployments, paginate_by_cursor, describe_version_changes.
"""
