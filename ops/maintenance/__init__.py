"""Choose routes to close and reopen, merge states of maintenance mode.

Subjects: also the steps of each change to the Worker `ops-maintenance` and its routes: read, check, apply.

Examples: choose_routes, merge_states, find_orphans.
"""
