"""Start a run: build clients from environment variables, choose the only service that fits.

Subjects: it reads `ops.yml` once, finds runbooks by file name too, gives their facts to gate, buttons and recovery
menu, lets a run wait for a second person, compares the approval with the plan, and reads files and account for `ops
hold migrate`.

Examples: register_secrets, find_runbook_file, choose_place.
"""
