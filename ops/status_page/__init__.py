"""Build the public status page from the updates of all incidents, and compare it.

The page is a folder of static files without any foreign host: pages, `status.json`, and an Atom feed. Also bring an
update to a page that the team has at a provider.

Examples: mirror_update, find_course, list_provider_components.
"""
