"""Close an incident, and write the post-incident issue: times, rows, questions.

Subjects: also the evidence of that incident, read from GitHub: timeline, workflow runs, commits.

Examples: find_moments, build_rows, close_incident.
"""
