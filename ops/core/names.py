"""Names of files, Workers and variables that several packages share."""

NAME_PATTERN = r"^[a-z][a-z0-9_-]{0,62}$"
"""Names in ops.yml, such as that of a service."""
NEW_PREFIX, OLD_PREFIX = "NEW_", "OLD_"
"""Prefixes of a secret's name: the variables with its new and its previous value."""
LIMITS_FILE = "limits.yml"
MAINTENANCE_WORKER = "ops-maintenance"
"""The Worker that answers for a service in maintenance mode."""
