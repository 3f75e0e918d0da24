"""`ops switches clear`: all-clear under a name beside `ops switches prepare`."""

from ops.runbooks.all_clear import AllClear


class ClearSwitches(AllClear):
    """Set every switch that an incident set back to its normal state: the same as all-clear."""

    name = "switches clear"
    by_label = False
