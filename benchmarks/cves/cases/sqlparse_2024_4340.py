# /// case
# id = "CVE-2024-4340"
# package = "sqlparse"
# vulnerable = "0.4.4"
# fixed = "0.5.0"
# what = "deeply nested lists end the process's thread with a RecursionError"
# shape = "a generator method, which uses an exception that its module did not import"
# modules = ["sqlparse"]
# only = ["sqlparse.sql:TokenList.flatten"]
# ///
"""A caller that is ready for the library's own error is now given that one."""

import sys

import sqlparse
from sqlparse.exceptions import SQLParseError
from sqlparse.sql import Token, TokenList
from sqlparse.tokens import Name


def _nested(depth: int) -> None:
    """What the parser makes of as many brackets; the text of each list is that of all within."""
    inner = Token(Name, "x")
    for _ in range(depth):
        inner = TokenList([inner])


def exploit() -> bool:
    try:
        _nested(sys.getrecursionlimit())
    except RecursionError:
        return True
    except SQLParseError:
        pass
    return False


def regression() -> None:
    (statement,) = sqlparse.parse("select a, b from c where d = 'e'")
    assert [token.value for token in statement.flatten() if not token.is_whitespace][:3] == ["select", "a", ","]
    assert sqlparse.format("select 1", keyword_case="upper") == "SELECT 1"
