# /// case
# id = "CVE-2022-21797"
# package = "joblib"
# vulnerable = "1.1.0"
# fixed = "1.1.1"
# what = "pre_dispatch is evaluated as Python"
# shape = "one method, and a new module"
# python = "<3.12"  # it imports what later versions have no more
# modules = ["joblib"]
# ///
"""An expression of the number of jobs was all that was meant."""

import os

from joblib import Parallel, delayed

TAKEN = "LIVEPATCH_CASE_TAKEN"


def _squares(pre_dispatch: str) -> list[int]:
    work = Parallel(n_jobs=2, backend="threading", pre_dispatch=pre_dispatch)
    return work(delayed(pow)(n, 2) for n in range(5))


def exploit() -> bool:
    os.environ.pop(TAKEN, None)
    try:
        _squares(f"__import__('os').environ.update({TAKEN}='1') or 2")
    except Exception:  # noqa: BLE001  # which one a refusal gives is the library's affair
        return False
    return TAKEN in os.environ


def regression() -> None:
    assert _squares("2*n_jobs") == [0, 1, 4, 9, 16]
    assert _squares("all") == [0, 1, 4, 9, 16]
