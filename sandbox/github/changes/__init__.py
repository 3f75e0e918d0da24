"""Every way in which the repository changes: the state, the events that tell of it, and the delivery.

What GitHub refuses is refused before it comes here.
"""
