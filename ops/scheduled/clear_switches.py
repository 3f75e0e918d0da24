"""`ops switches clear`: the runbook all-clear, as a command next to `ops switches prepare`."""

from ops.runbooks.all_clear import AllClear


class ClearSwitches(AllClear):
    """Reset all switches of an incident to their normal state (same as all-clear)."""

    name = "switches clear"
    section = ""
    label_use = None
