"""What a process may have computed from a value that changes, and keeps: tables, caches, attributes of objects."""

from __future__ import annotations

import pytest
from tests.bundle.trees_of import built, codes, names


def memos(patch):
    return {(m.target, m.of, m.initial) for e in patch.edits for m in e.memos}


def kept(tmp_path, text, old="N = 1", new="N = 2"):
    patch = built(tmp_path, text, text.replace(old, new))
    assert codes(patch) == []
    return patch


METACLASS = """
class M(type):
    def __call__(cls):
        cls._t = cls.make()
        return type.__call__(cls)
    def make(cls):
        return [c.__dict__.get('toks') for c in cls.__mro__]
class B(metaclass=M): pass
class C(B):
    toks = 1
"""


@pytest.mark.parametrize(
    ("text", "memo"),
    [
        ("N = 1\n_T = {}\ndef f(k):\n    _T[k] = k * N", ("_T", "app.m:N", "{}")),
        ("N = 1\n_T = {}\ndef f(k):\n    v = []\n    v.append(N)\n    _T[k] = v", ("_T", "app.m:N", "{}")),
        ("N = 1\n_T = []\ndef f(k): _T.append(k + N)", ("_T", "app.m:N", "[]")),
        ("N = 1\n_T = {}\ndef g(): return N\ndef f(k):\n    return _T.setdefault(k, g())", ("_T", "app.m:N", "{}")),
        ("N = 1\n_X = None\ndef f():\n    global _X\n    _X = [N]", ("_X", "app.m:N", "None")),
        ("N = 1\ndef f():\n    global _X\n    _X = [N]", ("_X", "app.m:N", "")),
        ("class C:\n    N = 1\n    @classmethod\n    def f(cls): cls._t = [cls.N]", ("C._t", "app.m:C.N", "")),
        ("class C:\n    N = 1\n    _t = None\n    def f(self): type(self)._t = self.N", ("C._t", "app.m:C.N", "None")),
        ("class C:\n    N = 1\n    def f(self): self.__class__._t = self.N", ("C._t", "app.m:C.N", "")),
        ("class C:\n    N = 1\n    _t = {}\n    def f(self, k): self._t[k] = self.N", ("C._t", "app.m:C.N", "{}")),
        ("N = 1\nclass C: pass\ndef f(): C.t = N", ("C.t", "app.m:N", "")),
        ("N = 1\nclass C: pass\ndef f(): setattr(C, 't', N)", ("C.t", "app.m:N", "")),
        ("NS = ['a']\nN = 1\n_T = {}\ndef f():\n    for n in range(N): _T['x'] = n", ("_T", "app.m:N", "{}")),
        (  # a metaclass
            METACLASS,
            ("C._t", "app.m:C.toks", ""),
        ),
    ],
)
def test_what_code_stores_from_a_value_is_a_memo(tmp_path, text, memo):
    old, new = ("toks = 1", "toks = 2") if "toks" in text else ("N = 1", "N = 2")
    assert memos(kept(tmp_path, text, old, new)) == {memo}


@pytest.mark.parametrize(
    "text",
    [
        "N = 1\n_T = {}\ndef f(k):\n    if len(_T) > N: _T.clear()\n    _T[k] = k",
        "N = 1\n_T = {}\ndef f(k):\n    t = {}\n    t[k] = N\n    return t",
        "N = 1\nM = 2\n_T = {}\ndef f(k): _T[k] = M",
        "N = 1\nclass C:\n    def f(self): self.n = N",
        "N = 1\n_T = {}\ndef g():\n    if N: return 3\ndef f(k): _T[k] = g()",
        "N = 1\n_T = {}\ndef g(): return N\ndef f(k): _T[k] = g",
        "class M(type): pass\nclass B(metaclass=M): pass\nclass C(B):\n    N = 1\n    def f(self): self.t = self.N",
        "N = 1\nclass C:\n    @staticmethod\n    def f(x): x.n = N",
    ],
)
def test_what_is_not_made_from_it_is_none(tmp_path, text):
    assert memos(kept(tmp_path, text)) == set()


def test_a_table_in_another_module(tmp_path):
    files = {
        "app/__init__.py": "",
        "app/low.py": "N = 1",
        "app/m.py": "from app import low\n_T = {}\ndef f(k): _T[k] = low.N",
    }
    patch = built(tmp_path, files, {**files, "app/low.py": "N = 2"})
    assert memos(patch) == {("_T", "app.low:N", "{}")}
    assert names(patch) == {}


def test_caches_of_functions_that_use_it(tmp_path):
    text = (
        "import functools\nN = 1\ndef g(): return N\n@functools.lru_cache\ndef f(k): return g()\n"
        "@functools.cache\ndef h(): return 5\nclass C:\n    @functools.cached_property\n    def p(self): return N\n"
        "    @functools.lru_cache(maxsize=3)\n    def q(self): return self.p\n"
    )
    (edit,) = kept(tmp_path, text).edits
    assert set(edit.caches) == {"f", "C.p", "C.q"}


@pytest.mark.parametrize(
    ("init", "captured"),
    [
        ("def __init__(self): self.n = N", {"n"}),
        ("def __init__(self, n=None): self.n = n or N", {"n"}),
        ("def __init__(self, n=N): self.n = n", {"n"}),
        ("def __init__(self): self.reset()\n    def reset(self): self.n = [N * 2]", {"n"}),
        ("def __init__(self): self.n = 1", set()),
        ("def __init__(self): self.t = T", set()),
        ("def __init__(self): self.o = O", set()),
        ("def __init__(self): self.f = frozen", {"f"}),
        ("def __init__(self): self.g = self.give\n    def give(self): return N", set()),
        ("def __init__(self): self.g = self.give()\n    def give(self): return N", {"g"}),
        ("def __init__(self): self.t = dict(T)", {"t"}),
        ("def use(self): self.n = N", set()),
    ],
)
def test_attributes_that_objects_take(tmp_path, init, captured):
    text = "N = 1\nT = {'n': N}\nfrozen = frozenset([N])\nclass P:\n    n = N\n    def __init__(self): self.m = 1\n"
    text += f"O = P()\nclass C:\n    {init}\n"
    patch = kept(tmp_path, text)
    assert {c.name for e in patch.edits for c in e.captured} == captured
    assert {c.class_qualname for e in patch.edits for c in e.captured} <= {"C"}
