"""Publish updates, build the public status page from them, and check the served one.

The page is a folder of static files without any foreign host: pages, `status.json`, and an Atom feed. Also bring an
update to a page that the team has at a provider.

Subjects: also its incidents and components, refusals of an update, a page at a provider.

Examples: compose_update, render_site, mirror_update.
"""
