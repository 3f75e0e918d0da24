"""Choose routes to close and reopen, merge states of maintenance mode.

Examples: choose_routes, merge_states, find_orphans.
"""
