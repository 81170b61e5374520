"""The only code that touches live functions.

Deciding and doing live in different files: `locate`, `sweep`, `source`, `code` and `survey` read the process,
`stack` is pure, and `commit` alone writes.
"""
