"""Rotate secrets: `selection` has the rules, `values` checks new values, `writes` sets them."""
