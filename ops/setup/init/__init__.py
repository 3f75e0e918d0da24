"""Describe an application in a new operations repository: `ops init`."""
