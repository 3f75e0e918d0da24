"""Compute values of feature switches, choose the AI provider.

Examples: value_to_write, judge_health, decide_failback.
"""
