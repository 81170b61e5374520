"""Shadow variables of patches: data attached to objects that exist, by name or as attributes, gone on revert."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref

import pytest

import livepatch
from livepatch.errors import PatchError, StateError, UnknownPatchError

SPECIMEN = """
class Peer:
    def __init__(self, name='a'):
        self.name = name
    def hit(self):
        return 0
class Inbound(Peer):
    pass
class Slotted:
    __slots__ = ('name', '__weakref__')
    def hit(self):
        return 0
class Bare:
    __slots__ = ()
    def hit(self):
        return 0
class WithDict(Slotted):
    pass
"""
HIT = """
@replace
def hit(self):
    self.hits.append(self)
    return len(self.hits)
"""
BY_NAME = """
import livepatch
def count(self):
    return livepatch.shadow(self, 'hits', default=list)
"""


def declared(write_fix, module, cls="Peer", default="list"):
    return write_fix(f"{module}:{cls}.hit", f"fix.shadow('{module}:{cls}', hits={default})\n{HIT}")


def by_name(write_fix, module, cls="Peer", body=""):
    body = body or "hits = count(self)\n    hits.append(1)\n    return len(hits)"
    return write_fix(f"{module}:{cls}.hit", f"def hit(self):\n    {body}", above=BY_NAME)


@pytest.mark.parametrize("cls", ["Peer", "Slotted", "Bare"])
def test_an_attribute_that_init_never_set_is_read_in_the_plain_way_and_gone_on_revert(write_module, write_fix, cls):
    m = write_module(SPECIMEN)
    kind = getattr(m, cls)
    old, other = kind(), kind()
    applied = livepatch.apply(declared(write_fix, m.__name__, cls))
    assert [old.hit(), old.hit(), other.hit(), kind().hit()] == [1, 2, 1, 1]
    assert old.hits == [old, old]
    assert livepatch.shadow.get(old, "hits", patch=applied.id) is old.hits
    applied.mode = "off"
    assert old.hit() == 0
    applied.mode = "on"
    assert old.hit() == 3
    applied.revert()
    assert old.hit() == 0
    assert not hasattr(old, "hits")
    assert getattr(old, "__dict__", {}) in ({}, {"name": "a"})
    assert "hits" not in vars(kind)
    applied = livepatch.apply(declared(write_fix, m.__name__, cls))
    assert old.hit() == 1


@pytest.mark.parametrize("cls", ["Peer", "Slotted", "Bare"])
def test_patched_code_attaches_by_name_without_a_word_of_it_before(write_module, write_fix, cls):
    m = write_module(SPECIMEN)
    kind = getattr(m, cls)
    old, other = kind(), kind()
    applied = livepatch.apply(by_name(write_fix, m.__name__, cls))
    assert [old.hit(), old.hit(), other.hit()] == [1, 2, 1]
    assert not hasattr(old, "hits")
    ask = livepatch.shadow
    assert ask.get(old, "hits", patch=applied.id) == [1, 1]
    assert ask(old, "hits", patch=applied.id) == [1, 1]
    ask.put(other, "hits", [1, 2, 3], patch=applied.id)
    assert other.hit() == 4
    assert ask.free(other, "hits", patch=applied.id)
    assert other.hit() == 1
    assert ask.get(kind(), "hits", "none", patch=applied.id) == "none"
    with pytest.raises(StateError, match="nothing is attached to the object as hits"):
        ask(kind(), "hits", patch=applied.id)
    assert ask.free_all("hits", patch=applied.id) == 2
    assert ask.free_all("never", patch=applied.id) == 0
    assert old.hit() == 1
    applied.revert()
    with pytest.raises(UnknownPatchError, match="no patch"):
        ask.get(old, "hits", patch=applied.id)
    livepatch.apply(by_name(write_fix, m.__name__, cls))
    assert old.hit() == 1


def test_two_patches_have_each_their_own(write_module, write_fix):
    m = write_module(SPECIMEN + "\nclass Other(Peer):\n    def hit(self): return 0\n")
    old = m.Other()
    one = livepatch.apply(by_name(write_fix, m.__name__))
    two = livepatch.apply(
        by_name(
            write_fix,
            m.__name__,
            "Other",
            "import livepatch\n    return (super().hit(), len(livepatch.shadow(self, 'hits', default=list)))",
        )
    )
    assert [old.hit(), old.hit()] == [(1, 0), (2, 0)]
    livepatch.shadow.put(old, "hits", "x" * 7, patch=two.id)
    one.revert()
    assert old.hit() == (0, 7)


def test_outside_of_patched_code_the_patch_must_be_named(write_module, write_fix):
    m = write_module(SPECIMEN)
    livepatch.apply(by_name(write_fix, m.__name__))
    with pytest.raises(PatchError, match="it cannot be told which patch"):
        livepatch.shadow(m.Peer(), "hits", default=list)
    with pytest.raises(UnknownPatchError):
        livepatch.shadow(m.Peer(), "hits", default=list, patch="NO-SUCH")
    for wrong in (5, b"x", None):
        with pytest.raises(TypeError, match="must be a"):
            livepatch.shadow(m.Peer(), wrong, default=list)
    with pytest.raises(TypeError, match="nothing can be attached to 5"):
        livepatch.shadow(5, "hits", default=list)


def test_values_survive_a_patch_that_replaces_the_first_and_declares_the_same(write_module, write_fix):
    m = write_module(SPECIMEN)
    old = m.Peer()
    one = livepatch.apply(declared(write_fix, m.__name__))
    assert [old.hit(), old.hit()] == [1, 2]
    held = old.hits
    two = livepatch.apply(declared(write_fix, m.__name__, default="lambda: [1, 2, 3]"), replaces=[one.id])
    assert (old.hit(), old.hits is held, m.Peer().hit()) == (3, True, 4)
    again = livepatch.apply(declared(write_fix, m.__name__), replaces=[two.id])
    assert old.hit() == 4
    again.revert()
    assert vars(old) == {"name": "a"}


def test_what_was_attached_by_name_survives_a_replacement_too(write_module, write_fix):
    m = write_module(SPECIMEN)
    old = m.Slotted()
    one = livepatch.apply(by_name(write_fix, m.__name__, "Slotted"))
    assert old.hit() == 1
    two = livepatch.apply(by_name(write_fix, m.__name__, "Slotted"), replaces=[one.id])
    assert old.hit() == 2
    two.revert()
    livepatch.apply(by_name(write_fix, m.__name__, "Slotted"))
    assert old.hit() == 1


def test_a_replacement_that_declares_it_no_more_frees_it(write_module, write_fix):
    m = write_module(SPECIMEN)
    old = m.Peer()
    one = livepatch.apply(declared(write_fix, m.__name__))
    old.hit()
    livepatch.apply(write_fix(f"{m.__name__}:Peer.hit", "def hit(self): return 'none'"), replaces=[one.id])
    assert (old.hit(), vars(old)) == ("none", {"name": "a"})


def test_a_refused_replacement_leaves_what_is_attached(write_module, write_fix):
    m = write_module(SPECIMEN)
    old = m.Peer()
    one = livepatch.apply(declared(write_fix, m.__name__))
    old.hit()
    bad = declared(write_fix, m.__name__)

    @bad.pre_apply
    def veto():
        raise ValueError("no")

    with pytest.raises(livepatch.TransitionError):
        livepatch.apply(bad, replaces=[one.id])
    assert old.hit() == 2
    with pytest.raises(livepatch.IncompatibleError):  # the name is the first one's
        livepatch.apply(declared(write_fix, m.__name__))
    assert old.hit() == 3
    one.revert()
    assert vars(old) == {"name": "a"}


def test_values_wait_for_calls_that_still_run_and_then_go(write_module, write_fix):
    m = write_module(SPECIMEN)
    old = m.Peer()
    body = """
@replace
def hit(self, wait=None):
    self.hits.append(1)
    if wait is not None:
        wait[0].set()
        wait[1].wait(10)
    return len(self.hits)
"""
    applied = livepatch.apply(
        write_fix(f"{m.__name__}:Peer.hit", f"fix.shadow('{m.__name__}:Peer', hits=list)\n{body}")
    )
    events, seen = (threading.Event(), threading.Event()), []
    thread = threading.Thread(target=lambda: seen.append(old.hit(events)))
    thread.start()
    events[0].wait(10)
    applied.revert()
    assert old.hit() == 0
    assert vars(old)["hits"] == [1]  # that call may read it yet
    events[1].set()
    thread.join()
    assert applied.wait(10)
    assert seen == [1]
    end = time.monotonic() + 10
    while "hits" in vars(old) and time.monotonic() < end:
        time.sleep(0.001)  # the thread that settles frees them next
    assert vars(old) == {"name": "a"}


def test_a_call_that_outlives_its_patch_attaches_nothing(write_module, write_fix):
    generator = "    def hit(self): yield\nclass In"
    m = write_module(SPECIMEN.replace("    def hit(self):\n        return 0\nclass In", generator))
    old = m.Peer()
    take = "livepatch.shadow(self, 'hits', default=list)"
    body = f"import livepatch\n    yield len({take})\n    {take}.append(1)\n    yield len({take})"
    applied = livepatch.apply(by_name(write_fix, m.__name__, body=body), consistency="immediate")
    running = old.hit()
    assert next(running) == 0
    applied.revert(consistency="immediate")
    assert next(running) == 0  # one of its own each time, and no error
    gone = weakref.ref(old)
    del old, running
    gc.collect()
    assert gone() is None


def test_values_are_freed_with_their_objects(write_module, write_fix):
    m = write_module(SPECIMEN)
    livepatch.apply(declared(write_fix, m.__name__))
    old = m.Peer()
    old.hit()  # the value holds the object
    gone = weakref.ref(old)
    del old
    gc.collect()
    assert gone() is None


def test_subclasses_own_values_and_their_own_getattr_keep_their_say(write_module, write_fix):
    m = write_module(
        SPECIMEN
        + """
class Answers(Peer):
    def __getattr__(self, name):
        return f'no {name}'
class Listens(Peer):
    def __getattribute__(self, name):
        return super().__getattribute__(name)
class Has(Peer):
    hits = 'of the class'
class Meta(type):
    __slots__ = ()
class Made(Peer, metaclass=Meta):
    pass
"""
    )
    own, answers, listens, has = m.Inbound(), m.Answers(), m.Listens(), m.Has()
    own.hits = ["own"]
    made = m.Made()
    livepatch.apply(declared(write_fix, m.__name__))
    assert (own.hits, answers.hits, listens.hits, has.hits, made.hits) == (["own"], [], [], "of the class", [])
    assert answers.other == "no other"
    assert answers.hits is answers.hits
    own.hits = 5
    del own.hits
    assert own.hits == []
    with pytest.raises(AttributeError, match="type object 'Peer' has no attribute 'hits'"):
        m.Peer.hits  # noqa: B018


def test_objects_without_a_dict_can_be_assigned_to_and_deleted_from(write_module, write_fix):
    m = write_module(SPECIMEN)
    old, wider = m.Slotted(), m.WithDict()
    livepatch.apply(declared(write_fix, m.__name__, "Slotted"))
    old.hits = "own"
    assert old.hits == "own"
    del old.hits
    with pytest.raises(AttributeError):
        del old.hits
    assert old.hits == []
    wider.hits = "wide"
    assert (wider.hits, m.WithDict().hits) == ("wide", [])


def test_classes_themselves_are_objects_of_their_metaclass(write_module, new_patch):
    m = write_module("class Meta(type):\n    pass\nclass C(metaclass=Meta):\n    pass\n")
    fix = new_patch()
    fix.shadow(f"{m.__name__}:Meta", seen=list)
    applied = livepatch.apply(fix)
    m.C.seen.append(1)
    assert m.C.seen == [1]
    applied.revert()
    assert not hasattr(m.C, "seen")


def test_a_default_is_a_plain_value_or_a_factory_with_or_without_the_object(write_module, new_patch):
    m = write_module(SPECIMEN)
    fix = new_patch()
    fix.shadow(
        f"{m.__name__}:Peer", limit=5, nothing=None, label=lambda self: self.name * 2, seen=set, __own=lambda: [1]
    )
    livepatch.apply(fix)
    old = m.Peer("ab")
    assert (old.limit, old.nothing, old.label, old.seen, old._Peer__own) == (5, None, "abab", set(), [1])
    old.limit = 6
    assert (old.limit, m.Peer().limit) == (6, 5)


@pytest.mark.all_modules
@pytest.mark.parametrize(
    ("owner", "code"),
    [
        ("builtins:dict", "immutable-type"),
        ("collections:OrderedDict", "immutable-type"),
        ("M:Peer.hit", "not-a-class"),
        ("M:Nobody", "not-a-class"),
        ("M:Hooked", "metaclass-hooks-stores"),
        ("M:Has", "exists-already"),
        ("M:Inherits", "exists-already"),
        ("M:HasSlot", "exists-already"),
    ],
)
def test_what_cannot_have_the_attribute_is_refused_and_nothing_has_changed(write_module, new_patch, owner, code):
    m = write_module(
        SPECIMEN
        + """
class Meta(type):
    def __setattr__(cls, name, value): super().__setattr__(name, value)
class Hooked(metaclass=Meta): pass
class Has:
    hits = 1
class Inherits(Has): pass
class HasSlot:
    __slots__ = ('hits',)
"""
    )
    fix = new_patch()
    fix.shadow(owner.replace("M:", f"{m.__name__}:"), hits=list)
    report = livepatch.check(fix)
    assert [finding.code for finding in report.errors if finding.code != "module-not-in-package"] == [code]
    with pytest.raises(livepatch.IncompatibleError):
        livepatch.apply(fix)


def test_check_says_what_will_be_attached_and_to_how_many_objects(write_module, write_fix):
    m = write_module(SPECIMEN)
    kept = [m.Peer(), m.Inbound()]
    fix = declared(write_fix, m.__name__)
    (told,) = [f for f in livepatch.check(fix, max_pause=10).findings if f.code == "shadow-variable"]
    assert (told.severity, told.target) == ("info", f"{m.__name__}:Peer.hits")
    assert told.found == f"each object gets hits when it is first read: list(); there are {len(kept)} objects now"
    assert not hasattr(kept[0], "hits")


def test_modes_that_decide_by_call_are_refused_as_calls_would_not_find_what_others_left(write_module, write_fix):
    m = write_module(SPECIMEN)
    with pytest.raises(PatchError, match="only new code sets it"):
        livepatch.apply(declared(write_fix, m.__name__), mode=livepatch.split(50))


def test_tasks_of_one_loop_share_what_is_attached(write_module, write_fix):
    m = write_module(
        SPECIMEN.replace(
            "    def hit(self):\n        return 0\nclass In", "    async def hit(self): return 0\nclass In"
        )
    )
    old = m.Peer()
    body = "count(self).append(1)\n    await asyncio.sleep(0)\n    return len(count(self))"
    fix = write_fix(f"{m.__name__}:Peer.hit", f"async def hit(self):\n    {body}", above="import asyncio\n" + BY_NAME)

    async def main():
        applied = await asyncio.to_thread(livepatch.apply, fix)
        assert await asyncio.gather(*(old.hit() for _ in range(10))) == [10] * 10
        await asyncio.to_thread(applied.revert)
        assert await old.hit() == 0

    asyncio.run(main())
