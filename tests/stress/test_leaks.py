"""A patch that comes and goes thousands of times leaves nothing: no memory, no objects, no lines, no threads."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import livepatch

NODE = """
    import functools

    LIMIT = 123456

    def plain(x, y=1, *, z=2) -> int:
        "the old words"
        return ("old", x, y, z)

    class Pool:
        def validate(self, tx):
            return "old", tx

        @property
        def size(self):
            return "old"

        @functools.lru_cache
        def price(self, n):
            return "old", n

    def make(k):
        def inner(v):
            return "old", k, v
        return inner

    def steps():
        yield "old"

    async def fetch():
        return "old"

    def misfit(x):
        return "old"

    made = make("k")
"""
FIX = """
    HELP = ["carried in"]

    def plain(x, y=3, *, z=4) -> str:
        "the new words"
        return ("new", x, y, z, HELP)

    class Pool:
        def validate(self, tx):
            return "new", tx, self.extra()

        def extra(self):
            return self.__class__, super().__hash__()

        @property
        def size(self):
            return "new"

        def price(self, n):
            return "new", n

    def make(k):
        def inner(v):
            return "new", k, v
        return inner

    def steps():
        yield "new"
        yield "new"

    async def fetch():
        return "new"

    def misfit():
        return "new"
"""
# A process of its own: what the test tools and their threads do to the heap is not ours to measure.
SCRIPT = """
    import gc, json, linecache, sys, threading, tracemalloc
    import structlog
    import livepatch
    import specimen_node as node, specimen_fix as written
    from livepatch.process import live
    from tests.few_modules import FewModules

    def drop(logger, method, event):
        raise structlog.DropEvent

    def patch(*more):
        fix = livepatch.Patch("FIX", package="specimen", versions="==1.0")
        for name in ("plain", "make", "steps", "fetch", *more):
            fix.replace(f"specimen_node:{name}")(getattr(written, name))
        fix.replace("specimen_node:Pool")(written.Pool)
        fix.set("specimen_node:LIMIT", 654321)
        fix.add("specimen_node", ADDED=1)
        return fix

    structlog.configure(processors=[drop])
    live.sys = FewModules(node, written)
    fix, misfit = patch(), patch("misfit")

    def come_and_go():
        applied = livepatch.apply(fix)
        assert node.made(1) == ("new", "k", 1)
        applied.revert()
        assert node.made(1) == ("old", "k", 1)

    def to_and_fro():
        if not livepatch.status():
            livepatch.apply(fix)
        livepatch.flags["FIX"] = "off"
        assert node.plain(0) == ("old", 0, 1, 2)
        livepatch.flags["FIX"] = "on"
        assert node.plain(0) == ("new", 0, 3, 4, ["carried in"])

    def look():
        assert livepatch.check(fix).ok
        assert livepatch.verify()
        assert livepatch.status() == ()

    def look_at_applied():
        if not livepatch.status():
            livepatch.apply(fix)
        assert not livepatch.check(fix).ok
        assert livepatch.verify()
        assert [status.id for status in livepatch.status()] == ["FIX"]

    def be_refused():
        try:
            livepatch.apply(misfit)
        except livepatch.IncompatibleError:
            return
        raise AssertionError("not refused")

    def measures():
        gc.collect()
        sys._clear_type_cache()  # keeps up to 4096 attribute names, and opening a file makes such a name each time
        functions = [node.plain, node.make, node.steps, node.fetch, node.made]
        functions += [node.Pool.validate, node.Pool.size.fget, node.Pool.price.__wrapped__]
        return {
            "references": sum(sys.getrefcount(function.__code__) for function in functions),
            "lines": len(linecache.cache),
            "threads": threading.active_count(),
            "objects": len(gc.get_objects()),
            # Keeping the size of every block makes all that is done take twice as long.
            **({"bytes": tracemalloc.get_traced_memory()[0]} if traced else {"blocks": sys.getallocatedblocks()}),
        }

    traced = sys.argv[4] == "traced"
    if traced:
        tracemalloc.start()
    cycle, rounds, times = globals()[sys.argv[1]], int(sys.argv[2]), int(sys.argv[3])
    for _ in range(10):
        cycle()
    print(json.dumps(measures()))  # not kept: that would be a growth, too
    for _ in range(rounds):
        for _ in range(times):
            cycle()
        print(json.dumps(measures()))
"""
ROUNDS = 5
# The interpreter itself comes to keep some objects and blocks, but not in every round.  What is lost in each cycle, be
# it one small object, is lost in every round: the round that grew least tells.
SLACK_PER_CYCLE = {"objects": 0.5, "blocks": 0.5, "bytes": 16}
PATH = (Path(livepatch.__file__).parents[1], Path(__file__).parents[2])
CASES = [
    pytest.param("come_and_go", 10_000, "traced", id="come_and_go-long", marks=pytest.mark.slow),
    *(
        pytest.param(each, 50, "traced", id=f"{each}-traced", marks=pytest.mark.slow)
        for each in ("come_and_go", "to_and_fro", "look", "look_at_applied", "be_refused")
    ),
    ("come_and_go", 30, "counted"),
    ("to_and_fro", 50, "counted"),
    ("look", 25, "counted"),
    ("look_at_applied", 25, "counted"),
    ("be_refused", 25, "counted"),
]


@pytest.mark.parametrize(("cycle", "times", "how"), CASES)
def test_nothing_grows(distribution: Path, cycle: str, times: int, how: str) -> None:
    for name, source in (("specimen_node", NODE), ("specimen_fix", FIX)):
        (distribution / f"{name}.py").write_text(textwrap.dedent(source), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), cycle, str(ROUNDS), str(times // ROUNDS), how],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(Path(livepatch.__file__).parents[1]), str(distribution)]),
        },
        capture_output=True,
        text=True,
        timeout=3_600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    measured = [json.loads(line) for line in done.stdout.splitlines()]
    for name, first in measured[0].items():
        grown = [after[name] - before[name] for before, after in itertools.pairwise(measured)]
        if name in SLACK_PER_CYCLE:
            assert min(grown) < SLACK_PER_CYCLE[name] * times / ROUNDS, (name, grown)
        else:
            assert measured[-1][name] == first, (name, grown)
