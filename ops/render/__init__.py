"""Escape and format for Markdown and terminal, without a subject.

Examples: escape_markdown, code_span, format_event.
"""
