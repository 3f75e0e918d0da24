"""Make, read and describe the values that several packages share.

Subjects: errors of a run, verdicts, plan, result, hidden record, summary of a run, state of an incident by its records,
approval with its signature and greatest loss, owners of a state, result and next date of drills, the application's
runtime state, judgment of a metric or outage, read-only SQL, folder and pattern of migrations, suggested names and
steps, public updates and standard texts, a standing rollback, redaction of known secrets, checks of API URLs and
tokens, time, periods, threads.

Examples: describe_decision, embed_record, parse_runtime_state.
"""
