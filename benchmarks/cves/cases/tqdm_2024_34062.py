# /// case
# id = "CVE-2024-34062"
# package = "tqdm"
# vulnerable = "4.66.2"
# fixed = "4.66.3"
# what = "the value of a command line option is evaluated as Python"
# shape = "one function"
# modules = ["tqdm", "tqdm.cli"]
# ///
"""The option's value was pasted into the text of a call, which was then evaluated."""

from tqdm.cli import cast


def exploit() -> bool:
    return cast('" + str(6 * 7) + "', "str") == "42"


def regression() -> None:
    assert cast("12", "int") == 12
    assert cast("0.5", "float") == 0.5
    assert cast("False", "bool") is False
    assert cast("x", "chr") == b"x"
    assert cast("7", "int or str") == 7
