"""One procedure per file = one command = one button.

Examples: plan, probes, fits.
"""
