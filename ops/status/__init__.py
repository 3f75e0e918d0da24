"""Read and show the current state, the versions of a service and the newest runs.

Examples: read_status, switch_lines, orphan_lines.
"""
