"""What is wished for goes in at the start, or when its modules come; what does not fit is set aside and says why."""

from __future__ import annotations

import builtins
import dataclasses
import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from tests.govern.records import lines_of
from tests.node.releases import Package, wished
from tests.node.stores import die
from tests.signing import PAST, ROLES, key, trust_root
from tests.test_fork import in_child

import livepatch
from livepatch.govern.entries import is_checkpoint, parse
from livepatch.node import entering
from livepatch.node.entry import Standing
from livepatch.node.restoring import Restoration
from livepatch.node.store import Store

OLD = {
    "one.py": "def one():\n    return 'old'\n",
    "two.py": "from PKG.one import one\n\ndef two():\n    return ['old', one()]\n",
}
NEW = {name: text.replace("'old'", "'new'") for name, text in OLD.items()}


@pytest.fixture(autouse=True)
def events() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as events:
        yield events


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store") as store:
        yield store


Made = Callable[[dict[str, str]], Package]


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Made]:
    packages: list[Package] = []

    def make(files: dict[str, str]) -> Package:
        packages.append(Package(tmp_path, monkeypatch, files))
        return packages[-1]

    yield make
    for status in reversed(livepatch.status()):
        livepatch.revert(status.id)
    for package in packages:
        package.forget()


@pytest.fixture
def restore(store: Store) -> Iterator[Callable[..., Restoration]]:
    every: list[Restoration] = []

    def start(**options: Any) -> Restoration:
        every.append(Restoration(store, **{"trust": livepatch.UNSIGNED, **options}))
        with store.restoring() as wishes:
            every[-1].start(wishes)
        return every[-1]

    yield start
    for each in every:
        each.close()


def states(restoration: Restoration) -> list[str]:
    return [f"{each.id} {each.state}" for each in restoration.standings()]


def only(restoration: Restoration) -> Standing:
    (found,) = restoration.standings()
    return found


def test_modules_that_are_there_get_it_at_once(made: Made, store: Store, restore: Any):
    package = made(OLD)
    wished(store, package.patch("A", OLD, NEW))
    two = package.import_("two")
    restoration = restore()
    assert two.two() == ["new", "new"]
    assert states(restoration) == ["A applied"]
    assert only(restoration).waits_for == ()
    assert livepatch.verify()


def test_a_module_that_is_imported_later_is_never_seen_without_it(made: Made, store: Store, restore: Any):
    package = made(OLD)
    wished(store, package.patch("A", OLD, NEW))
    restoration = restore()
    assert states(restoration) == ["A waiting"]
    assert only(restoration).waits_for == (f"{package.name}.one", f"{package.name}.two")
    assert package.import_("one").one() == "new"
    assert states(restoration) == ["A applied"]
    assert only(restoration).waits_for == (f"{package.name}.two",)
    assert package.import_("two").two() == ["new", "new"]
    assert only(restoration).waits_for == ()
    assert livepatch.verify()
    livepatch.revert("A")
    assert package.import_("two").two() == ["old", "old"]


def test_nested_imports(made: Made, store: Store, restore: Any):
    package = made(OLD)
    wished(store, package.patch("A", OLD, NEW))
    restoration = restore()
    assert package.import_("two").two() == ["new", "new"]
    assert only(restoration).waits_for == ()


# What does not fit


def test_what_was_changed_on_disk_is_set_aside_and_the_rest_goes_in(
    made: Made, store: Store, restore: Any, events: Any
):
    package, other = made(OLD), made(OLD)
    wished(store, package.patch("A", OLD, NEW), other.patch("B", OLD, NEW))
    package.upgrade("1.0", {**OLD, "one.py": "def one():\n    return 'else'\n"})
    restoration = restore()
    assert (package.import_("one").one(), other.import_("one").one()) == ("else", "new")
    assert states(restoration) == ["A aside", "B applied"]
    found = restoration.standings()[0]
    assert set(found.codes) <= {"before-differs", "upgraded-on-disk"}
    assert f"{package.name}.one:one: found" in found.reason
    assert any(each["event"] == "livepatch.not_restored" and each["patch"] == "A" for each in events)
    assert [wish.id for wish in store.wanted.patches] == ["A", "B"], "it is wished for all the same"


def test_a_version_that_has_it_already_retires_it(made: Made, store: Store, restore: Any):
    package = made(OLD)
    wished(store, package.patch("A", OLD, NEW))
    package.upgrade("1.1", {**NEW, "three.py": "x = 1\n"})
    restoration = restore()
    assert states(restoration) == ["A retired"], "before anything is imported"
    assert "1.1 is installed, and has what the patch brings" in only(restoration).reason
    assert package.import_("two").two() == ["new", "new"]
    assert livepatch.status() == ()


def test_a_rebuild_of_the_same_version_that_has_it_retires_it(made: Made, store: Store, restore: Any):
    package = made(OLD)
    wished(store, package.patch("A", OLD, NEW))
    package.upgrade("1.0", NEW)
    restoration = restore()
    assert package.import_("two").two() == ["new", "new"]
    assert states(restoration) == ["A retired"]
    assert "has what the patch brings" in only(restoration).reason


def test_another_version_that_lacks_it_sets_it_aside(made: Made, store: Store, restore: Any):
    package = made(OLD)
    wished(store, package.patch("A", OLD, NEW))
    package.upgrade("1.1", {**NEW, "two.py": OLD["two.py"]})
    restoration = restore()
    assert states(restoration) == ["A aside"]
    assert only(restoration).codes == ("version-out-of-range",)
    package.upgrade("1.0", OLD)
    restoration = restore()
    assert package.import_("two").two() == ["new", "new"], "it comes back with the version that it is for"
    assert states(restoration) == ["A applied"]


def test_files_that_are_lost_or_were_changed(made: Made, store: Store, restore: Any):
    package = made(OLD)
    first, second = wished(store, package.patch("A", OLD, NEW), package.patch("B", OLD, {**OLD, "three.py": "y = 2\n"}))
    store.path_of(first.file).write_bytes(store.read(second.file))
    restoration = restore()
    assert restoration.standings()[0].state == "aside"
    assert "other bytes" in restoration.standings()[0].reason


def test_a_late_module_that_does_not_fit_leaves_the_patch_where_it_is(made: Made, store: Store, restore: Any):
    package = made(OLD)
    wished(store, package.patch("A", OLD, NEW))
    restoration = restore()
    one = package.import_("one")
    assert one.one() == "new"
    (package.installed.root / package.name / "two.py").write_text("def two():\n    return 'else'\n")
    assert package.import_("two").two() == "else"
    found = only(restoration)
    assert (found.state, found.lacks, found.waits_for) == ("applied", (f"{package.name}.two",), ())
    assert found.reason
    assert one.one() == "new"


def test_an_import_is_nobodys_but_the_programs(made: Made, store: Store, restore: Any, monkeypatch: Any, events: Any):
    package = made({**OLD, "broken.py": "raise KeyError('mine')\n"})
    files = {**OLD, "broken.py": "raise KeyError('mine')\n"}
    wished(store, package.patch("A", files, {**files, "one.py": NEW["one.py"]}))
    restoration = restore()
    with pytest.raises(KeyError, match="mine"):
        package.import_("broken")

    def fault(*args: Any, **kwargs: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("livepatch.node.entering.apply_again", fault)
    assert package.import_("one").one() == "old"
    assert only(restoration).state == "aside"
    monkeypatch.setattr("livepatch.node.restoring.is_there", fault)
    assert package.import_("two").two() == ["old", "old"]


def test_what_a_process_died_of_is_recorded_at_the_next_start(made: Made, store: Store, tmp_path: Path):
    package = made(OLD)
    folder = tmp_path / "dying"
    dying = Store(folder)
    wished(dying, package.patch("A", OLD, NEW))
    die(dying)
    with Store(folder) as after:
        livepatch.record_to(after.record_folder, key=after.key_file)
        Restoration(after, trust=livepatch.UNSIGNED).start(after.wanted.patches)
        livepatch.record_to(None)
        entries = [parse(line) for line in lines_of(after.record_folder) if not is_checkpoint(line)]
    (told,) = [entry for entry in entries if entry["event"] == "restored"]
    assert told["details"]["without"] == ["A"]


# Several patches


def test_patches_go_in_in_order_whatever_is_imported_first(made: Made, store: Store, restore: Any):
    package = made(OLD)
    newer = {name: text.replace("'new'", "'newer'") for name, text in NEW.items()}
    wished(
        store,
        package.patch("A", OLD, NEW),
        package.patch(
            "B",
            NEW,
            newer,
        ),
    )
    restoration = restore()
    assert package.import_("one").one() == "newer"
    assert package.import_("two").two() == ["newer", "newer"], "both went out and in again"
    assert states(restoration) == ["A applied", "B applied"]
    assert [status.id for status in livepatch.status()] == ["A", "B"]
    livepatch.revert("B")
    assert package.import_("two").two() == ["new", "new"]


def test_a_patch_waits_for_one_that_it_requires(made: Made, store: Store, restore: Any):
    old = {"one.py": OLD["one.py"], "two.py": "def two():\n    return 'old'\n"}
    package = made(old)
    first = package.patch("A", old, {**old, "one.py": NEW["one.py"]})
    second = package.patch("B", old, {**old, "two.py": "def two():\n    return 'new'\n"}, requires="A")
    wished(store, first, second)
    restoration = restore()
    two = package.import_("two")
    assert two.two() == "old"
    assert states(restoration) == ["A waiting", "B waiting"]
    assert restoration.standings()[1].reason == "it goes in after A"
    package.import_("one")
    assert states(restoration) == ["A applied", "B applied"]
    assert two.two() == "new"


def test_what_it_replaced_need_not_come_back_first(made: Made, store: Store, restore: Any):
    package = made(OLD)
    one_file = {**OLD, "one.py": NEW["one.py"]}
    first = store.install(package.patch("A", OLD, one_file).to_bytes())
    both = store.install(package.patch("AB", OLD, one_file).to_bytes())
    third = store.install(package.patch("C", OLD, {**OLD, "two.py": NEW["two.py"]}, requires="A").to_bytes())
    assert first.id == "A"
    with store.changing([both.wish("on", ["A"]), third.wish()]):
        pass
    restoration = restore()
    assert package.import_("two").two() == ["new", "new"]
    assert states(restoration) == ["AB applied", "C applied"]


VALUES = {
    "limits.py": "LIMIT = 10\nHALF = LIMIT // 2\n",
    "late.py": "from PKG.limits import LIMIT\n\nDOUBLE = LIMIT * 2\n\ndef late():\n    return LIMIT, DOUBLE\n",
}


def test_values_follow_into_modules_that_come_later(made: Made, store: Store, restore: Any):
    package = made(VALUES)
    wished(store, package.patch("A", VALUES, {**VALUES, "limits.py": VALUES["limits.py"].replace("10", "4")}))
    restoration = restore()
    limits = package.import_("limits")
    assert (limits.LIMIT, limits.HALF) == (4, 2)
    assert package.import_("late").late() == (4, 8)
    assert states(restoration) == ["A applied"]
    assert only(restoration).lacks == ()
    livepatch.revert("A")
    assert (limits.LIMIT, limits.HALF) == (10, 5)


# Modes, trust and rules


@pytest.mark.parametrize("mode", ["off", "split(0%)", "at(1200)", "at(900)"])
def test_modes(mode: str, made: Made, store: Store, restore: Any):
    package = made(OLD)
    installed = store.install(package.patch("A", OLD, NEW).to_bytes())
    with store.changing([installed.wish(mode)]):
        pass
    restoration = restore(height=lambda: 1000)
    assert package.import_("two").two() == (["new", "new"] if mode == "at(900)" else ["old", "old"])
    assert [str(status.mode) for status in livepatch.status()] == [mode]
    assert only(restoration).mode == mode


def test_a_height_that_nobody_gives(made: Made, store: Store, restore: Any):
    package = made(OLD)
    installed = store.install(package.patch("A", OLD, NEW).to_bytes())
    with store.changing([installed.wish("at(1200)")]):
        pass
    restoration = restore()
    package.import_("two")
    assert only(restoration).state == "aside"
    assert "height" in only(restoration).reason


def test_nothing_goes_in_that_nobody_answers_for(made: Made, store: Store, restore: Any):
    package = made(OLD)
    wished(store, package.patch("A", OLD, NEW))
    restoration = restore(trust=None)
    assert package.import_("two").two() == ["old", "old"]
    assert only(restoration).state == "aside"
    assert "nobody answers for" in only(restoration).reason


def test_rules_are_asked_again_and_their_times_by_the_first_moment(
    made: Made, store: Store, restore: Any, tmp_path: Path
):
    package = made(OLD)
    (wish,) = wished(store, package.patch("A", OLD, NEW))
    rules = tmp_path / "rules.toml"
    freeze = '[[freeze]]\nfrom = "{}-01-01T00:00:00Z"\nto = "{}-01-01T00:00:00Z"\nreason = "holiday"\n'
    rules.write_text(freeze.format("2020", "2190"))
    restoration = restore(policy=rules)
    package.import_("one")
    assert only(restoration).codes == ("frozen",)
    restoration.close()
    package.forget()
    with store.changing([dataclasses.replace(wish, since="2019-06-01T00:00:00Z")]):
        pass
    restoration = restore(policy=rules)
    package.import_("one")
    assert states(restoration) == ["A applied"], "it was in before the freeze began"
    livepatch.revert("A")
    restoration.close()
    package.forget()
    rules.write_text(f'[[protected]]\npaths = ["{package.name}.*"]\n')
    restoration = restore(policy=rules)
    package.import_("one")
    assert only(restoration).codes == ("protected-path",)


# Threads, forks, and imports under way


def test_many_threads_import_at_once(made: Made, store: Store, restore: Any):
    names = [f"m{number}" for number in range(8)]
    old = {f"{name}.py": "import time\ntime.sleep(0.002)\ndef f():\n    return 'old'\n" for name in names}
    package = made(old)
    wished(store, package.patch("A", old, {k: v.replace("'old'", "'new'") for k, v in old.items()}))
    restoration = restore()
    threads = [threading.Thread(target=package.import_, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    end = time.monotonic() + 20
    while only(restoration).waits_for and time.monotonic() < end:
        time.sleep(0.01)
    assert [package.import_(name).f() for name in names] == ["new"] * 8
    assert only(restoration).state == "applied"


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_module_whose_import_begins_while_it_goes_in(
    when: str, made: Made, store: Store, restore: Any, monkeypatch: pytest.MonkeyPatch
):
    files = {"one.py": OLD["one.py"], "two.py": "import builtins\nbuiltins.half()\ndef two():\n    return 'old'\n"}
    package = made(files)
    wished(store, package.patch("A", files, {k: v.replace("'old'", "'new'") for k, v in files.items()}))
    restoration = restore()
    begun, go_on = threading.Event(), threading.Event()

    def half() -> None:
        begun.set()
        assert go_on.wait(60)

    monkeypatch.setattr(builtins, "half", half, raising=False)
    thread = threading.Thread(target=lambda: package.import_("two"))
    whole = entering.apply_again

    def apply_again(*args: Any, **options: Any) -> Any:
        monkeypatch.setattr(entering, "apply_again", whole)
        try:
            if when == "after":
                return whole(*args, **options)
        finally:
            thread.start()
            assert begun.wait(60)
        return whole(*args, **options)

    monkeypatch.setattr(entering, "apply_again", apply_again)
    one = package.import_("one")
    assert only(restoration).state == ("waiting" if when == "before" else "applied")
    go_on.set()
    thread.join(60)
    end = time.monotonic() + 20
    while (only(restoration).waits_for or only(restoration).state != "applied") and time.monotonic() < end:
        time.sleep(0.01)
    assert (one.one(), package.import_("two").two()) == ("new", "new")
    assert (only(restoration).lacks, only(restoration).reason) == ((), "")


def test_a_module_whose_import_is_under_way_at_the_start(made: Made, store: Store, restore: Any):
    files = {
        "one.py": "hook = None\nimport PKG.starts\ndef one():\n    return 'old'\n",
        "starts.py": "import builtins\nbuiltins.begin_now()\n",
    }
    package = made(files)
    wished(store, package.patch("A", files, {**files, "one.py": files["one.py"].replace("'old'", "'new'")}))
    begun: list[Restoration] = []
    builtins.begin_now = lambda: begun.append(restore())  # type: ignore[attr-defined]
    try:
        one = package.import_("one")
    finally:
        del builtins.begin_now  # type: ignore[attr-defined]
    end = time.monotonic() + 20
    while states(begun[0]) != ["A applied"] and time.monotonic() < end:
        time.sleep(0.005)
    assert one.one() == "new"


def test_a_call_in_flight_holds_it_up_and_it_follows(made: Made, store: Store, restore: Any):
    files = {"one.py": "def one(go):\n    go()\n    return 'old'\n", "two.py": "def two():\n    return 'old'\n"}
    package = made(files)
    wished(store, package.patch("A", files, {k: v.replace("'old'", "'new'") for k, v in files.items()}))
    restoration = restore()
    one = package.import_("one")
    assert one.one(lambda: None) == "new"

    def import_in_the_middle() -> None:
        with livepatch.unit_of_work():
            package.import_("two")

    one.one(import_in_the_middle)
    end = time.monotonic() + 20
    while (only(restoration).waits_for or only(restoration).reason) and time.monotonic() < end:
        time.sleep(0.01)
    assert package.import_("two").two() == "new"


def test_a_child_of_a_fork_runs_with_it_and_goes_on(made: Made, store: Store, restore: Any):
    package = made(OLD)
    wished(store, package.patch("A", OLD, NEW))
    restoration = restore()
    one = package.import_("one")

    def child() -> None:
        assert one.one() == "new"
        assert [status.id for status in livepatch.status()] == ["A"]
        assert package.import_("two").two() == ["new", "new"]
        assert only(restoration).waits_for == ()

    in_child(child)
    assert only(restoration).waits_for == (f"{package.name}.two",)


def test_what_goes_in_later_is_followed_and_what_goes_out_is_not(made: Made, store: Store, restore: Any):
    package = made(OLD)
    restoration = restore()
    one = package.import_("one")
    installed = store.install(package.patch("A", OLD, NEW).to_bytes())
    patch = livepatch.load(installed.path, trust=livepatch.UNSIGNED)
    with store.changing([installed.wish()]):
        restoration.follow(installed.wish(), patch, livepatch.apply(patch))
    assert package.import_("two").two() == ["new", "new"]
    livepatch.revert("A")
    restoration.forget("A")
    assert states(restoration) == []
    package.forget()
    assert package.import_("two").two() == ["old", "old"]
    assert one.one() == "old"


def test_what_was_reverted_in_the_meantime_stays_out(made: Made, store: Store, restore: Any):
    package = made(OLD)
    wished(store, package.patch("A", OLD, NEW))
    restoration = restore()
    one = package.import_("one")
    livepatch.revert("A")
    assert package.import_("two").two() == ["old", "old"]
    assert (states(restoration), one.one()) == (["A gone"], "old")


def test_signatures_and_approvals_are_asked_for_at_each_start(made: Made, store: Store, restore: Any, tmp_path: Path):
    package = made(OLD)
    file = tmp_path / "fix.lpatch"
    package.patch("A", OLD, NEW).save(file)
    for name in ("alice", "carol", "erin"):
        livepatch.sign(file, key=key(name))
    installed = store.install(file.read_bytes())
    with store.changing([installed.wish()]):
        pass
    rules = tmp_path / "rules.toml"
    rules.write_text('[[approval]]\nname = "reviewed"\nroles = { operator = 1 }\n')
    root = trust_root(package=package.name)

    def start(**options: Any) -> Standing:
        restoration = restore(**options)
        package.import_("one")
        for status in livepatch.status():
            livepatch.revert(status.id)
        found = only(restoration)
        restoration.close()
        package.forget()
        return found

    assert start(trust=root).state == "applied"
    assert start(trust=root, policy=rules).codes == ("approvals-missing",)
    approval = livepatch.approve(file, key=key("erin"))
    store.keep_approval(installed.digest, approval.read_bytes())
    assert start(trust=root, policy=rules).state == "applied"
    assert start(trust=livepatch.UNSIGNED, policy=rules).codes == ("approvals-missing",)
    revoked = trust_root({**ROLES, "author": (1, "bob")}, package=package.name)
    found = start(trust=revoked)
    assert (found.state, found.codes) == ("aside", ())
    assert "author" in found.reason
    assert "expired" in start(trust=trust_root(package=package.name, expires=PAST)).reason
    store.path_of(installed.file).write_bytes(livepatch.load(file).to_bytes())
    assert "other bytes" in start(trust=root).reason, "the same patch, without its signatures"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_any_order_of_imports_in_many_threads(seed: int, made: Made, store: Store, restore: Any):
    """Modules import each other, and several patches lie on each other: in the end everything has the newest side."""
    chance = random.Random(seed)
    names = [f"m{number}" for number in range(12)]
    old = {}
    for number, name in enumerate(names):
        imports = "".join(f"import PKG.{other}\n" for other in chance.sample(names[:number], min(number, 2)))
        pause = f"import time\ntime.sleep({chance.choice([0, 0.001, 0.01])})\n"
        old[f"{name}.py"] = (
            f"{imports}{pause}LIMIT = 1\nDOUBLE = LIMIT * 2\ndef f():\n    return 'old', LIMIT, DOUBLE\n"
        )
    package = made(old)
    patches, files = [], old
    for number in range(3):
        touched = chance.sample(names, 6)
        newer = dict(files)
        for name in touched:
            text = files[f"{name}.py"]
            text = text.replace("'old'", f"'side {number}'").replace("'side 0', L", f"'side {number}', L")
            newer[f"{name}.py"] = text.replace("return 'side 1'", f"return 'side {number}'")
        if number == 0:
            newer[f"{touched[0]}.py"] = newer[f"{touched[0]}.py"].replace("LIMIT = 1", "LIMIT = 5")
        patches.append(package.patch(f"P{number}", files, newer))
        files = newer
    wished(store, *patches)
    restoration = restore()
    threads = [threading.Thread(target=package.import_, args=(name,)) for name in chance.sample(names, len(names))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    end = time.monotonic() + 60
    while time.monotonic() < end:
        found = restoration.standings()
        if all(each.state == "applied" and not each.waits_for and not each.reason for each in found):
            break
        time.sleep(0.02)
    want = {}
    for name in names:
        space: dict[str, Any] = {}
        exec(files[f"{name}.py"].split("time.sleep", 1)[1].partition("\n")[2], space)
        want[name] = space["f"]()
    assert {name: package.import_(name).f() for name in names} == want, restoration.standings()
