"""Protected code in a process: what is refused, the way through, and what a mode may be changed to afterwards."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING

import pytest
from tests.graphs import HandMade, graph

import livepatch
from livepatch.govern.guarding import graph_of_process

if TYPE_CHECKING:
    from tests.conftest import WriteFix, WriteModule

Height = Callable[[], int]


@pytest.fixture
def chain(write_module: WriteModule) -> ModuleType:
    return write_module(
        """
        LIMIT = 4
        def digest(block): return fold(block)
        def fold(block): return 'old'
        def check(block): return digest(block)
        def handler(block): return 'old'
        class Store:
            most = 4
            def get(self): return 'old'
            def room(self): return self.most
        """
    )


@pytest.fixture
def calls(chain: ModuleType, monkeypatch: pytest.MonkeyPatch) -> HandMade:
    """As a call graph would know them: `check` is what the tests protect."""
    name = chain.__name__
    made = graph(
        f"{name}:check -> {name}:digest", f"{name}:digest -> {name}:fold", f"{name}:check ?-> {name}:Store.get",
        f"{name}:check -> {name}:Store.room", f"{name}:handler -> {name}:check",
    )  # fmt: skip
    monkeypatch.setattr("livepatch.process.examining.graph_of_process", lambda *_: made)
    return made


@pytest.fixture
def rule(chain: ModuleType, calls: HandMade) -> Iterator[livepatch.Protection]:
    assert calls
    with livepatch.protect(f"{chain.__name__}:check", reason="all nodes must agree") as made:
        yield made


@pytest.fixture
def fix(chain: ModuleType, write_fix: WriteFix) -> livepatch.Patch:
    """A fix of what protected code calls, with a claim."""
    made = write_fix(f"{chain.__name__}:fold", "def fold(block): return 'new'")
    made.compatible_with = ">=1.0"
    return made


def refused(fix: livepatch.Patch, **how) -> livepatch.Report:
    """The report with which a patch is refused; the error is one of policy, too."""
    with pytest.raises(livepatch.PolicyError) as caught:
        livepatch.apply(fix, **how)
    assert isinstance(caught.value, livepatch.IncompatibleError)
    assert livepatch.status() == ()
    return caught.value.report


def codes(report: livepatch.Report, severity: str = "error") -> list[str]:
    return [f.code for f in report.findings if f.severity == severity and f.code != "module-not-in-package"]


# What is refused


def test_what_protected_code_calls_is_refused_and_the_way_is_shown(chain, rule, fix):
    assert rule
    report = refused(fix)
    assert codes(report) == ["protected-path"]
    name = chain.__name__
    assert report.errors[0].found == (
        f"protected code calls it: {name}:check -> {name}:digest -> {name}:fold "
        "(all nodes must agree; livepatch.protect)"
    )
    assert report.protected
    assert str(report).startswith(f"patch {fix.id} for specimen ==1.0 does not fit this process, and touches protected")
    assert livepatch.check(fix).errors == report.errors
    assert chain.check(1) == "old"


def test_a_patch_for_another_version_is_that_first_of_all(chain, rule, write_fix):
    assert rule
    fix = write_fix(f"{chain.__name__}:fold", "def fold(block): return 'new'")
    fix.versions = ">=2"
    assert codes(livepatch.check(fix)) == ["version-out-of-range", "protected-path"]


def test_what_is_protected_itself_is_refused(chain, rule, write_fix):
    assert rule
    report = refused(write_fix(f"{chain.__name__}:check", "def check(block): return 'new'"))
    assert report.errors[0].found.startswith(f"it is protected as {chain.__name__}:check")


def test_what_only_calls_protected_code_is_not(chain, rule, write_fix):
    assert rule
    fix = write_fix(f"{chain.__name__}:handler", "def handler(block): return 'new'")
    assert livepatch.check(fix).ok
    applied = livepatch.apply(fix, mode=livepatch.split(50))
    assert not applied.status().protected
    assert not applied.report.protected


def test_a_value_that_protected_code_reads_is_refused(chain, write_module, new_patch, monkeypatch):
    name = chain.__name__
    other = write_module(f"import {name}\nfrom {name} import LIMIT\ndef f(): return LIMIT\ndef g(): return 1")
    monkeypatch.setattr(
        "livepatch.process.examining.graph_of_process", lambda *_: graph(f"{other.__name__}:f -> {other.__name__}:f")
    )
    with livepatch.protect(f"{other.__name__}:f"):
        fix = new_patch()
        fix.set(f"{name}:LIMIT", 5)
        report = refused(fix)
        assert {f.target for f in report.errors} == {f"{other.__name__}:LIMIT"}
        assert f"{other.__name__}:f, which reads it" in report.errors[0].found
    with livepatch.protect(f"{other.__name__}:g"):
        assert livepatch.check(fix).ok


def test_an_attribute_that_a_method_reads_is_refused(chain, rule, new_patch):
    assert rule
    fix = new_patch()
    fix.set(f"{chain.__name__}:Store.most", 5)
    report = refused(fix)
    assert "Store.room, which reads it" in report.errors[0].found


def test_a_name_that_hides_a_builtin_is_refused_where_protected_code_uses_that(write_module, new_patch, monkeypatch):
    m = write_module("def size(x): return len(x)\ndef other(): return 1")
    monkeypatch.setattr(
        "livepatch.process.examining.graph_of_process", lambda *_: graph(f"{m.__name__}:size -> {m.__name__}:size")
    )
    with livepatch.protect(f"{m.__name__}:size"):
        fix = new_patch()
        fix.add(m.__name__, len=lambda _: 0)
        assert "protected-path" in codes(livepatch.check(fix))
        fix = new_patch()
        fix.add(m.__name__, anything=1)
        assert livepatch.check(fix).ok


def test_a_rule_holds_until_its_own_caller_lifts_it(chain, calls, fix):
    assert calls
    one = livepatch.protect(f"{chain.__name__}:check")
    two = livepatch.protect(f"{chain.__name__}:digest")
    try:
        assert one.patterns == (f"{chain.__name__}:check",)
        one.lift()
        one.lift()
        assert "lifted" in repr(one)
        assert "lifted" not in repr(two)
        assert not livepatch.check(fix).ok
    finally:
        two.lift()
    assert livepatch.check(fix).ok


def test_where_no_graph_can_be_built_nothing_goes_in(chain, rule, write_fix, monkeypatch):
    assert rule

    def fails(*_: object):
        raise RecursionError("too deep")

    monkeypatch.setattr("livepatch.process.examining.graph_of_process", fails)
    report = refused(write_fix(f"{chain.__name__}:handler", "def handler(block): return 'new'"))
    assert codes(report) == ["call-graph-missing"]


def test_of_other_packages_the_graph_holds_what_may_lead_to_a_target(chain, monkeypatch):
    asked: list[frozenset[str]] = []

    class Graphs(ModuleType):
        @staticmethod
        def live_graph(modules: dict[str, ModuleType]) -> HandMade:
            asked.append(frozenset(name.partition(".")[0] for name in modules))
            assert all(isinstance(module, ModuleType) for module in modules.values())
            return graph("a:f -> a:g")

    monkeypatch.setitem(sys.modules, "livepatch.compat.callgraph", Graphs("livepatch.compat.callgraph"))
    name = chain.__name__
    assert graph_of_process(frozenset({name}), frozenset({name})).functions == ("a:f", "a:g")
    graph_of_process(frozenset({"structlog"}), frozenset({name}))
    graph_of_process(frozenset({"structlog", "json"}), frozenset({name}))
    assert asked[0] == {name}
    assert {name, "structlog", "pytest"} <= asked[1]
    assert not {"livepatch", "json", "asyncio"} & asked[1]
    assert "json" in asked[2]


@pytest.mark.skipif(find_spec("livepatch.compat.callgraph") is None, reason="this livepatch builds no call graph")
def test_the_graph_of_the_process_itself_is_asked(chain, fix, write_fix):
    with livepatch.protect(f"{chain.__name__}:check"):
        name = chain.__name__
        assert f"{name}:check -> {name}:digest -> {name}:fold" in refused(fix).errors[0].found
        assert livepatch.check(write_fix(f"{name}:handler", "def handler(block): return 'new'")).ok


def test_without_rules_no_graph_is_built(fix, monkeypatch):
    monkeypatch.setattr("livepatch.process.examining.graph_of_process", lambda *_: pytest.fail("a graph was built"))
    asked = []
    livepatch.apply(fix, mode=livepatch.at(5, lambda: asked.append(1) or 0))  # type: ignore[func-returns-value]  # 0
    assert asked == []  # and no source of heights is asked


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((), TypeError),
        ((7,), TypeError),
        (("*",), livepatch.PolicyError),
        (("a b",), livepatch.PolicyError),
        (("fine", ""), livepatch.PolicyError),
    ],
)
def test_a_wrong_pattern_protects_nothing(arguments, error):
    from livepatch.govern.policies import policy_in_force

    with pytest.raises(error):
        livepatch.protect(*arguments)
    with pytest.raises(TypeError, match="approvals"):
        livepatch.protect("a", approvals="2")  # type: ignore[arg-type]
    with pytest.raises(livepatch.PolicyError, match="approvals"):
        livepatch.protect("a", approvals=-1)
    with pytest.raises(TypeError, match="reason"):
        livepatch.protect("a", reason=None)  # type: ignore[arg-type]
    assert not policy_in_force()


# The way through


def test_the_way_through_is_a_height_and_a_claim_and_shows_everywhere(chain, rule, fix):
    assert rule
    height = 10
    mode = livepatch.at(12, lambda: height)
    assert livepatch.check(fix, mode=mode).ok
    applied = livepatch.apply(fix, mode=mode)
    assert codes(applied.report, "warning") == ["protected-path"]
    assert applied.status().protected
    assert "touches protected code" in str(applied.status())
    assert json.loads(json.dumps(applied.status().to_dict()))["protected"] is True
    assert chain.check(1) == "old"
    height = 12
    assert chain.check(1) == "new"


def test_without_a_claim_there_is_no_way_through(chain, rule, write_fix):
    assert rule
    fix = write_fix(f"{chain.__name__}:fold", "def fold(block): return 'new'")
    report = refused(fix, mode=livepatch.at(12, lambda: 10))
    assert codes(report) == ["protected-path"]
    assert "compatible_with=" in report.errors[0].action


@pytest.mark.parametrize("mode", [livepatch.split(5), livepatch.split(0), livepatch.split(100)])
def test_a_share_of_the_calls_is_refused(rule, fix, mode):
    assert rule
    assert codes(refused(fix, mode=mode)) == ["protected-path", "protected-split"]


def test_approvals_that_nobody_gave_refuse(chain, calls, fix):
    assert calls
    with livepatch.protect(f"{chain.__name__}:check", approvals=2):
        report = refused(fix, mode=livepatch.at(12, lambda: 10))
    assert codes(report) == ["approvals-missing"]


def test_a_height_that_is_passed_is_told_and_a_source_that_fails_refuses(rule, fix):
    assert rule

    def fails() -> int:
        raise OSError("no chain")

    with pytest.raises(livepatch.IncompatibleError, match="no chain"):
        livepatch.apply(fix, mode=livepatch.at(12, fails))
    assert livepatch.status() == ()
    applied = livepatch.apply(fix, mode=livepatch.at(12, lambda: 99))
    assert codes(applied.report, "warning") == ["protected-path", "activation-passed"]


def test_a_possible_way_may_be_waived_and_the_waiver_shows(chain, rule, write_fix):
    assert rule
    name = f"{chain.__name__}:Store.get"
    fix = write_fix(name, "def get(self): return 'new'")
    report = refused(fix)
    assert f"{chain.__name__}:check ?-> {name}" in report.errors[0].found
    fix.waive(name, reason="that get is a dict's")
    applied = livepatch.apply(fix)
    assert codes(applied.report, "warning") == ["protected-waived"]
    assert applied.report.waived == applied.status().waived == (name,)
    assert "that get is a dict's" in str(applied.report).replace("\n      ", " ")
    applied.mode = livepatch.split(5)  # a waived target is as any other


@pytest.mark.parametrize("by_rule", [True, False])
def test_an_author_cannot_waive_the_approvals_of_others(chain, calls, write_fix, tmp_path, by_rule):
    assert calls
    rules = tmp_path / "rules.toml"
    rules.write_text("" if by_rule else "[[approval]]\nname = 'a'\nroles = {anybody = 2}\nprotected = true\n")
    name = f"{chain.__name__}:Store.get"
    fix = write_fix(name, "def get(self): return 'new'")
    fix.waive(name, reason="that get is a dict's")
    with livepatch.protect(f"{chain.__name__}:check", approvals=2 if by_rule else 0):
        report = refused(fix, policy=rules)
    assert codes(report, "error") == ["approvals-missing"]
    assert chain.Store().get() == "old"


def test_a_value_cannot_wait_for_a_height_and_check_says_so(chain, rule, new_patch):
    assert rule
    fix = new_patch()
    fix.compatible_with = ">=1.0"
    fix.set(f"{chain.__name__}:Store.most", 5)
    mode = livepatch.at(12, lambda: 10)
    report = livepatch.check(fix, mode=mode)
    assert codes(report) == ["mode-unsuitable"]
    assert "Store.most, which all calls share" in report.errors[0].found
    assert "restart" in report.errors[0].action
    (plain,) = livepatch.check(fix).errors
    assert plain.code == "protected-path"
    assert f"put what changes of {chain.__name__}:Store.most into the functions" in plain.action
    assert "restart" in plain.action
    assert "give it an activation height" not in plain.action.partition("; or restart")[0]
    with pytest.raises(livepatch.PatchError, match="which all calls share"):
        livepatch.apply(fix, mode=mode)
    assert livepatch.status() == ()


# What the mode may become


@pytest.fixture
def height() -> list[int]:
    return [10]


@pytest.fixture
def applied(rule: livepatch.Protection, fix: livepatch.Patch, height: list[int]) -> livepatch.Applied:
    assert rule
    return livepatch.apply(fix, mode=livepatch.at(12, lambda: height[0]))


def forbidden(applied: livepatch.Applied, mode: object, why: str) -> None:
    before = applied.mode
    for switch in (lambda: setattr(applied, "mode", mode), lambda: livepatch.flags.__setitem__(applied.flag, mode)):
        with pytest.raises(livepatch.PolicyError, match=why):
            switch()
        assert applied.mode == before


def test_a_split_is_refused_afterwards_too(applied, height):
    forbidden(applied, livepatch.split(5), "cannot be split")
    height[0] = 12
    forbidden(applied, livepatch.split(99), "cannot be split")


def test_on_is_refused_before_the_height_and_changes_nothing_after_it(chain, applied, height):
    forbidden(applied, "on", "before the others")
    applied.mode = "off"
    forbidden(applied, "on", "before the others")
    applied.mode = livepatch.at(12, lambda: height[0])
    height[0] = 12
    applied.mode = "on"
    assert chain.check(1) == "new"


def test_once_live_it_is_not_switched_off_but_by_a_revert(chain, applied, height):
    height[0] = 12
    for mode in ("off", livepatch.at(20, lambda: height[0])):
        forbidden(applied, mode, "is live")
    applied.mode = "on"
    for mode in ("off", livepatch.at(20, lambda: height[0])):
        forbidden(applied, mode, "is live")
    applied.revert()
    assert chain.check(1) == "old"


def test_before_the_height_it_may_be_switched_off_and_set_to_another_height(chain, applied, height):
    applied.mode = livepatch.at(20, lambda: height[0])
    applied.mode = "off"
    applied.mode = livepatch.at(15, lambda: height[0])
    height[0] = 15
    assert chain.check(1) == "new"


def test_a_source_that_fails_is_no_reason_to_guess(applied, height):
    height[0] = None  # type: ignore[call-overload]  # as a node that has no chain yet might say
    forbidden(applied, "on", "nobody can tell")
    forbidden(applied, "off", "nobody can tell")
    applied.revert()


# What may take its place


def test_a_live_patch_of_protected_code_is_replaced_only_by_one_that_is_live_too(chain, applied, height, write_fix):
    def another(name: str) -> livepatch.Patch:
        made = write_fix(f"{chain.__name__}:{name}", f"def {name}(block): return 'newer'")
        made.compatible_with = ">=1.0"
        return made

    height[0] = 12
    for name, mode, why in [
        ("handler", "on", "touches no protected code"),
        ("fold", "off", "mode off after"),
        ("fold", livepatch.at(20, lambda: height[0]), r"mode at\(20\) after"),
    ]:
        with pytest.raises(livepatch.PolicyError, match=why):
            livepatch.apply(another(name), mode=mode, replaces=[applied.id])
        assert chain.check(1) == "new"
    newer = livepatch.apply(another("fold"), mode=livepatch.at(12, lambda: height[0]), replaces=[applied.id])
    assert chain.check(1) == "newer"
    assert [status.id for status in livepatch.status()] == [newer.id]


def test_one_that_is_dormant_is_replaced_by_any(chain, applied, write_fix):
    other = write_fix(f"{chain.__name__}:handler", "def handler(block): return 'new'")
    assert livepatch.apply(other, replaces=[applied.id])
    assert chain.check(1) == "old"
