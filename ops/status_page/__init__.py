"""Build the public status page from the updates of all incidents, and check the served one.

The page is a folder of static files without any foreign host: pages, `status.json`, and an Atom feed. Also bring an
update to a page that the team has at a provider.

Examples: fold_updates, render_site, mirror_update.
"""
