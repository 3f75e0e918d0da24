"""Watch a service after a recovery, and find a relapse. It never writes to Cloudflare.

Its state is in a comment on the incident issue, so that another runner can continue it.

Examples: watch_services, judge_watch, parse_watch_state.
"""
