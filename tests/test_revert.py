"""The way back: the very objects return, in any order and from anywhere, and what others did meanwhile is theirs."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from tests.cycles import Picture, codes, differences, picture

import livepatch

if TYPE_CHECKING:
    from tests.conftest import NewPatch, WriteFix, WriteModule

SRC = Path(livepatch.__file__).resolve().parents[1]

SPECIMEN = """
LIMIT = ['original limit']
def f(a=('original',), *, k=('original',)) -> 'original':
    'original words'
    return 'original', a, k
def g():
    return 'original'
def make():
    def made():
        return 'original'
    return made
class C:
    SIZE = ['original size']
    @staticmethod
    def method(a='original'):
        return 'original'
    @property
    def x(self):
        return 'original'
kept = make()
"""
NAMES = ("one", "two", "three")


def shows(m: ModuleType) -> tuple[object, ...]:
    """Which side each place of the specimen shows."""
    return (
        m.f()[0],
        m.f.__defaults__[0][0],
        m.f.__kwdefaults__["k"][0],
        m.f.__doc__.split()[0],
        m.C.method(),
        m.C().x,
        m.kept(),
        m.LIMIT[0].split()[0],
        m.C.SIZE[0].split()[0],
    )


def side(word: str) -> tuple[object, ...]:
    return (word,) * 9


@pytest.fixture
def m(write_module: WriteModule) -> ModuleType:
    return write_module(SPECIMEN)


@pytest.fixture
def three(m: ModuleType, write_module: WriteModule, new_patch: NewPatch) -> dict[str, livepatch.Patch]:
    """Three patches of the same places, by name."""
    patches = {}
    for name in NAMES:
        written = write_module(SPECIMEN.replace("original", name))
        fix = patches[name] = new_patch()
        fix.replace(f"{m.__name__}:f")(written.f)
        fix.replace(f"{m.__name__}:make")(written.make)
        fix.replace(f"{m.__name__}:C.method")(vars(written.C)["method"])
        fix.replace(f"{m.__name__}:C.x")(vars(written.C)["x"])
        fix.set(f"{m.__name__}:LIMIT", written.LIMIT)
        fix.set(f"{m.__name__}:C.SIZE", written.C.SIZE)
        fix.add(m.__name__, **{f"NEW_{name}": name})
    return patches


def untouched(before: Picture, order: list[list[str]], m: ModuleType) -> None:
    """Everything is the very object that it was, and stands where it stood."""
    assert differences(before) == []
    assert [list(vars(m)), list(vars(m.C))] == order
    assert livepatch.status() == ()
    assert dict(livepatch.flags) == {}
    assert livepatch.verify()
    assert livepatch.verify().checked == 0


# In any order

ORDERS = [order for n in (2, 3) for order in itertools.permutations(NAMES[:n])]


@pytest.mark.parametrize("order", ORDERS, ids="-".join)
def test_in_any_order_what_remains_decides_and_at_last_the_originals(
    order: tuple[str, ...], m: ModuleType, three: dict[str, livepatch.Patch]
):
    before, places = picture(m), [list(vars(m)), list(vars(m.C))]
    applied = [name for name in NAMES if name in order]
    for name in applied:
        livepatch.apply(three[name])
        assert shows(m) == side(name)
    remaining = applied.copy()
    for name in order:
        status = livepatch.revert(three[name].id)
        assert (status.state, status.mode, status.foreign, status.left) == ("reverted", "off", (), ())
        remaining.remove(name)
        assert shows(m) == side(remaining[-1] if remaining else "original")
        assert [name for name in NAMES if hasattr(m, f"NEW_{name}")] == remaining
        assert livepatch.verify(), str(livepatch.verify())
    untouched(before, places, m)


@pytest.mark.parametrize("off", [("two",), ("one", "three"), NAMES], ids="-".join)
def test_layers_that_are_off_come_out_as_well(off: tuple[str, ...], m: ModuleType, three: dict[str, livepatch.Patch]):
    before, places = picture(m), [list(vars(m)), list(vars(m.C))]
    for name in NAMES:
        livepatch.apply(three[name], mode="off" if name in off else "on")
    remaining = list(NAMES)
    for name in ("two", "one", "three"):
        on = [name for name in remaining if name not in off]
        assert shows(m) == side(on[-1] if on else "original")
        livepatch.revert(three[name].id)
        remaining.remove(name)
    untouched(before, places, m)


def test_many_times_over(m: ModuleType, three: dict[str, livepatch.Patch]):
    before, places = picture(m), [list(vars(m)), list(vars(m.C))]
    for first, second in [("one", "two"), ("two", "one")]:
        lower, upper = livepatch.apply(three[first]), livepatch.apply(three[second])
        lower.mode = "off"
        lower.revert()
        assert shows(m) == side(second)
        upper.revert()
        untouched(before, places, m)


# From anywhere, and twice


def test_from_another_thread(m: ModuleType, three: dict[str, livepatch.Patch]):
    before, places = picture(m), [list(vars(m)), list(vars(m.C))]
    given: list[livepatch.Status] = []
    applying = threading.Thread(target=lambda: livepatch.apply(three["one"]))
    applying.start()
    applying.join()
    upper = livepatch.apply(three["two"])
    reverting = [
        threading.Thread(target=lambda: given.append(upper.revert())),
        threading.Thread(target=lambda: given.append(livepatch.revert(three["one"].id))),
    ]
    for thread in reverting:
        thread.start()
    for thread in reverting:
        thread.join()
    assert {status.id for status in given} == {three["one"].id, three["two"].id}
    untouched(before, places, m)


def test_by_several_threads_at_once(m: ModuleType, three: dict[str, livepatch.Patch]):
    before, places = picture(m), [list(vars(m)), list(vars(m.C))]
    applied = livepatch.apply(three["one"])
    start, given = threading.Barrier(8), []

    def revert() -> None:
        start.wait()
        given.append(applied.revert())

    threads = [threading.Thread(target=revert) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [status.state for status in given] == ["reverted"] * 8
    assert all(status == given[0] for status in given)
    untouched(before, places, m)


def test_twice_is_harmless(m: ModuleType, three: dict[str, livepatch.Patch]):
    before, places = picture(m), [list(vars(m)), list(vars(m.C))]
    applied = livepatch.apply(three["one"])
    first = applied.revert()
    assert applied.revert() == livepatch.revert(applied.id) == applied.status() == first
    untouched(before, places, m)
    m.f.__defaults__ = changed = (1,)
    assert livepatch.revert(applied.id) == first
    assert m.f.__defaults__ is changed


def test_an_earlier_handle_does_not_take_out_the_later_patch(m: ModuleType, three: dict[str, livepatch.Patch]):
    earlier = livepatch.apply(three["one"])
    earlier.revert()
    later = livepatch.apply(three["one"])
    assert earlier.revert().state == "reverted"
    assert later.status().state == "settled"
    assert shows(m) == side("one")
    assert earlier.mode == "off"
    with pytest.raises(livepatch.UnknownPatchError):
        earlier.mode = "on"


def test_an_id_that_was_never_applied(m: ModuleType, three: dict[str, livepatch.Patch]):
    livepatch.apply(three["one"])
    with pytest.raises(livepatch.UnknownPatchError, match=three["one"].id):
        livepatch.revert("FIX-NEVER")
    assert shows(m) == side("one")


# What others changed in between

Change = Callable[[ModuleType, ModuleType], tuple[Any, str, object]]


def foreign_code(m: ModuleType, other: ModuleType) -> tuple[Any, str, object]:
    m.f.__code__ = other.f.__code__
    return m.f, "__code__", other.f.__code__


def foreign_defaults(m: ModuleType, other: ModuleType) -> tuple[Any, str, object]:
    m.f.__defaults__ = value = ("foreign",)
    return m.f, "__defaults__", value


def foreign_method(m: ModuleType, other: ModuleType) -> tuple[Any, str, object]:
    m.C.method.__code__ = other.C.method.__code__
    return m.C.method, "__code__", other.C.method.__code__


def foreign_limit(m: ModuleType, other: ModuleType) -> tuple[Any, str, object]:
    m.LIMIT = value = ["foreign"]
    return m, "LIMIT", value


def foreign_size(m: ModuleType, other: ModuleType) -> tuple[Any, str, object]:
    m.C.SIZE = other.f
    return m.C, "SIZE", other.f


def foreign_alias(m: ModuleType, other: ModuleType) -> tuple[Any, str, object]:
    other.TAKEN = value = ["foreign"]
    return other, "TAKEN", value


CHANGES: dict[str, tuple[Change, str, str]] = {
    "code": (foreign_code, "{m}:f.__code__: code f of {file}:", "({other})"),
    "defaults": (foreign_defaults, "{m}:f.__defaults__: ", "a builtins.tuple"),
    "a method's code": (foreign_method, "{m}:C.method.__code__: code C.method of {file}:", "({other})"),
    "a module attribute": (foreign_limit, "{m}:LIMIT: ", "a builtins.list"),
    "a class attribute": (foreign_size, "{m}:C.SIZE: ", "function f of {other}"),
    "an alias": (foreign_alias, "{other}:TAKEN: ", "a builtins.list"),
}


@pytest.fixture
def other(m: ModuleType, write_module: WriteModule) -> ModuleType:
    """A module of somebody else, which took one name from the specimen."""
    return write_module(f"from {m.__name__} import LIMIT as TAKEN\n" + SPECIMEN.replace("original", "foreign"))


def read(owner: Any, name: str) -> object:
    return vars(owner)[name] if name in vars(owner) else getattr(owner, name)


@pytest.mark.parametrize(("change", "where", "who"), CHANGES.values(), ids=CHANGES.keys())
def test_a_change_by_others_is_named_and_left_alone(
    change: Change, where: str, who: str, m: ModuleType, other: ModuleType, three: dict[str, livepatch.Patch]
):
    before = picture(m, other)
    applied = livepatch.apply(three["one"])
    assert other.TAKEN is m.LIMIT
    assert applied.status().foreign == ()
    owner, name, value = change(m, other)
    names = {"m": m.__name__, "other": other.__name__, "file": other.__file__}
    (said,) = applied.status().foreign
    assert said.startswith(where.format(**names))
    assert who.format(**names) in said
    assert said in str(applied.status())
    verification = livepatch.verify()
    (finding,) = verification.findings
    assert not verification
    assert (finding.code, finding.severity) == ("foreign-change", "error")
    assert f"{finding.target}: {finding.found}" == said
    assert finding.expected == f"what patch {applied.id} put there"
    assert said in str(verification).replace(" found ", " ")
    status = applied.revert()
    assert (status.state, status.foreign) == ("reverted", (said,))
    assert read(owner, name) is value
    left = differences(before)
    assert len(left) == 1
    assert left[0].endswith(name)
    assert livepatch.status() == ()
    assert livepatch.verify()
    assert livepatch.revert(applied.id).foreign == (said,)


def test_several_changes_by_others_beside_what_comes_back(
    m: ModuleType, other: ModuleType, three: dict[str, livepatch.Patch]
):
    before = picture(m, other)
    applied = livepatch.apply(three["one"])
    held = [change(m, other) for change, _, _ in CHANGES.values()]
    assert len(applied.status().foreign) == len(livepatch.verify().findings) == len(CHANGES)
    assert len(applied.revert().foreign) == len(CHANGES)
    assert [read(owner, name) is value for owner, name, value in held] == [True] * len(CHANGES)
    assert len(differences(before)) == len(CHANGES)


@pytest.mark.parametrize(("change", "where", "who"), CHANGES.values(), ids=CHANGES.keys())
def test_turning_off_leaves_it_and_turning_on_over_it_is_refused(
    change: Change, where: str, who: str, m: ModuleType, other: ModuleType, three: dict[str, livepatch.Patch]
):
    before = picture(m, other)
    applied = livepatch.apply(three["one"])
    owner, name, value = change(m, other)
    applied.mode = "off"
    assert read(owner, name) is value
    assert [entry.endswith(name) for entry in differences(before)] == [True]
    now = picture(m, other)
    for turn_on in (lambda: setattr(applied, "mode", "on"), lambda: livepatch.flags.__setitem__(applied.flag, "on")):
        with pytest.raises(livepatch.TransitionError) as caught:
            turn_on()
        assert where.format(m=m.__name__, other=other.__name__, file=other.__file__) in caught.value.found
        assert caught.value.timeout is None
        assert differences(now) == []
        assert (applied.mode, applied.status().mode, livepatch.flags[applied.flag]) == ("off", "off", "off")
    applied.revert()
    assert differences(now) == []


def test_once_the_change_is_undone_the_patch_goes_on_again(m: ModuleType, three: dict[str, livepatch.Patch]):
    before, places = picture(m), [list(vars(m)), list(vars(m.C))]
    applied = livepatch.apply(three["one"], mode="off")
    original = m.f.__code__
    m.f.__code__ = m.g.__code__.replace()
    with pytest.raises(livepatch.TransitionError):
        applied.mode = "on"
    m.f.__code__ = original
    assert livepatch.verify()
    applied.mode = "on"
    assert shows(m) == side("one")
    applied.revert()
    untouched(before, places, m)


@pytest.mark.parametrize("replaces", [False, True])
def test_a_patch_over_a_place_that_others_changed_is_refused(
    replaces: bool, m: ModuleType, other: ModuleType, three: dict[str, livepatch.Patch]
):
    lower = livepatch.apply(three["one"])
    foreign_limit(m, other)
    m.f.__code__ = other.f.__code__
    now = picture(m, other)
    with pytest.raises((livepatch.TransitionError, livepatch.IncompatibleError)):
        livepatch.apply(three["two"], replaces=[lower.id] if replaces else [])
    assert differences(now) == []
    assert [status.id for status in livepatch.status()] == [lower.id]
    assert not hasattr(m, "NEW_two")
    assert len(lower.status().foreign) == 2


def test_a_change_under_two_layers_is_named_by_both(
    m: ModuleType, other: ModuleType, three: dict[str, livepatch.Patch]
):
    lower, upper = livepatch.apply(three["one"]), livepatch.apply(three["two"])
    _, _, value = foreign_limit(m, other)
    assert [len(status.foreign) for status in livepatch.status()] == [1, 1]
    assert livepatch.verify().findings[0].expected == f"what patch {upper.id} put there"
    assert len(upper.revert().foreign) == 1
    assert shows(m)[:7] == side("one")[:7]
    assert len(lower.revert().foreign) == 1
    assert m.LIMIT is value


def test_what_others_put_back_to_the_original_is_no_change_by_others(m: ModuleType, three: dict[str, livepatch.Patch]):
    before, places = picture(m), [list(vars(m)), list(vars(m.C))]
    original = m.LIMIT
    applied = livepatch.apply(three["one"])
    m.LIMIT = original
    assert not livepatch.verify()
    assert applied.revert().foreign == ()
    untouched(before, places, m)


def test_an_added_name_that_others_rebound_stays(m: ModuleType, three: dict[str, livepatch.Patch]):
    applied = livepatch.apply(three["one"])
    m.NEW_one = "theirs"
    assert applied.revert().foreign == (f"{m.__name__}:NEW_one: 'theirs'",)
    assert m.NEW_one == "theirs"


def test_a_place_that_others_deleted_stays_deleted(m: ModuleType, three: dict[str, livepatch.Patch]):
    applied = livepatch.apply(three["one"])
    del m.LIMIT
    del m.C.SIZE
    expected = (f"{m.__name__}:LIMIT: nothing (deleted)", f"{m.__name__}:C.SIZE: nothing (deleted)")
    assert applied.status().foreign == applied.revert().foreign == expected
    assert not hasattr(m, "LIMIT")
    assert not hasattr(m.C, "SIZE")


# One patch in the place of others


def test_replaced_in_one_step_and_out_again(m: ModuleType, three: dict[str, livepatch.Patch]):
    before, places = picture(m), [list(vars(m)), list(vars(m.C))]
    one, two = livepatch.apply(three["one"]), livepatch.apply(three["two"])
    three_ = livepatch.apply(three["three"], replaces=[one.id, two.id])
    assert shows(m) == side("three")
    assert [status.id for status in livepatch.status()] == [three_.id]
    assert [name for name in NAMES if hasattr(m, f"NEW_{name}")] == ["three"]
    assert [one.status().state, two.status().state] == ["reverted"] * 2
    assert [one.mode, two.mode, list(livepatch.flags)] == ["off", "off", [three_.flag]]
    assert one.revert().state == "reverted"
    assert shows(m) == side("three")
    assert "covers" not in codes(three_.report, "info")
    three_.revert()
    untouched(before, places, m)


def test_replacing_the_one_below_leaves_the_one_above_in_between(m: ModuleType, three: dict[str, livepatch.Patch]):
    before, places = picture(m), [list(vars(m)), list(vars(m.C))]
    one, two = livepatch.apply(three["one"]), livepatch.apply(three["two"])
    upper = livepatch.apply(three["three"], replaces=[one.id])
    assert shows(m) == side("three")
    upper.mode = "off"
    assert shows(m) == side("two")
    two.revert()
    assert shows(m) == side("original")
    upper.mode = "on"
    assert shows(m) == side("three")
    upper.revert()
    untouched(before, places, m)


def test_a_dormant_patch_in_place_of_a_live_one(m: ModuleType, three: dict[str, livepatch.Patch]):
    before, places = picture(m), [list(vars(m)), list(vars(m.C))]
    one = livepatch.apply(three["one"])
    two = livepatch.apply(three["two"], mode="off", replaces=[one.id])
    assert shows(m) == side("original")
    two.mode = "on"
    assert shows(m) == side("two")
    two.revert()
    untouched(before, places, m)


def test_a_refused_replacement_leaves_the_one_that_it_would_have_replaced(
    m: ModuleType, three: dict[str, livepatch.Patch], write_fix: WriteFix
):
    one = livepatch.apply(three["one"])
    now = picture(m)
    with pytest.raises(livepatch.IncompatibleError):
        livepatch.apply(write_fix(f"{m.__name__}:f", "def f(must): return 'four'"), replaces=[one.id])
    assert differences(now) == []
    assert (one.mode, one.status().state) == ("on", "settled")


# In the process as a whole


def run(script: str, *, folder: Path, flags: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *flags, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(SRC), str(folder)])},
    )


def test_importing_it_loads_nothing_but_its_own_front(tmp_path: Path):
    done = run(
        """
        import sys
        before = set(sys.modules)
        import livepatch
        print(*sorted(set(sys.modules) - before))
        """,
        folder=tmp_path,
    )
    loaded = done.stdout.split()
    assert done.stderr == ""
    assert [name for name in loaded if name.startswith("livepatch")] == ["livepatch"]
    heavy = {"wrapt", "bytecode", "structlog", "packaging", "ast", "asyncio", "dataclasses", "inspect", "linecache"}
    assert heavy.isdisjoint(loaded)
    assert {name.partition(".")[0] for name in loaded} <= {"livepatch", *sys.stdlib_module_names}


def test_its_public_names_come_on_first_use(tmp_path: Path):
    done = run(
        """
        import livepatch
        assert set(livepatch.__all__) <= set(dir(livepatch))
        for name in livepatch.__all__:
            assert getattr(livepatch, name) is getattr(livepatch, name), name
        try:
            livepatch.nonsense
        except AttributeError as error:
            assert 'nonsense' in str(error)
        else:
            raise SystemExit('no AttributeError')
        """,
        folder=tmp_path,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("reverted", [False, True])
def test_exit_is_quiet(reverted: bool, distribution: Path):
    (distribution / "target.py").write_text(
        textwrap.dedent("""
            import threading, atexit
            def f(): return 'old'
            def steps():
                while True: yield 'old'
            def wait(event): event.wait(60)
            class C:
                def __del__(self): f()
            kept, suspended = C(), steps()
            next(suspended)
            threading.Thread(target=wait, args=(threading.Event(),), daemon=True).start()
            atexit.register(f)
        """)
    )
    (distribution / "fixes.py").write_text(
        textwrap.dedent("""
            import livepatch
            own = 'new'
            def make():
                word = 'new'
                fix = livepatch.Patch('FIX-X', package='specimen', versions='==1.0')
                @fix.replace('target:f')
                def f(): return word
                @fix.replace('target:steps')
                def steps():
                    while True: yield own
                @fix.replace('target:wait')
                def wait(event): return own
                @fix.replace('target:C.__del__')
                def __del__(self): f(); own
                return fix
        """)
    )
    done = run(
        f"""
        import livepatch, target, fixes
        applied = livepatch.apply(fixes.make())
        assert target.f() == 'new'
        {"applied.revert()" if reverted else ""}
        """,
        folder=distribution,
        flags=("-X", "dev", "-W", "error"),
    )
    assert (done.returncode, done.stderr) == (0, "")
