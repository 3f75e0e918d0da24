"""Read and show the current state, the versions of a service and the newest runs.

Subjects: also the signs of an outage, and the recovery menu with them.

Examples: read_status, list_held_states, orphan_lines.
"""
