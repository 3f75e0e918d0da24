"""List, open and close incidents; add notes and laptop runs to one.

Subjects: also the incident of a leaked secret.

Examples: add_note, import_record, report_leak.
"""
