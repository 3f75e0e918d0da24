"""Fixed names that several packages share."""

NEW_PREFIX, OLD_PREFIX = "NEW_", "OLD_"
"""Before a secret's name: the variable with the value to be set, and that with the one it replaces."""
LIMITS_FILE = "limits.yml"
MAINTENANCE_WORKER = "ops-maintenance"
"""The Worker that answers for a service that is off on purpose."""
