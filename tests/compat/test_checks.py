"""Every finding: from facts alone, as a table, and from what a real process shows."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import itertools
import json
import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any

import pytest
from tests.cycles import codes, cycle, refused

import livepatch
from livepatch.compat import checks, drift, relatives, versions
from livepatch.compat.checks import PatchFacts, judge
from livepatch.compat.versions import Distribution
from livepatch.contents.changes import Target
from livepatch.contents.edits import Needs
from livepatch.engine.code import Parameter
from livepatch.engine.environment import Environment
from livepatch.engine.facts import Survey, TargetFacts
from livepatch.engine.heap import Walks
from livepatch.engine.refusal import Refusal
from livepatch.engine.relatives import Relative

if TYPE_CHECKING:
    from tests.conftest import NewPatch, WriteFix, WriteModule

SRC = Path(livepatch.__file__).resolve().parents[1]

# From facts alone

SOUND_PATCH = PatchFacts(
    id="FIX",
    flag="FIX",
    package="specimen",
    versions=">=1.0,<2",
    already_applied=False,
    flag_taken_by=None,
    replaces_unknown=(),
    changes=1,
)
SOUND_DISTRIBUTION = Distribution(installed="1.0", module_versions=(("specimen", "1.0"),))
SOUND_ENVIRONMENT = Environment(
    python=(3, 12, 0),
    has_gil=True,
    optimize=0,
    monitoring_tools=(),
    tracing=None,
    profiling=None,
    audit_hooked=False,
)
A, B = Parameter("a", "-", True), Parameter("b", "-", True)
SOUND_TARGET = TargetFacts(
    target=Target("specimen", "f"),
    count=1,
    via=(),
    kinds=("function", "function"),
    parameters=((A,), (A,)),
    expect=(),
    pin="cp312:" + "0" * 32,
    on_disk=True,
    asserts=False,
    forwarded=False,
    caches=(),
    covers=None,
    alias_of="",
    variants=0,
)
MORE = ((A,), (A, Parameter("b", "-", False)))
"""A new parameter with a default: all old calls still fit."""
OVERRIDE = Relative("is overridden by", "specimen:D.f", "specimen.py", 7, (A,))
BASE = Relative("overrides", "specimen:B.f", "specimen.py", 3, (A,))
OTHER_PIN = "cp312:" + "1" * 32
OTHER_PYTHON = "cp311:" + "0" * 32


def old_one(a=1): ...
def old_two(a=1): ...
def new(a=2): ...


def judged(
    patch: dict[str, Any] | None = None,
    distribution: dict[str, Any] | None = None,
    environment: dict[str, Any] | None = None,
    target: dict[str, Any] | None = None,
    stores: tuple[tuple[FunctionType, str], ...] = ((old_one, "__code__"),),
    walks: Walks | None = None,
    observed: Refusal | None = None,
) -> livepatch.Report:
    """The report on facts that are sound but for those given."""
    survey = Survey(facts=[dataclasses.replace(SOUND_TARGET, **target or {})], walks=walks or Walks())
    for function, attribute in stores:
        survey.put(function, attribute, getattr(new, attribute), f"{function.__qualname__}.{attribute}")
    if observed is not None:
        survey.note("specimen:f", observed)
    return judge(
        dataclasses.replace(SOUND_PATCH, **patch or {}),
        dataclasses.replace(SOUND_DISTRIBUTION, **distribution or {}),
        dataclasses.replace(SOUND_ENVIRONMENT, **environment or {}),
        survey,
    )


BODIES = ((old_one, "__code__"), (old_two, "__code__"))
DEFAULTS = (*BODIES, (old_one, "__defaults__"))

FINDINGS: list[tuple[str, str, dict[str, Any], str]] = [
    ("error", "empty-patch", {"patch": {"changes": 0}}, "FIX changes nothing"),
    ("error", "already-applied", {"patch": {"already_applied": True}}, "the id FIX"),
    ("error", "flag-taken", {"patch": {"flag_taken_by": "OTHER"}}, "belongs to patch OTHER"),
    ("error", "replaces-unknown", {"patch": {"replaces_unknown": ("OTHER",)}}, "no patch OTHER"),
    ("error", "requires-missing", {"patch": {"requires_missing": ("BASE",)}}, "no patch BASE"),
    ("error", "not-installed", {"distribution": {"installed": None}}, "no distribution specimen"),
    ("error", "version-unreadable", {"distribution": {"installed": "today's"}}, "today's"),
    ("error", "version-out-of-range", {"distribution": {"installed": "2.0", "module_versions": ()}}, "specimen 2.0"),
    ("warning", "pre-release", {"distribution": {"installed": "1.1rc1", "module_versions": ()}}, "1.1rc1"),
    ("warning", "local-version", {"distribution": {"installed": "1.0+ours"}}, "1.0+ours"),
    (
        "error",
        "version-disagrees",
        {"distribution": {"module_versions": (("specimen", "1.1"),)}},
        "specimen.__version__ is 1.1, the installed metadata says 1.0",
    ),
    ("warning", "module-not-in-package", {"distribution": {"foreign_modules": ("other",)}}, "other does not belong"),
    ("warning", "python-unsupported", {"patch": {"needs": Needs(python=">=3.13")}}, "Python 3.12.0"),
    (
        "warning",
        "dependency-differs",
        {"patch": {"needs": Needs(after=("dep>=2",))}, "distribution": {"needed": (("dep", "1.9"),)}},
        "dep 1.9",
    ),
    ("error", "free-threaded", {"environment": {"has_gil": False}}, "without its global lock"),
    ("info", "audit-hook", {"environment": {"audit_hooked": True}, "stores": BODIES}, "2 stores to functions"),
    ("info", "audit-hook", {"environment": {"audit_hooked": True}, "stores": DEFAULTS}, "3 stores to functions"),
    ("warning", "tools-active", {"environment": {"monitoring_tools": ("coverage",)}}, "coverage"),
    ("warning", "tools-active", {"environment": {"tracing": "pdb.trace"}}, "pdb.trace"),
    ("warning", "tools-active", {"environment": {"profiling": "cProfile.Profile"}}, "cProfile.Profile"),
    ("info", "heap-walk", {"walks": Walks(longest=0.0651, taken=0.0651, number=1)}, "for 65.1 ms"),
    (
        "info",
        "heap-walk",
        {"walks": Walks(longest=0.0651, taken=0.1, number=3)},
        "the longest of 3, which took 100.0",
    ),
    ("info", "specialisation-lost", {"environment": {"python": (3, 13, 0)}}, "1 function that CPython 3.13"),
    ("error", "fingerprint", {"target": {"expect": (OTHER_PIN,)}}, SOUND_TARGET.pin),
    ("error", "fingerprint", {"target": {"expect": (OTHER_PYTHON, OTHER_PIN)}}, SOUND_TARGET.pin),
    ("error", "fingerprint-interpreter", {"target": {"expect": (OTHER_PYTHON,)}}, "no pin for cp312"),
    ("error", "changed-by-others", {"target": {"on_disk": False}}, "source does not give"),
    (
        "warning",
        "changed-by-others",
        {"target": {"on_disk": False, "expect": (SOUND_TARGET.pin,)}},
        "source does not give",
    ),
    ("error", "kind-changed", {"target": {"kinds": ("function", "coroutine")}}, "is a coroutine"),
    ("error", "parameters", {"target": {"parameters": ((A,), (A, B))}}, "breaks calls without 'b'"),
    (
        "warning",
        "override-behind",
        {"target": {"parameters": MORE, "relatives": (OVERRIDE,)}},
        "specimen:D.f (specimen.py:7) overrides it and takes no calls that pass 'b' by keyword; calls with 2",
    ),
    ("warning", "asserts-stripped", {"environment": {"optimize": 1}, "target": {"asserts": True}}, "-O"),
    ("warning", "alias", {"target": {"alias_of": "specimen:g"}}, "specimen:g"),
    ("info", "covers", {"target": {"covers": "OTHER"}}, "patch OTHER"),
    ("info", "forwarded", {"target": {"forwarded": True}}, "variables of its own"),
    ("warning", "variants", {"target": {"variants": 2}}, "2 other functions"),
    ("info", "cache-cleared", {"target": {"caches": ("functools.lru_cache",)}}, "functools.lru_cache"),
]


@pytest.mark.parametrize(("severity", "code", "facts", "says"), FINDINGS, ids=[f"{c}-{s}" for s, c, _, _ in FINDINGS])
def test_one_fact_gives_one_finding(severity: str, code: str, facts: dict[str, Any], says: str):
    assert judged().findings == ()
    report = judged(**facts)
    assert [(finding.code, finding.severity) for finding in report.findings] == [(code, severity)]
    (finding,) = report.findings
    assert says in finding.found
    assert finding.expected
    assert finding.action
    assert report.ok is (severity != "error")
    assert report.errors == ((finding,) if severity == "error" else ())


def test_a_class_around_that_promises_what_the_new_side_does_not_take():
    report = judged(target={"parameters": ((A,), (A, B)), "relatives": (BASE,)})
    assert codes(report) == ["parameters", "contract-broken"]
    assert "overrides specimen:B.f (specimen.py:3), whose callers may make calls without 'b'" in report.errors[1].found
    report = judged(target={"parameters": ((A,), (A, B)), "relatives": (BASE,), "proved": True})
    assert codes(report, "warning") == ["parameters", "contract-broken"]


@pytest.mark.parametrize(
    "target",
    [
        {"relatives": (OVERRIDE, BASE)},
        {"parameters": MORE, "relatives": (BASE,)},
        {"parameters": MORE, "relatives": (dataclasses.replace(OVERRIDE, parameters=MORE[1]),)},
        {"parameters": MORE, "relatives": (dataclasses.replace(OVERRIDE, name="specimen:f"),)},  # it is changed, too
    ],
)
def test_classes_around_that_agree_are_not_told(target: dict[str, Any]):
    assert judged(target=target).findings == ()


def test_no_finding_is_missing_from_the_table():
    trees = [ast.parse(inspect.getsource(module)) for module in (checks, drift, relatives, versions)]
    calls = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call)]
    made = {call.args[1].value for call in calls if getattr(call.func, "id", "") == "row" and _is_text(call)}
    assert len(made) > 20
    assert made == {code for _, code, _, _ in FINDINGS} | {"contract-broken"}


def _is_text(call: ast.Call) -> bool:
    return isinstance(call.args[1], ast.Constant)


@pytest.mark.parametrize(
    "facts",
    [
        {"distribution": {"module_versions": (("specimen", "1.0+ours"),)}},
        {"distribution": {"module_versions": (("specimen", "v1.0.0"),)}},
        {"distribution": {"module_versions": (("specimen", "unknown"),)}},
        {"environment": {"audit_hooked": True}},  # one store is one step
        {"environment": {"audit_hooked": True}, "stores": ((old_one, "__code__"), (new, "__defaults__"))},
        {"environment": {"optimize": 2}},
        {"environment": {"python": (3, 15, 0)}, "stores": ()},
        {"environment": {"python": (3, 12, 9)}},
        {"target": {"asserts": True}},
        {"target": {"expect": (OTHER_PIN, SOUND_TARGET.pin)}},
        {"target": {"on_disk": None}},
        {"target": {"on_disk": False, "covers": "OTHER"}},
        {"target": {"alias_of": "specimen:<lambda>"}},
        {"walks": Walks(longest=0.004, taken=0.02, number=5)},
    ],
    ids=itertools.count(),
)
def test_facts_that_are_no_reason_to_refuse_or_warn(facts: dict[str, Any]):
    assert [f for f in judged(**facts).findings if f.code != "covers"] == []


@pytest.mark.parametrize(
    ("code", "severity"),
    [
        ("alias-unproved", "warning"),
        ("aliases-unreached", "warning"),
        ("closures-left-behind", "warning"),
        ("native", "error"),
        ("a-code-of-tomorrow", "error"),
    ],
)
def test_what_the_engine_observes_refuses_unless_it_is_known_to_be_mild(code: str, severity: str):
    (finding,) = judged(observed=Refusal(code, "this", "that", "do so")).findings
    assert (finding.code, finding.severity, finding.target) == (code, severity, "specimen:f")
    assert (finding.found, finding.expected, finding.action) == ("this", "that", "do so")


def test_each_wrong_thing_is_said_at_once_and_errors_come_first():
    report = judged(
        patch={"replaces_unknown": ("A", "B")},
        distribution={"installed": "0.9rc1+ours"},
        target={"kinds": ("function", "generator"), "variants": 1, "covers": "OTHER"},
    )
    assert codes(report) == ["replaces-unknown"] * 2 + ["version-out-of-range", "version-disagrees", "kind-changed"]
    assert codes(report, "warning") == ["local-version", "variants"]
    assert codes(report, "info") == ["covers"]
    weights = ["error", "warning", "info"]
    assert [f.severity for f in report.findings] == sorted((f.severity for f in report.findings), key=weights.index)


# Versions, as the installed metadata says them

VERSIONS = [
    ("==1.0", "1.0", [], []),
    ("==1.0", "1.0.0", [], []),
    (">=1.0,<2", "1.9.post1", [], []),
    (">=1.0,<2", "2.0", ["version-out-of-range"], []),
    (">=1.0,<2", "0.9", ["version-out-of-range"], []),
    ("~=1.4", "1.9", [], []),
    ("~=1.4", "2.0", ["version-out-of-range"], []),
    ("!=1.5", "1.5", ["version-out-of-range"], []),
    ("==1.*", "1.7", [], []),
    (">=1.0", "1!0.5", [], []),
    ("<2", "1!0.5", ["version-out-of-range"], []),
    ("===1.0", "1.0", [], []),
    # A pre-release is in range where its number is, and is no release of that number.
    (">=1.0,<2", "1.1rc1", [], ["pre-release"]),
    (">=1.0,<2", "1.1.dev4", [], ["pre-release"]),
    (">=1.0", "1.0rc1", ["version-out-of-range"], []),
    ("<1.0", "1.0rc1", ["version-out-of-range"], []),
    ("==1.0rc1", "1.0rc1", [], ["pre-release"]),
    # A local version is in range where its public part is, unless the specifier names another local one.
    ("==1.0", "1.0+ours.1", [], ["local-version"]),
    ("==1.0+ours.1", "1.0+ours.1", [], ["local-version"]),
    ("==1.0+ours.2", "1.0+ours.1", ["version-out-of-range"], ["local-version"]),
    ("<=1.0", "1.0+ours.1", [], ["local-version"]),
    (">1.0", "1.0+ours.1", ["version-out-of-range"], ["local-version"]),
    ("==1.1.*", "1.1rc1+ours", [], ["pre-release", "local-version"]),
    ("==1.0", "2024-01-31_final", ["version-unreadable"], []),
    ("==1.0", "banana", ["version-unreadable"], []),
]


@pytest.mark.parametrize(("versions", "installed", "errors", "warnings"), VERSIONS)
def test_the_installed_version(versions: str, installed: str, errors: list[str], warnings: list[str]):
    report = judged(patch={"versions": versions}, distribution={"installed": installed, "module_versions": ()})
    assert (codes(report), codes(report, "warning")) == (errors, warnings)
    assert all(installed in finding.found for finding in report.findings)


def install(folder: Path, version: str, *modules: str) -> None:
    """Let the metadata of specimen say another version, and which modules are its own."""
    metadata = folder / "specimen-1.0.dist-info"
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: specimen\nVersion: {version}\n")
    (metadata / "top_level.txt").write_text("\n".join(modules))


def test_a_pre_release_goes_in(distribution: Path, write_module: WriteModule):
    m = write_module("def f(): return 'old'")
    install(distribution, "1.1rc1+ours", m.__name__)
    fix = livepatch.Patch("FIX-V", package="specimen", versions="==1.1.*")
    fix.replace(f"{m.__name__}:f")(lambda: "new")
    assert codes(cycle(fix, lambda: m.f(), "old", "new", m), "warning") == ["pre-release", "local-version"]


def test_a_version_out_of_range_is_refused(write_module: WriteModule):
    m = write_module("def f(): return 'old'")
    fix = livepatch.Patch("FIX-V", package="specimen", versions=">1.0")
    fix.replace(f"{m.__name__}:f")(lambda: "new")
    finding = refused(fix, "version-out-of-range", m)
    assert (finding.found, finding.expected) == ("specimen 1.0", "specimen >1.0")


def test_an_interpreter_without_its_lock_is_refused_and_nothing_is_changed(
    write_module: WriteModule, write_fix: WriteFix, monkeypatch: pytest.MonkeyPatch
):
    m = write_module("def f(): return 'old'\ndef g(): return 'old'")
    fix = write_fix(f"{m.__name__}:f", "def f(): return 'new'")
    before = m.f.__code__
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)
    for consistency in (None, "chain", "quiescent", "immediate"):
        with pytest.raises(livepatch.IncompatibleError) as caught:
            livepatch.apply(fix, consistency=consistency)
        assert "free-threaded" in codes(caught.value.report)
        assert "PYTHON_GIL=1" in str(caught.value)
    assert m.f.__code__ is before
    assert livepatch.status() == ()


def test_a_package_that_is_not_installed(write_module: WriteModule):
    m = write_module("def f(): return 'old'")
    fix = livepatch.Patch("FIX-V", package="specimen-of-nothing", versions=">=1")
    fix.replace(f"{m.__name__}:f")(lambda: "new")
    assert "specimen-of-nothing" in refused(fix, "not-installed", m).found
    assert codes(livepatch.check(fix)) == ["not-installed"]


@pytest.mark.all_modules
@pytest.mark.parametrize("metadata", ["Metadata-Version: 2.1\nName: specimen\n", "", None])
def test_metadata_that_says_no_version(metadata: str | None, distribution: Path, write_fix: WriteFix):
    fix = write_fix("textwrap:dedent", "def dedent(text): return text")
    path = distribution / "specimen-1.0.dist-info" / "METADATA"
    if metadata is None:
        path.unlink()
    else:
        path.write_text(metadata)
    assert set(codes(livepatch.check(fix))) <= {"not-installed", "version-unreadable"}
    with pytest.raises(livepatch.IncompatibleError):
        livepatch.apply(fix)


def test_a_module_in_memory_of_another_version_than_is_installed(
    distribution: Path, write_module: WriteModule, write_fix: WriteFix
):
    m = write_module("__version__ = '0.9'\ndef f(): return 'old'")
    install(distribution, "1.0", m.__name__)
    fix = write_fix(f"{m.__name__}:f", "def f(): return 'new'")
    finding = refused(fix, "version-disagrees", m)
    assert finding.target == m.__name__
    assert f"{m.__name__}.__version__ is 0.9, the installed metadata says 1.0" in finding.found
    for agreed in ("1.0", "1.0.0", "1.0+vendor", None, (1, 0), "whatever"):
        m.__version__ = agreed
        assert codes(livepatch.check(fix)) == []


def test_only_the_versions_of_modules_that_the_patch_touches_are_compared(
    distribution: Path, write_module: WriteModule, write_fix: WriteFix
):
    m, other = write_module("def f(): return 'old'"), write_module("__version__ = '0.1'")
    install(distribution, "1.0", m.__name__, other.__name__)
    assert codes(livepatch.check(write_fix(f"{m.__name__}:f", "def f(): return 'new'"))) == []


def test_a_module_of_another_package(distribution: Path, write_module: WriteModule, write_fix: WriteFix):
    m = write_module("__version__ = '7.7'\ndef f(): return 'old'")
    install(distribution, "1.0", "something_else")
    fix = write_fix(f"{m.__name__}:f", "def f(): return 'new'")
    report = cycle(fix, lambda: m.f(), "old", "new", m)
    assert codes(report, "warning") == ["module-not-in-package"]
    install(distribution, "1.0", "something_else", m.__name__)
    m.__version__ = "1.0"
    assert codes(livepatch.check(fix), "warning") == []


# The code in memory


def test_a_pin_that_the_live_code_has(write_module: WriteModule, new_patch: NewPatch):
    m = write_module("def f(a=1): return 'old'")
    fix = new_patch()
    pin = livepatch.fingerprint(f"{m.__name__}:f")
    assert pin.startswith(f"cp{sys.version_info.major}{sys.version_info.minor}")
    fix.replace(f"{m.__name__}:f", expect=[OTHER_PYTHON, pin])(lambda a=1: "new")
    assert codes(cycle(fix, lambda: m.f(), "old", "new", m)) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda m: setattr(m.f, "__code__", m.g.__code__),
        lambda m: setattr(m.f, "__defaults__", (2,)),
        lambda m: setattr(m.f, "__kwdefaults__", {"k": 2}),
        lambda m: setattr(m, "f", m.g),
    ],
    ids=["code", "defaults", "kwdefaults", "function"],
)
def test_a_pin_that_the_live_code_no_longer_has(change: Any, write_module: WriteModule, new_patch: NewPatch):
    m = write_module("def f(a=1, *, k=1): return 'old'\ndef g(a=1, *, k=1): return 'other'")
    fix = new_patch()
    pin = livepatch.fingerprint(f"{m.__name__}:f")
    fix.replace(f"{m.__name__}:f", expect=pin)(lambda a=1, *, k=1: "new")
    assert "fingerprint" not in codes(livepatch.check(fix))
    change(m)
    finding = refused(fix, "fingerprint", m)
    assert finding.expected == pin
    assert pin not in finding.found


def test_pins_of_other_interpreters_alone(write_module: WriteModule, new_patch: NewPatch):
    m = write_module("def f(): return 'old'")
    fix = new_patch()
    tag, _, digest = livepatch.fingerprint(f"{m.__name__}:f").partition(":")
    fix.replace(f"{m.__name__}:f", expect=["cp36:" + digest, f"{tag}-OO:{digest}"])(lambda: "new")
    assert f"({tag})" in refused(fix, "fingerprint-interpreter", m).action
    assert codes(livepatch.check(fix)) == ["fingerprint-interpreter"]


def test_code_that_somebody_rewrote(write_module: WriteModule, new_patch: NewPatch):
    m = write_module("def f(): return 'old'")
    code = m.f.__code__
    m.f.__code__ = code.replace(co_consts=tuple("rewritten" if c == "old" else c for c in code.co_consts))
    fix, pinned = new_patch(), new_patch()
    fix.replace(f"{m.__name__}:f")(lambda: "new")
    refused(fix, "changed-by-others", m)
    pinned.replace(f"{m.__name__}:f", expect=livepatch.fingerprint(m.f))(lambda: "new")
    report = cycle(pinned, lambda: m.f(), "rewritten", "new", m)
    assert "changed-by-others" in codes(report, "warning")


def test_a_file_that_changed_under_the_process(write_module: WriteModule, write_fix: WriteFix):
    m = write_module("def f(): return 'old'")
    fix = write_fix(f"{m.__name__}:f", "def f(): return 'new'")
    assert codes(livepatch.check(fix)) == []
    path = Path(m.__file__)
    path.write_text("# only a comment\ndef f(): return 'old'\n")
    assert codes(livepatch.check(fix)) == []
    path.write_text("def f(): return 'upgraded'\n")
    refused(fix, "changed-by-others", m)
    path.unlink()
    assert codes(livepatch.check(fix)) == []  # no source says nothing


def test_code_that_another_patch_changed_is_covered_and_not_foreign(write_module: WriteModule, write_fix: WriteFix):
    m = write_module("def f(): return 'old'")
    lower = livepatch.apply(write_fix(f"{m.__name__}:f", "def f(): return 'lower'"))
    report = livepatch.check(write_fix(f"{m.__name__}:f", "def f(): return 'upper'"))
    assert codes(report) == []
    assert [f.found for f in report.findings if f.code == "covers"] == [f"patch {lower.id} on top"]
    lower.mode = "off"
    assert "covers" not in codes(livepatch.check(write_fix(f"{m.__name__}:f", "def f(): return 'upper'")), "info")


@pytest.mark.parametrize(
    ("old", "new", "is_a", "not_a"),
    [
        ("def f(): return 1", "async def f(): return 1", "coroutine", "function"),
        ("async def f(): return 1", "def f(): return 1", "function", "coroutine"),
        ("def f(): yield 1", "def f(): return iter([1])", "function", "generator"),
        ("async def f(): return 1", "async def f(): yield 1", "async generator", "coroutine"),
    ],
)
def test_kinds_of_code_may_not_change(
    old: str, new: str, is_a: str, not_a: str, write_module: WriteModule, write_fix: WriteFix
):
    m = write_module(old)
    fix = write_fix(f"{m.__name__}:f", new)
    finding = refused(fix, "kind-changed", m)
    assert (finding.found, finding.expected) == (f"the replacement is a {is_a}", f"a {not_a}, as callers use it")
    assert codes(livepatch.check(fix)) == ["kind-changed"]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("def f() -> int: return 1", "def f() -> str: return '1'", [
            "it is annotated to return str, and was to return int"
        ]),
        ("def f() -> int: return 1", "def f() -> 'int': return 2", []),
        ("def f(): return 1", "def f() -> str: return '1'", []),
        ("def f() -> int: return 1", "def f(): return 2", []),
        ("def f() -> 'Missing': return 1", "def f() -> 'Missing | None': return 2", [
            "it is annotated to return Missing | None, and was to return Missing"
        ]),
    ],
)  # fmt: skip
def test_another_return_annotation_is_told(
    old: str, new: str, said: list[str], write_module: WriteModule, write_fix: WriteFix
):
    m = write_module(old)
    report = livepatch.check(write_fix(f"{m.__name__}:f", new))
    assert report.ok
    assert [f.found for f in report.findings if f.code == "return-annotation"] == said


def test_an_override_that_the_new_side_would_call_in_vain(write_module: WriteModule, new_patch: NewPatch):
    m = write_module(
        "class B:\n  def f(self, a): return a\n  def g(self): return self.f(1)\n"
        "class D(B):\n  def f(self, a): return -a\n"
    )
    fix = new_patch()
    exec(
        f"@fix.replace('{m.__name__}:B.f')\ndef f(self, a, strict=False): return a\n"
        f"@fix.replace('{m.__name__}:B.g')\ndef g(self): return self.f(1, strict=True)\n",
        {"fix": fix},
    )
    report = livepatch.check(fix)
    assert report.ok
    (finding,) = [f for f in report.findings if f.code == "override-behind"]
    assert finding.target == f"{m.__name__}:B.f"
    assert f"{m.__name__}:D.f (" in finding.found
    assert "takes no calls that pass 'strict' by keyword" in finding.found


def test_parameters_that_break_calls(write_module: WriteModule, write_fix: WriteFix):
    m = write_module("def f(a, b=1, *args, c=2): return 'old'")
    fix = write_fix(f"{m.__name__}:f", "def f(a, d, *, c=2): return 'new'")
    report = livepatch.check(fix)
    assert set(codes(report)) == {"parameters"}
    said = " ".join(f.found for f in report.errors)
    assert "'b'" in said
    assert "'d'" in said
    assert "positional" in said
    refused(fix, "parameters", m)
    wider = "def f(a, b=1, *args, c=2, d=3, **k): return 'new'"
    assert codes(livepatch.check(write_fix(f"{m.__name__}:f", wider))) == []


def test_another_name_of_the_function(write_module: WriteModule, write_fix: WriteFix):
    m = write_module("def f(): return 'old'\ng = f\nh = lambda: 'old'")
    report = livepatch.check(write_fix(f"{m.__name__}:g", "def f(): return 'new'"))
    (finding,) = [f for f in report.findings if f.code == "alias"]
    assert (finding.severity, finding.action) == ("warning", f"write {m.__name__}:f")
    assert "alias" not in codes(livepatch.check(write_fix(f"{m.__name__}:h", "def h(): return 'new'")), "warning")


def test_other_functions_of_that_name(
    distribution: Path, write_module: WriteModule, write_fix: WriteFix, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("livepatch.engine.heap.UNNOTICED", 1.0)  # pytest's own heap takes longer than a small one
    m = write_module("def f(): return 'old'")
    kept = m.f
    path = Path(m.__file__)
    path.write_text("def f(): return 'reloaded'\n")
    os.utime(path, (1, 1))  # another time than the cached code's
    importlib.reload(m)
    fix = write_fix(f"{m.__name__}:f", "def f(): return 'new'")
    report = cycle(fix, lambda: (m.f(), kept()), ("reloaded", "old"), ("new", "old"), m)
    assert "variants" in codes(report, "warning")
    assert "1 other function" in next(f.found for f in report.findings if f.code == "variants")


def test_variables_and_caches(write_module: WriteModule, new_patch: NewPatch):
    m = write_module("import functools\n@functools.lru_cache\ndef f(): return 'old'")
    fix, own = new_patch(), "new"
    fix.replace(f"{m.__name__}:f")(lambda: own)
    report = cycle(fix, lambda: m.f(), "old", "new", m)
    assert {"forwarded", "cache-cleared"} <= set(codes(report, "info"))
    assert any("lru_cache" in f.found for f in report.findings if f.code == "cache-cleared")


# The patch among others


def test_ids_flags_and_replaces(write_module: WriteModule, new_patch: NewPatch):
    m = write_module("def f(): return 'old'")
    fix = new_patch()
    fix.replace(f"{m.__name__}:f")(lambda: "new")
    livepatch.apply(fix, mode="off")
    refused(fix, "already-applied", m)
    other = livepatch.Patch("FIX-OTHER", package="specimen", versions="==1.0", flag=fix.flag)
    other.replace(f"{m.__name__}:f")(lambda: "other")
    assert fix.id in refused(other, "flag-taken", m).found
    with pytest.raises(livepatch.IncompatibleError) as caught:
        livepatch.apply(other, replaces=[fix.id, "FIX-NEVER", "FIX-NOR-THIS"])
    assert codes(caught.value.report) == ["replaces-unknown"] * 2
    assert [status.id for status in livepatch.status()] == [fix.id]
    livepatch.apply(other, replaces=[fix.id])  # its flag and its place come along
    assert [status.id for status in livepatch.status()] == [other.id]
    assert m.f() == "other"


def test_a_patch_that_changes_nothing(new_patch: NewPatch):
    fix = new_patch()
    assert fix.id in refused(fix, "empty-patch").found
    assert codes(livepatch.check(fix)) == ["empty-patch"]


# The interpreter, as it really is


def trace(frame, event, arg):
    return None


@pytest.mark.parametrize(
    ("attach", "detach"),
    [
        (lambda: sys.settrace(trace), lambda: sys.settrace(None)),
        (lambda: sys.setprofile(trace), lambda: sys.setprofile(None)),
        (lambda: threading.settrace(trace), lambda: threading.settrace(None)),
        (lambda: threading.setprofile(trace), lambda: threading.setprofile(None)),
    ],
    ids=["settrace", "setprofile", "threading.settrace", "threading.setprofile"],
)
def test_tracers_and_profilers(attach: Any, detach: Any, write_module: WriteModule, write_fix: WriteFix):
    m = write_module("def f(): return 'old'")
    fix = write_fix(f"{m.__name__}:f", "def f(): return 'new'")
    assert "tools-active" not in codes(livepatch.check(fix), "warning")
    attach()
    try:
        report = cycle(fix, lambda: m.f(), "old", "new", m)
    finally:
        detach()
    (finding,) = [f for f in report.findings if f.code == "tools-active"]
    assert finding.severity == "warning"
    assert f"{__name__.rpartition('.')[2]}.trace" in finding.found


@pytest.mark.skipif(sys.version_info < (3, 12), reason="sys.monitoring came with 3.12")
def test_monitoring_tools(write_module: WriteModule, new_patch: NewPatch):
    monitoring: Any = sys.monitoring  # type: ignore[attr-defined]
    m = write_module("def f(): return 'old'")
    fix = new_patch()
    pin = livepatch.fingerprint(m.f)
    fix.replace(f"{m.__name__}:f", expect=pin)(lambda: "new")
    seen: list[str] = []
    monitoring.use_tool_id(4, "the-watcher")
    try:
        monitoring.register_callback(4, monitoring.events.PY_START, lambda code, offset: seen.append(code.co_name))
        monitoring.set_events(4, monitoring.events.PY_START)
        m.f()
        # A tool puts its own instructions into the code; that is no change of what the code is.
        assert livepatch.fingerprint(m.f) == pin
        report = cycle(fix, lambda: m.f(), "old", "new", m)
        monitoring.set_events(4, 0)
    finally:
        monitoring.register_callback(4, monitoring.events.PY_START, None)
        monitoring.free_tool_id(4)
    assert "f" in seen
    (finding,) = [f for f in report.findings if f.code == "tools-active"]
    assert finding.severity == "warning"
    assert "the-watcher" in finding.found


SCRIPT = """
import sys, json
sys.path.insert(0, {folder!r})
import livepatch, target, fixes
before = target.f()
reports = [livepatch.check(fix) for fix in (fixes.fix, fixes.pinned)]
livepatch.apply(fixes.fix)
print(json.dumps([[[f.code, f.severity] for f in r.findings] for r in reports] + [[before, target.f()]]))
"""


@pytest.mark.parametrize("flag", [None, "-O", "-OO"])
def test_asserts_that_the_interpreter_leaves_out(flag: str | None, distribution: Path):
    target = "def f(a=1):\n    'words'\n    assert a\n    return 'old'\n"
    (distribution / "target.py").write_text(target)
    namespace: dict[str, Any] = {}
    exec(compile(target, "target.py", "exec", dont_inherit=True), namespace)
    pin = livepatch.fingerprint(namespace["f"])
    (distribution / "fixes.py").write_text(
        textwrap.dedent(f"""
            import livepatch
            fix = livepatch.Patch('FIX-A', package='specimen', versions='==1.0')
            pinned = livepatch.Patch('FIX-P', package='specimen', versions='==1.0')
            @fix.replace('target:f')
            def f(a=1):
                assert a, 'never so'
                return 'new'
            @pinned.replace('target:f', expect={pin!r})
            def f(a=1):
                return 'new'
        """)
    )
    done = subprocess.run(
        [sys.executable, *([flag] if flag else []), "-B", "-c", SCRIPT.format(folder=str(distribution))],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": str(SRC), "PYTHONOPTIMIZE": ""},
    )
    assert done.returncode == 0, done.stderr
    asserting, pinned, answers = json.loads(done.stdout.splitlines()[-1])
    of_the_code = {"asserts-stripped", "changed-by-others", "fingerprint", "fingerprint-interpreter"}
    assert [row for row in asserting if row[0] in of_the_code] == ([["asserts-stripped", "warning"]] if flag else [])
    assert [row for row in pinned if row[0] in of_the_code] == ([["fingerprint-interpreter", "error"]] if flag else [])
    assert answers == ["old", "new"]
