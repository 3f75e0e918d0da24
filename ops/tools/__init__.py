"""Run programs of this machine and keep their files private: git, Node, wrangler.

Examples: merge_base, wrangler_command, hide_environment.
"""
