"""Every wrong argument of every public call: an error that names it, and the process exactly as before."""

from __future__ import annotations

import decimal
import functools
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests import cycles

if TYPE_CHECKING:
    from tests.conftest import NewPatch, WriteModule
from tests.few_modules import FewModules

import livepatch

NODE = """
    LIMIT = 123456

    def f(x):
        return "old", x

    class C:
        def m(self):
            return "old"
"""


class AlwaysEqual:
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


class NeverEqual:
    def __eq__(self, other: object) -> bool:
        raise RuntimeError("not to be compared")

    __hash__ = None  # type: ignore[assignment]


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("not to be printed")


class Text(str):
    __slots__ = ()


def new(x):
    return "new", x


class Scene:
    def __init__(self, write_module: WriteModule, new_patch: NewPatch) -> None:
        self.node = write_module(NODE)
        self.name = self.node.__name__
        self.fix = new_patch()
        self.written = write_module("def f(x):\n    return 'new', x\n")
        self.fix.replace(f"{self.name}:f")(self.written.f)
        self.fresh = new_patch()

    def patch(self, **wrong: Any) -> object:
        return livepatch.Patch(**{"id": "ID", "package": "specimen", "versions": "==1.0", **wrong})


@pytest.fixture
def scene(write_module: WriteModule, new_patch: NewPatch, monkeypatch: pytest.MonkeyPatch) -> Scene:
    made = Scene(write_module, new_patch)
    monkeypatch.setattr("livepatch.process.live.sys", FewModules(made.node, made.written))
    return made


WRONG: list[tuple[str, str, Callable[[Scene], object]]] = []


def wrong(argument: str, call: str, *attempts: Callable[[Scene], object]) -> None:
    WRONG.extend((argument, f"{call}-{i}", attempt) for i, attempt in enumerate(attempts))


NO_TEXT: list[Any] = [None, 5, 1.5, b"bytes", ["list"], object(), AlwaysEqual(), Unprintable()]
for _value in NO_TEXT:
    for _argument in ("id", "package", "versions", "summary"):
        wrong(_argument, f"Patch({_argument})", lambda s, a=_argument, v=_value: s.patch(**{a: v}))
    if _value is not None:
        wrong("flag", "Patch(flag)", lambda s, v=_value: s.patch(flag=v))
    wrong("target", "replace", lambda s, v=_value: s.fresh.replace(v))
    wrong("target", "set", lambda s, v=_value: s.fresh.set(v, 1))
    wrong("target", "wrap", lambda s, v=_value: s.fresh.wrap(v))
    wrong("owner", "add", lambda s, v=_value: s.fresh.add(v, N=1))
    wrong("id", "revert", lambda s, v=_value: livepatch.revert(v))
    wrong("flag", "flags[]", lambda s, v=_value: livepatch.flags[v])
    wrong("flag", "flags[]=", lambda s, v=_value: livepatch.flags.__setitem__(v, "on"))
    wrong("mode", "apply(mode)", lambda s, v=_value: livepatch.apply(s.fix, mode=v))
    wrong("patch", "check", lambda s, v=_value: livepatch.check(v))
    wrong("target", "fingerprint", lambda s, v=_value: livepatch.fingerprint(v))

for _value in ["", " ", "-x", "a b", "a\n", "é", "x" * 129, "a/b", "\x00"]:
    wrong("id", "Patch(id) text", lambda s, v=_value: s.patch(id=v))
    wrong("flag", "Patch(flag) text", lambda s, v=_value: s.patch(flag=v))
for _value in ["", " ", "-", "a b", "a-", "specimen\n", "specimen[extra]"]:
    wrong("package", "Patch(package) text", lambda s, v=_value: s.patch(package=v))
for _value in ["", "  ", ",", " , ,", "1.0", ">=", "=>1", ">=1;python_version>'3'", "~=1", "*", "\x00"]:
    wrong("versions", "Patch(versions) text", lambda s, v=_value: s.patch(versions=v))
for _value in [
    "",
    ":",
    "m",
    "m:",
    ":f",
    "m:f:g",
    "m:.f",
    "m:f.",
    "m:a..b",
    "m f:g",
    "1m:f",
    "m:<locals>.f",
    "m:f()",
    "m:\x00",
]:
    wrong("target", "replace text", lambda s, v=_value: s.fresh.replace(v))
    wrong("target", "set text", lambda s, v=_value: s.fresh.set(v, 1))
    wrong("target", "wrap text", lambda s, v=_value: s.fresh.wrap(v))
    wrong("target", "fingerprint text", lambda s, v=_value: livepatch.fingerprint(v))
    if _value != "m":
        wrong("owner", "add text", lambda s, v=_value: s.fresh.add(v, N=1))
for _value in [
    5,
    1.5,
    object(),
    [5],
    [None],
    [],
    "",
    "cp311",
    ["cp311:12"],
    "cp311:" + "g" * 32,
    b"cp311:" + b"0" * 32,
]:
    wrong("expect", "replace(expect)", lambda s, v=_value: s.fresh.replace("m:f", expect=v))
for _value in [
    None,
    5,
    len,
    functools.partial(new, 1),
    functools.wraps(new)(lambda *a: new(*a)),
    property(),
    property(len),
    staticmethod(len),
    classmethod(functools.partial(new, 1)),
    functools.cached_property(functools.partial(new, 1)),
    SimpleNamespace(__code__=new.__code__),
    new.__code__,
    Unprintable(),
]:
    wrong("replacement", "replace(...)(source)", lambda s, v=_value: s.fresh.replace(f"{s.name}:f")(v))
for _value in [None, 5, "f", Unprintable()]:
    wrong("wrapper", "wrap(...)(wrapper)", lambda s, v=_value: s.fresh.wrap(f"{s.name}:f")(v))
wrong("names", "add no names", lambda s: s.fresh.add(s.name))
for _value in ["", "a b", "a.b", "1a", "\x00", "class"]:
    wrong("name", "add odd names", lambda s, v=_value: s.fresh.add(s.name, **{v: 1}))
wrong("twice", "two changes", lambda s: [s.fresh.set("m:A", 1), s.fresh.set("m:A", 2)])
wrong("value", "set without value", lambda s: s.fresh.set("m:A"))  # type: ignore[call-arg]
for _value in ["", "On", "ON", "on ", "split", "shadow", "maybe"]:
    wrong("mode", "apply(mode) text", lambda s, v=_value: livepatch.apply(s.fix, mode=v))
for _value in [5, "", "chain ", "Immediate", object(), AlwaysEqual(), NeverEqual(), Unprintable(), []]:
    wrong("consistency", "apply(consistency)", lambda s, v=_value: livepatch.apply(s.fix, consistency=v))
for _value in [
    None,
    "1",
    True,
    -1,
    -0.1,
    math.nan,
    math.inf,
    -math.inf,
    10**400,
    decimal.Decimal(1),
    1j,
    [],
    Unprintable(),
]:
    wrong("timeout", "apply(timeout)", lambda s, v=_value: livepatch.apply(s.fix, timeout=v))
for _value in [5, "", "trust.json", Path("trust.json"), object(), Unprintable()]:
    wrong("trust", "apply(trust)", lambda s, v=_value: livepatch.apply(s.fix, trust=v))
    wrong("policy", "apply(policy)", lambda s, v=_value: livepatch.apply(s.fix, policy=v))
for _value in [None, 5, "FIX-1", b"FIX-1", [5], [None], [["FIX-1"]], object(), Unprintable(), [Unprintable()]]:
    wrong("replaces", "apply(replaces)", lambda s, v=_value: livepatch.apply(s.fix, replaces=v))
wrong("nowhere", "apply(replaces) unknown", lambda s: livepatch.apply(s.fix, replaces=["nowhere"]))
for _value in [None, 5, b"fix.lpatch", ["fix"], SimpleNamespace(id="x", changes=()), livepatch.Patch, Unprintable()]:
    wrong("patch", "apply(patch)", lambda s, v=_value: livepatch.apply(v))
for _value in ["", "fix.lpatch", Path("fix.lpatch")]:
    wrong("patch", "apply(file)", lambda s, v=_value: livepatch.apply(v))
wrong("nowhere", "revert unknown", lambda s: livepatch.revert("nowhere"))
wrong(
    "nowhere",
    "flags unknown",
    lambda s: livepatch.flags["nowhere"],
    lambda s: livepatch.flags.__setitem__("nowhere", "on"),
)
wrong("nowhere", "fingerprint unknown", lambda s: livepatch.fingerprint("nowhere:f"))
wrong("nothing", "fingerprint no such name", lambda s: livepatch.fingerprint(f"{s.name}:nothing"))
wrong("status", "status(1)", lambda s: livepatch.status(1))  # type: ignore[call-arg]
wrong("verify", "verify(1)", lambda s: livepatch.verify(1))  # type: ignore[call-arg]
wrong("patch", "check()", lambda s: livepatch.check())  # type: ignore[call-arg]
wrong("colour", "apply(colour)", lambda s: livepatch.apply(s.fix, colour=1))  # type: ignore[call-arg]


def assert_says_all(error: BaseException) -> None:
    """What was found, what was expected, what to do; an error of the builtin kind says it in its own way."""
    if isinstance(error, livepatch.LivepatchError):
        assert error.found
        assert error.expected
        assert error.action


@pytest.mark.parametrize(("argument", "attempt"), [pytest.param(a, f, id=n) for a, n, f in WRONG])
def test_a_wrong_argument_is_named_and_changes_nothing(
    argument: str, attempt: Callable[[Scene], object], scene: Scene
) -> None:
    before = cycles.picture(scene.node)
    with pytest.raises((livepatch.LivepatchError, TypeError)) as caught:
        attempt(scene)
    assert argument in str(caught.value)
    assert_says_all(caught.value)
    assert cycles.differences(before) == []
    assert livepatch.status() == ()
    assert scene.fresh.changes == () or argument == "twice"
    livepatch.apply(scene.fix).revert()


ON_APPLIED: list[tuple[str, str, Callable[[livepatch.Applied], object]]] = []
for _value in [*NO_TEXT, "", "ON", "maybe", NeverEqual()]:
    ON_APPLIED += [
        ("mode", "Applied.mode", lambda a, v=_value: setattr(a, "mode", v)),
        ("mode", "flags[]=", lambda a, v=_value: livepatch.flags.__setitem__(a.flag, v)),
    ]
for _value in ["1", True, -1, math.nan, math.inf, [], 1j, Unprintable()]:
    ON_APPLIED.append(("timeout", "wait", lambda a, v=_value: a.wait(v)))


@pytest.mark.parametrize(
    ("argument", "attempt"), [pytest.param(a, f, id=f"{n}-{i}") for i, (a, n, f) in enumerate(ON_APPLIED)]
)
def test_a_wrong_argument_on_an_applied_patch(
    argument: str, attempt: Callable[[livepatch.Applied], object], scene: Scene
) -> None:
    applied = livepatch.apply(scene.fix)
    before, status = cycles.picture(scene.node), livepatch.status()
    with pytest.raises((livepatch.LivepatchError, TypeError)) as caught:
        attempt(applied)
    assert argument in str(caught.value)
    assert_says_all(caught.value)
    assert cycles.differences(before) == []
    assert livepatch.status() == status
    assert livepatch.verify()
    assert applied.mode == "on"


def test_what_cannot_be_assigned_or_deleted(scene: Scene) -> None:
    applied = livepatch.apply(scene.fix)
    with pytest.raises((TypeError, AttributeError)):
        del livepatch.flags[applied.flag]  # type: ignore[attr-defined]
    for name in ("id", "flag", "patch", "report"):
        with pytest.raises(AttributeError, match=name):
            setattr(applied, name, "another")
    assert applied.mode == "on"


def test_the_flags_are_a_mapping(scene: Scene) -> None:
    assert livepatch.flags.get("nowhere") is None
    assert livepatch.flags.get("nowhere", "off") == "off"
    assert "nowhere" not in livepatch.flags
    assert 5 not in livepatch.flags
    applied = livepatch.apply(scene.fix)
    assert dict(livepatch.flags) == {applied.flag: "on"}
    assert livepatch.flags.get(applied.flag) == "on"


def test_a_reverted_patch_takes_no_mode(scene: Scene) -> None:
    applied = livepatch.apply(scene.fix)
    applied.revert()
    with pytest.raises(livepatch.UnknownPatchError, match=applied.id):
        applied.mode = "on"
    with pytest.raises(livepatch.UnknownPatchError, match=applied.flag):
        livepatch.flags[applied.flag] = "on"
    assert applied.mode == "off"
    assert applied.revert().state == "reverted"
    assert scene.node.f(1) == ("old", 1)


def test_a_mode_may_be_a_str_of_any_kind(scene: Scene) -> None:
    applied = livepatch.apply(scene.fix, mode=Text("off"))  # type: ignore[arg-type]
    assert scene.node.f(1) == ("old", 1)
    livepatch.flags[Text(applied.flag)] = Text("on")  # type: ignore[assignment]
    assert scene.node.f(1) == ("new", 1)


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
FITTING = {"mode": ("on", "off"), "consistency": (None, "immediate"), "trust": (None,), "policy": (None,)}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(junk=JUNK, argument=st.sampled_from(["patch", "mode", "consistency", "timeout", "trust", "policy", "replaces"]))
def test_junk_given_to_apply(junk: Any, argument: str, scene: Scene) -> None:
    arguments = {"patch": scene.fix, argument: junk}
    try:
        livepatch.apply(arguments.pop("patch"), **arguments)
    except (livepatch.LivepatchError, TypeError) as error:
        assert argument in str(error) or isinstance(error, livepatch.IncompatibleError)  # noqa: PT017  # it may also go in
        assert livepatch.status() == ()
        assert scene.node.f(1) == ("old", 1)
    else:
        fits = junk in FITTING.get(argument, ()) or (argument == "timeout" and 0 <= junk) or not junk
        assert fits, "junk went in"
        livepatch.revert(scene.fix.id)


@settings(max_examples=300, deadline=None)
@given(junk=JUNK, argument=st.sampled_from(["id", "package", "versions", "summary", "flag"]))
def test_junk_given_to_patch(junk: Any, argument: str) -> None:
    arguments: dict[str, Any] = {"id": "ID", "package": "specimen", "versions": "==1.0", argument: junk}
    try:
        fix = livepatch.Patch(**arguments)
    except (livepatch.LivepatchError, TypeError) as error:
        assert argument in str(error)  # noqa: PT017  # it may also go in
    else:
        assert fix.id
        assert fix.flag
        assert fix.package
        assert fix.versions


@settings(max_examples=300, deadline=None)
@given(junk=JUNK, call=st.sampled_from(["replace", "set", "wrap", "add", "fingerprint", "revert", "flags"]))
def test_junk_given_as_a_name(junk: Any, call: str) -> None:
    fix = livepatch.Patch("JUNK", package="specimen", versions="==1.0")
    calls: dict[str, Callable[[], object]] = {
        "replace": lambda: fix.replace(junk),
        "set": lambda: fix.set(junk, 1),
        "wrap": lambda: fix.wrap(junk),
        "add": lambda: fix.add(junk, NAME=1),
        "fingerprint": lambda: livepatch.fingerprint(junk),
        "revert": lambda: livepatch.revert(junk),
        "flags": lambda: livepatch.flags[junk],
    }
    named = {"add": "owner", "fingerprint": "target", "revert": "id", "flags": "flag"}.get(call, "target")
    try:
        calls[call]()
    except livepatch.UnknownPatchError:
        assert isinstance(junk, str)
    except (livepatch.LivepatchError, TypeError) as error:
        assert named in str(error) or (call == "fingerprint" and str(junk) in str(error))  # noqa: PT017  # it may also go in
    else:
        assert isinstance(junk, str)
        assert call in ("replace", "set", "wrap", "add")
