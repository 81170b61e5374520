"""Sources that the compiler warns of, where a process makes an error of each warning: it has them from a ``.pyc``."""

from __future__ import annotations

import warnings

import pytest
from tests.built import Running

import livepatch

OLD = r"""
import re
SPACE = re.compile("\s+")
class Reader:
    PATTERN = re.compile("\d+$")
    def __init__(self): self.seen = []
    def read(self, text, strict=not 1 is 1, *, found=("\d", 1)):
        assert (text, "\d")
        return bool(self.PATTERN.match(text)), strict, found
def split(text):
    return SPACE.split(text) if text is not "\d" else []
reader = Reader()
"""
NEW = (
    OLD.replace(r'"\s+"', r'"[\s,]+"')
    .replace(r'"\d+$"', r'"\d+\Z"')
    .replace("self.seen = []", r'self.seen = []; self.most = "\d"')
    .replace("return bool(", "return self.most, bool(")
    .replace("else []", r'else ["\d"]')
    + 'class Narrow(Reader):\n    LIMIT = len("\\d")\n    def limit(self): return "\\d", self.LIMIT\n'
)


@pytest.fixture
def running(tmp_path, monkeypatch):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield Running(tmp_path, monkeypatch, {"m.py": OLD}, {"m.py": NEW})


def test_what_the_compiler_warns_of_is_patched_where_warnings_are_errors(running):
    m, before = running["m"], running.picture()
    warnings.simplefilter("error")
    fix = running.build()
    report = livepatch.check(fix)
    assert report.ok, str(report)
    applied = livepatch.apply(fix)
    assert m.split("a, b") == ["a", "b"]
    assert m.reader.read("1\n") == (r"\d", False, False, (r"\d", 1))
    assert m.Narrow().limit() == (r"\d", 2)
    assert livepatch.verify()
    applied.revert()
    assert m.reader.read("1\n") == (True, False, (r"\d", 1))
    after = running.picture()
    assert {place: after[place] for place in before} == before
    assert warnings.filters[0][0] == "error"
