"""The version of this program. A release sets it: CONTRIBUTING.md."""

__version__ = "0.2.0"
