"""Choose the point of a D1 restore, settle a lost answer, and check the data.

Subjects: also apply, take back and hold migrations.

Examples: parse_restore_point, check_restore, run_checks.
"""
