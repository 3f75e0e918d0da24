"""Close an incident, and write the post-incident issue: times, rows, questions.

Subjects: also its evidence, read from GitHub (timeline, workflow runs, commits), and the comment with its state.

Examples: find_moments, build_rows, close_incident.
"""
