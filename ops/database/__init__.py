"""Choose the point of a D1 restore, settle a lost answer, and check the data.

Subjects: also the rows that a restore loses, tokens of a statement, and apply, guard, take back and hold migrations.

Examples: parse_restore_point, check_restore, run_checks.
"""
