"""The post-incident report: sources, timing, rows, Markdown, and its issue."""
