"""Run programs of this machine and keep their files private: git, Node, wrangler.

Subjects: also a program's environment, input, output and end. `hold_check` is a program of its own: it finds the commit
of each version, and refuses to deploy a blamed one; its functions take `Question`, `Reader`, `Environ` or the row of a
held version.

Examples: merge_base, wrangler_command, hide_environment.
"""
