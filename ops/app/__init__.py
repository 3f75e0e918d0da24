"""Start a run: build clients from environment variables, choose the only service that fits.

Subjects: it finds runbooks by file name too, and gives their facts to gate, buttons and recovery menu.

Examples: register_secrets, find_runbook_file, choose_place.
"""
