"""Write the post-incident issue: times, rows, questions.

Examples: find_moments, build_rows, unanswered_prompts.
"""
