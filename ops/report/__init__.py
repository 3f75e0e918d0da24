"""Close an incident, and write the post-incident issue: times, rows, questions.

Examples: find_moments, build_rows, close_incident.
"""
