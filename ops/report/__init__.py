"""The post-incident report as values: what the sources said, and what follows from it. No I/O, no Markdown."""
