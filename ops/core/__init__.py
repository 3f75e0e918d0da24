"""Make, read and describe the values that several packages share.

Subjects: errors, plan, result, hidden record, summary of a run, the application's runtime state, redaction, time,
periods, threads.

Examples: describe_decision, embed_record, parse_runtime_state.
"""
