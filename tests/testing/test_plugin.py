"""The pytest plugin: what a test applies is out at its end, a test that leaves something fails, and markers run modes.

A session of pytest takes a second to begin, so there are few of them, each of many tests.
"""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from tests.testing.sessions import NODE, Session, folder_with, session

LEAVES = {
    "defaults": ("node.admit.__defaults__ = (11,)", "NODE:admit has another __defaults__"),
    "name": ("node.admit = lambda x: 1", "NODE has another admit"),
    "code": ("node.size.__code__ = (lambda x: 1).__code__", "NODE:size has another __code__"),
    "equal_code": ("node.kind.__code__ = node.kind.__code__.replace()", "NODE:kind has another __code__"),
    "kwdefaults": ("node.kind.__kwdefaults__ = {'a': 1}", "NODE:kind has another __kwdefaults__"),
    "method": ("node.Pool.add = lambda self, x: 1", "NODE:Pool has another add"),
    "added": ("node.Pool.more = lambda self, x: 1", "NODE:Pool has a new more"),
    "removed": ("del node.spare", "NODE has lost spare"),
    "value": ("node.LIMIT = 7", "NODE has another LIMIT"),
    "attribute": ("node.kind.seen = 1", "NODE:kind has another __dict__"),
    "alias": ("other.LIMIT = 7", "other_NODE:LIMIT does not hold what it held"),
}

GUARDED = """
    import threading
    import other
    original = node.admit.__code__
    over, started = threading.Event(), threading.Event()

    def test_applies(livepatch):
        applied = livepatch.apply(fix)
        assert node.admit(1) == "refused"
        assert livepatch.flags["FIX"] == applied.mode == "on"
        assert livepatch.verify()

    def test_is_out():
        assert node.admit(1) == "admitted"
        assert node.admit.__code__ is original
        assert (node.LIMIT, other.LIMIT) == (123456, 123456)

    def test_dormant(livepatch):
        livepatch.apply(fix, mode="off")

    def test_without_the_fixture_s_apply(livepatch):
        library.apply(fix)

    def test_whoever_applies(livepatch):
        with pytest.raises(library.testing.ExpectationError, match="node:kind has another __dict__"):
            with library.testing.Guard():
                library.apply(fix)
                node.kind.seen = 1
        del node.kind.seen

    def test_the_program_s_own_affair(livepatch):
        livepatch.apply(fix)
        node.TABLE = {1: 2}
        node.seen = 1

    def test_what_was_there_before_stays(livepatch, request):
        livepatch.apply(fix)
        with library.testing.Guard():
            livepatch.apply(more)
        assert [each.id for each in livepatch.status()] == ["FIX"]

    def test_what_was_there_before_is_taken_out(livepatch):
        livepatch.apply(fix)
        with pytest.raises(library.testing.ExpectationError, match="patch FIX, which was there before, is gone"):
            with library.testing.Guard():
                livepatch.revert("FIX")

    @pytest.fixture
    def broken(livepatch):
        livepatch.apply(fix)
        raise RuntimeError("broken")

    def test_with_a_broken_fixture(broken):
        pass

    def test_after_the_broken_fixture():
        assert node.admit(1) == "admitted"

    def test_fails_and_leaves(livepatch):
        livepatch.apply(fix)
        node.more = lambda: 1
        assert node.admit(1) == 1

    def wait(x):
        started.set()
        over.wait()
        return x

    def test_stays(livepatch):
        patch = livepatch.Patch("STAY", package="specimen", versions="==1.0")
        patch.replace("node:admit")(lambda x, most=10: size(x))
        patch.replace("node:size")(wait)
        livepatch.apply(patch)
        threading.Thread(target=node.admit, args=(1,), daemon=True).start()
        started.wait()

    def test_end():
        over.set()

    more = library.Patch("MORE", package="specimen", versions="==1.0")

    @more.replace("node:kind")
    def kind(x):
        return "new"
"""
SHORT = ("defaults", "equal_code", "method", "value", "alias")


def leaving(*names: str) -> dict[str, str]:
    """A test that leaves each of these, in a module of its own, which is spoilt then."""
    tests = "from fixes import fix_for\n" + "".join(
        f"def test_{name}(livepatch):\n    import other_node_{name} as other, node_{name} as node\n"
        f"    livepatch.watch('node_{name}')\n    livepatch.apply(fix_for('node_{name}'))\n    {LEAVES[name][0]}\n"
        for name in names
    )
    modules = {f"node_{name}": NODE for name in names}
    return {"test_leaving": tests, **modules, **{f"other_{name}": f"from {name} import LIMIT\n" for name in modules}}


MARKED = """
    from livepatch.testing import FakeClock

    answers = {"off": {"admitted"}, "on": {"refused"}, "split": {"admitted", "refused"}, "transition": {"refused"},
               "reverted": {"admitted"}}
    clock = FakeClock()
    only = library.Patch("ONLY", package="specimen", versions="==1.0")
    only.set("node:LIMIT", 7)

    @pytest.mark.livepatch(functions)
    def test_each(livepatch_mode):
        assert {node.admit(1) for _ in range(60)} == answers[livepatch_mode]

    @pytest.mark.livepatch(functions, modes=("transition",))
    def test_transition(livepatch):
        assert livepatch.status()[0].state == "draining"

    @pytest.mark.livepatch(patch=functions, modes="reverted")
    class TestOfClass:
        def test_without_naming_a_fixture(self):
            assert node.admit(1) == "admitted"
            with pytest.raises(library.UnknownPatchError):
                library.flags["FUNCTIONS"]
            assert library.revert("FUNCTIONS").state == "reverted"  # it was there

    def test_after():
        assert node.admit(1) == "admitted"

    @pytest.fixture
    def livepatch_patch():
        return functions

    @pytest.mark.livepatch(modes=[library.at(10, source=clock), library.split(100)])
    def test_own_modes(livepatch_mode):
        if livepatch_mode.startswith("at"):
            assert node.admit(1) == "admitted"
            clock.advance(10)
        assert node.admit(1) == "refused"

    @pytest.mark.livepatch(only, modes=("on", "transition"))
    def test_no_function(livepatch_mode):
        assert node.LIMIT == 7
"""
USELESS = {
    "mode": ("@pytest.mark.livepatch(fix, modes=('of',))\ndef test_it(): pass", "one of off, on, split"),
    "modes": ("@pytest.mark.livepatch(fix, modes=())\ndef test_it(): pass", "found: no mode"),
    "patch": ("@pytest.mark.livepatch('fix')\ndef test_it(): pass", "found: patch='fix'"),
    "arguments": ("@pytest.mark.livepatch(fix, 1, 2)\ndef test_it(): pass", "expected: livepatch(patch=None"),
    "nothing": ("@pytest.mark.livepatch()\ndef test_it(): pass", "define the fixture livepatch_patch"),
    "marker": ("def test_it(livepatch_mode): pass", "livepatch_mode is for marked tests"),
    "unittest": (
        "import unittest\nclass T(unittest.TestCase):\n    @pytest.mark.livepatch(fix)\n    def test_it(self): pass",
        "takes no parameters",
    ),
}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    tests = {"test_guarded": GUARDED, "test_marked": MARKED}
    tests |= {f"test_useless_{name}": text for name, (text, _) in USELESS.items()}
    tests["other"] = "from node import LIMIT\n"
    tests |= leaving(*SHORT)
    folder = folder_with(tmp_path_factory.mktemp("suite"), **tests)
    return session(folder, "-o", "livepatch_timeout=0.5", "--continue-on-collection-errors")


@pytest.mark.parametrize("name", re.findall(r"def (test_\w+)", GUARDED))
def test_what_a_test_applies_is_out_at_its_end(guarded, name):
    expected = {"test_fails_and_leaves": "FAILED", "test_stays": "FAILED", "test_with_a_broken_fixture": "ERROR"}
    assert guarded.outcome(name) == expected.get(name, "PASSED")


@pytest.mark.parametrize("name", SHORT)
def test_a_test_that_leaves_something_fails_itself(guarded, name):
    must_have_failed(guarded, name)


@pytest.mark.slow
def test_whatever_it_leaves(tmp_path):
    names = LEAVES.keys() - set(SHORT)
    done = session(folder_with(tmp_path, **leaving(*names)))
    for name in names:
        must_have_failed(done, name)


def must_have_failed(done: Session, name: str) -> None:
    assert done.outcome(f"test_{name}") == "FAILED"
    assert LEAVES[name][1].replace("NODE", f"node_{name}") in done.told(f"test_{name}")
    assert "the process is not as it was before the patches" in done.told(f"test_{name}")


def test_what_is_told_of_a_test_that_fails(guarded):
    assert "assert 'refused' == 1" in guarded.told("test_fails_and_leaves")
    assert "node has a new more" in guarded.told("test_fails_and_leaves")
    assert "calls are still on another side after 0.5 s: STAY: draining" in guarded.told("test_stays")
    assert "RuntimeError: broken" in guarded.told("test_with_a_broken_fixture")
    assert "as it was before" not in guarded.told("test_with_a_broken_fixture")


def test_a_marked_test_runs_in_each_mode(guarded):
    for mode in ("off", "on", "split", "transition", "reverted"):
        assert guarded.outcome(f"test_each[{mode}]") == "PASSED"
    assert guarded.outcome("test_transition[transition]") == "PASSED"
    assert guarded.outcome("test_without_naming_a_fixture[reverted]") == "PASSED"
    assert guarded.outcome("test_after") == "PASSED"


def test_modes_may_be_livepatch_s_own_and_the_patch_come_from_a_fixture(guarded):
    assert len(re.findall(r"::test_own_modes\[(?:at|split).*\] PASSED", guarded.text)) == 2


def test_a_patch_without_a_function_has_no_transition(guarded):
    assert guarded.outcome("test_no_function[on]") == "PASSED"
    assert guarded.outcome("test_no_function[transition]") == "SKIPPED"
    assert "ONLY changes no function" in guarded.text


@pytest.mark.parametrize("name", USELESS)
def test_a_marker_or_fixture_that_says_nothing_useful_is_no_test_that_passes(guarded, name):
    assert not re.search(rf"test_useless_{name}\.py::\S+ PASSED", guarded.text)
    assert re.search(rf"ERROR collecting test_useless_{name}|useless_{name}\.py::\S+ (?:ERROR|FAILED)", guarded.text)
    assert USELESS[name][1] in re.sub(r"\s+(?:E\s+)?", " ", guarded.text)


def test_without_the_plugin_nobody_notices_it(tmp_path):
    folder_with(
        tmp_path,
        test_it="def test_it(): pass\ndef test_that(livepatch): pass\n",
        test_marked="@pytest.mark.livepatch(fix)\ndef test_marked(): pass\n",
    )
    done = session(tmp_path, "-p", "no:livepatch", "--continue-on-collection-errors")
    assert (done.outcome("test_it"), done.outcome("test_that")) == ("PASSED", "ERROR")
    assert "fixture 'livepatch' not found" in done.text
    assert "'livepatch' not found in `markers`" in done.text


UNUSED = """
import sys
import livepatch.testing.plugin
print(sorted(name for name in sys.modules if name.startswith("livepatch")))
print(sorted(name for name in ("wrapt", "bytecode", "structlog", "hypothesis", "asyncio") if name in sys.modules))
"""


def test_it_imports_nothing_before_it_is_used():
    done = subprocess.run([sys.executable, "-c", UNUSED], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["['livepatch', 'livepatch.testing', 'livepatch.testing.plugin']", "[]"]


ELSEWHERE = """
    import sys
    import anyio

    @pytest.fixture
    def anyio_backend(request):
        return "trio" if "trio" in request.node.name else "asyncio"

    async def side():
        await anyio.sleep(0)
        return node.admit(1)

    @pytest.mark.anyio
    @pytest.mark.livepatch(functions, modes=("off", "on", "transition", "reverted"))
    async def test_asyncio(livepatch_mode):
        assert await side() == ("refused" if livepatch_mode in ("on", "transition") else "admitted")

    @pytest.mark.anyio
    async def test_trio(livepatch):
        livepatch.apply(fix)
        assert await side() == "refused"

    def test_under_a_tracer(livepatch):
        before = sys.gettrace()
        sys.settrace(lambda frame, event, argument: None)
        try:
            livepatch.cycle(fix, probe=lambda: node.admit(1))
        finally:
            sys.settrace(before)
"""


@pytest.mark.slow
def test_in_several_processes_and_in_event_loops(tmp_path):
    folder_with(tmp_path, other="from node import LIMIT\n", test_guarded=GUARDED, test_elsewhere=ELSEWHERE)
    done = session(tmp_path, "-n2", "-o", "livepatch_timeout=5", "-k", "not stays", spare=("cacheprovider",))
    assert " 1 failed, 15 passed, 1 error in " in done.text, done.text
