"""Make, read and describe the values that several packages share.

Subjects: errors of a run, verdicts with results of probes and contents of pages, plan, result, hidden record, summary
of a run and number of its job, state of an incident by its records, approval with its signature and greatest loss,
owners of a state, result and next date of drills, the application's runtime state, judgment of a metric or outage,
SQL with its tokens and comments, folder and pattern of migrations, suggested names and steps, commits that are the
same, public updates and standard texts, a standing rollback with the lift of its hold, redaction of known secrets,
checks of API URLs and tokens, time, periods, threads.

Examples: describe_decision, embed_record, parse_runtime_state.
"""
