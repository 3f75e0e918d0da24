"""Refuse to deploy a commit that contains a version that was rolled back.

`ops hold check`, the action `hold-check`, and one file on any CI: `python3 hold_check.pyz --worker NAME`. The release
zips this package to that file. It needs Python 3.11, git and a token that reads; it imports no package, and only reads.

The mark that a rollback leaves in the message of its deployment is the hold. Everyone who may deploy can write one, so
a mark can hold, and none can lift: a further deployment never turns a refusal into a permission.
"""
