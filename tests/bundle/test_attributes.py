"""Instance attributes that objects made before the patch lack."""

from __future__ import annotations

import pytest
from tests.bundle.trees_of import built, edit_of

OLD = """
import collections
LIMIT = 5
def make(): pass
class C:
    def __init__(self, a):
        self.a = a
    def use(self):
        return self.a
"""


def new(setting, parameters="a", use="return self.n"):
    return (
        OLD.replace("def __init__(self, a):", f"def __init__(self, {parameters}):")
        .replace("self.a = a", f"self.a = a\n        {setting}")
        .replace("return self.a", use)
    )


def attributes(tmp_path, text, old=OLD):
    patch = built(tmp_path, old, text)
    return [(a.class_qualname, a.name, a.expression, a.shared) for a in edit_of(patch).attributes]


@pytest.mark.parametrize(
    ("setting", "parameters", "expression", "shared"),
    [
        ("self.n = 0", "a", "0", True),
        ("self.n = (1, 'x', None)", "a", "(1, 'x', None)", True),
        ("self.n = LIMIT", "a", "LIMIT", True),
        ("self.n = make", "a", "make", True),
        ("self.n = -LIMIT * 2", "a", "-LIMIT * 2", True),
        ("self.n = frozenset()", "a", "frozenset()", True),
        ("self.n = []", "a", "[]", False),
        ("self.n = {'a': 1}", "a", "{'a': 1}", False),
        ("self.n = ([],)", "a", "([],)", False),
        ("self.n = collections.deque()", "a", "collections.deque()", False),
        ("self.n: int = 0", "a", "0", True),
        ("self.n = n", "a, n=3", "3", True),
        ("self.n = n", "a, *, n=LIMIT", "LIMIT", True),
        ("self.n = n or []", "a, n=None", "None or []", False),
        ("self.n = self.n2 = None", "a", "None", True),
        ("if a:\n            self.n = 1\n        else:\n            self.n = 1", "a", "1", True),
    ],
)
def test_the_source_tells_what_it_starts_as(tmp_path, setting, parameters, expression, shared):
    assert attributes(tmp_path, new(setting, parameters)) == [("C", "n", expression, shared)]


@pytest.mark.parametrize(
    ("setting", "parameters", "word"),
    [
        ("self.n = a", "a", "parameter a"),
        ("self.n = n", "a, n", "n of C.__init__, which has no default"),
        ("n = 1\n        self.n = n", "a", "variable n"),
        ("self.n = self", "a", "other attributes"),
        ("self.n = self.b", "a", "other attributes"),  # the old objects have no b
        ("self.n = self.a + self.use()", "a", "other attributes"),
        ("if a:\n            self.n = 1\n        else:\n            self.n = 2", "a", "one of several values"),
        ("if a:\n            self.n = LIMIT", "a", "condition"),
        ("n = 4\n        self.n = n", "a, n=3", "changes its parameter n"),
    ],
)
def test_what_the_source_does_not_tell_has_a_reason(tmp_path, setting, parameters, word):
    patch = built(tmp_path, OLD, new(setting, parameters))
    (attribute,) = edit_of(patch).attributes
    assert attribute.expression == ""
    assert word in attribute.reason


def test_what_is_computed_from_what_the_old_objects_have(tmp_path):
    patch = built(tmp_path, OLD, new("self.n = len(str(self.a))"))
    (attribute,) = edit_of(patch).attributes
    assert (attribute.expression, attribute.of, attribute.shared) == ("len(str(self.a))", "self", False)


@pytest.mark.parametrize(
    "text",
    [
        new("self.n = 0", use="return self.a + 1"),  # nobody reads it
        new("self.n = 0\n        self.a = self.n", use="return 1"),  # only where it is set
        new("self.n = 0", use="return getattr(self, 'n', 0)"),
        new("self.n = 0", use="return self.n if hasattr(self, 'n') else 0"),
        new("self.n = 0", use="self.n = 1"),
        new("self.a = 0", use="return self.a + 1"),  # they have it
        new("self.n = 0").replace("def use", "n = 1\n    def use"),  # the class has it
        new("self.n = 0").replace("class C:", "class D:"),  # there are no objects yet
    ],
)
def test_no_default_where_none_is_needed(tmp_path, text):
    assert attributes(tmp_path, text) == []


def test_reads_from_elsewhere_and_in_place_count(tmp_path):
    old = OLD + "def elsewhere(c): return c.a\n"
    assert attributes(tmp_path / "1", new("self.n = 0", use="return 1") + "def elsewhere(c): return c.n\n", old)
    assert attributes(tmp_path / "2", new("self.n = 0", use="self.n += 1"))
    assert attributes(tmp_path / "3", new("self.n = []", use="self.n.append(1)"))
    assert attributes(tmp_path / "4", new("self.n = {}", use="self.n['a'] = 1"))


def test_what_a_method_called_by_init_sets(tmp_path):
    text = OLD.replace("self.a = a", "self.a = a\n        self.reset()").replace(
        "return self.a", "return self.n\n    def reset(self):\n        self.n = 0"
    )
    assert attributes(tmp_path, text) == [("C", "n", "0", True)]


def test_what_a_subclass_reads(tmp_path):
    old = OLD + "class D(C):\n    def more(self): return self.a\n"
    text = new("self.n = 0", use="return 1") + "class D(C):\n    def more(self): return self.n\n"
    assert attributes(tmp_path, text, old) == [("C", "n", "0", True)]


def reasons(tmp_path, old, text):
    patch = built(tmp_path, old, text)
    return {a.name: a.reason for e in patch.edits for a in e.attributes if not a.expression}


KEPT = "class C:\n    def __init__(self):\n        self.n = {0}\n    def use(self):\n        return {1}\n"


@pytest.mark.parametrize(
    ("was", "now", "use", "word"),
    [
        ("0", "b''", "self.n + b'a'", "an int"),
        ("[]", "{}", "self.n.get(1)", "a list"),
        ("''", "b''", "self.n", "a str"),
        ("dict()", "[]", "self.n", "a dict"),
        ("None", "[]", "[x for x in self.n]", "nothing"),
        ("None", "{}", "self.n.get(1)", "nothing"),
        ("None", "0", "self.n + 1", "nothing"),
        ("()", "[]", "self.n.append(1)", "a tuple"),
        ("-1", "'none'", "self.n", "an int"),
    ],
)
def test_an_attribute_that_holds_something_of_another_kind(tmp_path, was, now, use, word):
    assert word in reasons(tmp_path, KEPT.format(was, "1"), KEPT.format(now, use))["n"]


@pytest.mark.parametrize(
    ("was", "now", "use"),
    [
        ("0", "1.0", "self.n + 1"),
        ("0", "False", "self.n"),
        ("[]", "None", "self.n or []"),
        ("None", "[]", "self.n or []"),
        ("None", "[]", "[x for x in self.n] if self.n is not None else 2"),
        ("None", "0", "self.n"),
        ("()", "[]", "list(self.n)"),
        ("0", "b''", "2"),  # nobody reads it
        ("0", "make()", "self.n"),  # not told by the source
        ("b''", "[]", "self.n if hasattr(self, 'n') else 1"),
    ],
)
def test_an_attribute_that_new_code_can_use_as_it_is(tmp_path, was, now, use):
    assert reasons(tmp_path, KEPT.format(was, "1"), KEPT.format(now, use)) == {}


def test_what_another_method_may_have_set_is_of_the_right_kind(tmp_path):
    old = KEPT.format("0", "1")
    text = KEPT.format("b''", "self.n") + "    def reset(self): self.n = 0\n"
    assert reasons(tmp_path, old, text) == {}


LATER = "class C:\n    def start(self): {0}\n    def stop(self): {1}\n"


def test_an_attribute_that_one_method_sets_for_another(tmp_path):
    old = LATER.format("pass", "pass")
    assert "C.start" in reasons(tmp_path / "1", old, LATER.format("self.n = 1", "return self.n"))["n"]
    for number, (setting, use) in enumerate(
        [
            ("self.n = 1", "return getattr(self, 'n', 1)"),
            ("self.n = 1", "return self.n if hasattr(self, 'n') else 1"),
            ("self.n = 1; return self.n", "pass"),
            ("self.n = 1", "self.start(); return self.n"),
            ("self.n = 1; self._use()", "pass\n    def _use(self): return self.n"),
        ]
    ):
        assert reasons(tmp_path / f"x{number}", old, LATER.format(setting, use)) == {}, use


# What calls of both sides can use in turn


def fixed(tmp_path, setting, use="return self.n", parameters="a"):
    return [each.fixed for each in edit_of(built(tmp_path, OLD, new(setting, parameters, use))).attributes]


@pytest.mark.parametrize("setting", ["self.n = 0", "self.n = LIMIT", "self.n = ('x', None)"])
def test_what_only_the_making_of_an_object_sets_is_fixed(tmp_path, setting):
    assert fixed(tmp_path, setting) == [True]


def test_a_parameter_that_has_a_default_is_fixed(tmp_path):
    assert fixed(tmp_path, "self.n = n", parameters="a, n=4") == [True]


@pytest.mark.parametrize(
    ("setting", "use"),
    [
        ("self.n = 0", "self.n += 1"),
        ("self.n = 0", "self.n = self.n + 1"),
        ("self.n = 0", "other = self\n        other.n = self.n"),
        ("self.n = 0", "setattr(self, 'n', self.n)"),
        ("self.n = 0", "del self.n; return self.n"),
        ("self.n = []", "return self.n"),  # it may be changed in place anywhere
        ("self.n = self.a", "return self.n"),  # what it was computed from may be another thing by then
        ("self.n = unknown(a)", "return self.n"),
    ],
)
def test_what_a_call_may_leave_in_an_object_is_not_fixed(tmp_path, setting, use):
    assert fixed(tmp_path, setting, use) == [False]


# What a revert leaves


def unfit(tmp_path, old, text, **options):
    return [
        (u.class_qualname, u.name, u.kinds, u.reason)
        for e in built(tmp_path, old, text, **options).edits
        for u in e.unfit
    ]


PAIR = """
class C:
    def __init__(self):
        self.n = {}
        self.m = 1
    def use(self):
        return {}
    def other(self):
        return self.m
"""


@pytest.mark.parametrize(
    ("old", "text", "expected"),
    [
        (
            ("0", "self.n + 1"),
            ("b''", "self.n + b'x'"),
            [("C", "n", ("bytes",), "they hold a bytes in it, old ones int")],
        ),
        (("[]", "self.n[0]"), ("None", "self.n"), [("C", "n", ("None",), "they hold nothing in it, old ones list")]),
        (("[]", "len(self.n or ())"), ("None", "self.n"), []),  # the old code asks first
        (("0", "self.n"), ("1.5", "self.n + 1"), []),
        (("0", "1"), ("b''", "self.n"), []),  # the old code reads it nowhere
    ],
)
def test_a_kind_that_the_old_code_cannot_use(tmp_path, old, text, expected):
    assert unfit(tmp_path, PAIR.format(*old), PAIR.format(*text)) == expected


def test_an_attribute_that_only_the_old_side_sets(tmp_path):
    old = PAIR.format("0", "self.n")
    text = old.replace("        self.n = 0\n", "").replace("return self.n", "return 5")
    assert unfit(tmp_path, old, text) == [("C", "n", (), "they lack it")]
    careful = old.replace("return self.n", "return self.n if hasattr(self, 'n') else 0")
    assert unfit(tmp_path / "careful", careful, text) == []


def test_an_attribute_that_another_old_method_sets(tmp_path):
    old = "class C:\n    def open(self): self.s = 1\n    def read(self): return self.s\n"
    text = "class C:\n    def open(self): self.t = 1\n    def read(self): return self.t\n"
    assert unfit(tmp_path, old, text) == [("C", "s", (), "they lack it")]


def test_nothing_is_left_where_the_old_side_makes_the_objects_still(tmp_path):
    old, text = PAIR.format("0", "self.n + 1"), PAIR.format("b''", "self.n + b'x'")
    assert unfit(tmp_path, old, text, only=["*.use"]) == []
