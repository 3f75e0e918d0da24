"""Send a request to an application or AI provider, and judge or clean up the response.

Subjects: also in maintenance mode; it starts and drives a browser too.

Examples: run_http_probe, normalize_html, read_runtime_state.
"""
