# /// case
# id = "CVE-2025-24359"
# package = "asteval"
# vulnerable = "1.0.5"
# fixed = "1.0.6"
# what = "the format of an f-string reaches attributes that the sandbox forbids"
# shape = "the attributes of live objects have other names"
# modules = ["asteval"]
# expect = "refused"
# ///
"""Formatting looks attributes up by itself, past the sandbox.

The release also gives the attributes of a Procedure other names, so that functions which an interpreter has defined
already would stop working.
"""

from asteval import Interpreter

LIVE = Interpreter()
LIVE("def double(n):\n    return 2 * n\n")


def exploit() -> bool:
    sandbox = Interpreter()
    sandbox("spec = '}{__fstring__.__class__.__name__'")
    return sandbox("f'{7:{spec}}'", show_errors=False) == "7int"


def regression() -> None:
    assert Interpreter()("f'{7:03}'") == "007"
    assert LIVE("double(4)") == 8
