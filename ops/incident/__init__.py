"""List, open and close incidents; add notes and laptop runs to one.

Subjects: also import a run, hand over the lead, and the incident of a leaked secret.

Examples: add_note, import_record, report_leak.
"""
