"""Patches as the builder makes them, at random, and one of a plausible size."""

from __future__ import annotations

import dataclasses
import random

from hypothesis import strategies as st

from livepatch.bundle import codec
from livepatch.bundle.codec import Contents
from livepatch.bundle.envelope import UnverifiedBundle
from livepatch.bundle.reading import LIMITS, Limits
from livepatch.contents.claims import RoundTrip, Snapshot, Waiver
from livepatch.contents.edits import (
    AttributeDefault,
    Captured,
    ClassHead,
    FunctionEdit,
    Memo,
    ModuleEdit,
    NameEdit,
    Needs,
    Obstacle,
    PlanEntry,
    Side,
    Statement,
    Text,
    Unfit,
    replaced_functions,
)
from livepatch.contents.embargo import Embargo
from livepatch.contents.ownership import Owners
from livepatch.contents.probes import Probe
from livepatch.contents.release import Release

NAMES = st.sampled_from(["validate", "_private", "__dunder__", "Größe", "名前", "a", "x" * 300])
DOTTED = st.lists(NAMES, min_size=1, max_size=3).map(".".join)
PATHS = st.sampled_from(["a.b:c.d", "größe:名"])
FREE = st.text(max_size=30)
LINES = st.sampled_from(["", "node operations", "名前", "x" * 200])
SOURCES = st.text(
    st.characters(exclude_characters="\r\0", exclude_categories=["Cs"]), min_size=1, max_size=60
) | st.sampled_from(["def f():\n    return 1\n", "x = '😀'\n", "a" * 300, "ü" * 200])
TEXTS = st.builds(Text, source=SOURCES, line=st.sampled_from([1, 127, 128, 255, 256, 65_535, 65_536, 10_000_000]))
STATEMENTS = st.builds(Statement, scope=st.just("") | DOTTED, text=TEXTS)


def decode(data: bytes, limits: Limits = LIMITS) -> Contents:
    """What nobody has verified, read all the same."""
    return codec.decode(UnverifiedBundle(data), limits)


def few(strategy: st.SearchStrategy, most: int = 3) -> st.SearchStrategy:
    return st.lists(strategy, max_size=most).map(tuple)


SIDES = st.builds(
    Side,
    futures=few(st.sampled_from(["annotations", "division"])),
    imports=few(st.sampled_from(["import os\n", "from a import b as c\n"])),
    program=few(STATEMENTS),
)
FUNCTIONS = st.builds(
    FunctionEdit,
    qualname=DOTTED,
    before=st.none() | TEXTS,
    after=TEXTS,
    defaults=st.booleans(),
    accessor=st.sampled_from(["", "fget", "fset", "fdel"]),
    index=st.integers(0, 2),
    count=st.integers(3, 300),
    rebound=st.booleans(),
)
EDITED = st.builds(
    ModuleEdit,
    module=DOTTED,
    path=st.sampled_from(["a.py", "package/größe.py", "src/a b/c.py"]),
    before=SIDES,
    after=SIDES,
    functions=few(FUNCTIONS),
    names=few(st.builds(NameEdit, qualname=DOTTED, kind=st.sampled_from(["changed", "derived", "added", "removed"]))),
    attributes=few(
        st.builds(
            AttributeDefault,
            class_qualname=DOTTED,
            name=NAMES,
            expression=st.just("") | SOURCES,
            shared=st.booleans(),
            reason=FREE,
            kinds=few(st.sampled_from(["int", "None"])),
            fixed=st.booleans(),
        )
    ),
    unfit=few(st.builds(Unfit, class_qualname=DOTTED, name=NAMES, reason=FREE, kinds=few(st.just("bytes")))),
    memos=few(st.builds(Memo, target=DOTTED, of=st.just("a:b.c"), initial=st.just("") | SOURCES)),
    captured=few(
        st.builds(
            Captured,
            class_qualname=DOTTED,
            name=NAMES,
            of=st.just("a:b"),
            before=st.just("") | SOURCES,
            after=st.just("") | SOURCES,
            but_for=few(st.just("a:B.C")),
        )
    ),
    caches=few(DOTTED),
    classes=few(st.builds(ClassHead, qualname=DOTTED, bases=few(st.sampled_from(["object", "a.B[int]"])))),
)
NEW = st.builds(ModuleEdit, module=DOTTED, path=st.just("new.py"), whole=st.just("") | SOURCES)
CONTENTS = st.builds(
    Contents,
    id=st.sampled_from(["CVE-2026-1234", "a", "x" * 128]),
    package=st.sampled_from(["nodeclient", "a"]),
    versions=st.sampled_from(["==2.1.*", ">=1,<2", "===anything"]),
    summary=FREE,
    flag=st.sampled_from(["flag", "CVE-2026-1234"]),
    requires=st.lists(st.sampled_from(["OTHER-1", "OTHER-2"]), unique=True).map(tuple),
    edits=st.lists(EDITED | NEW, max_size=3, unique_by=lambda edit: edit.module).map(tuple),
    obstacles=few(
        st.builds(
            Obstacle,
            code=st.sampled_from(["bases-changed", "native"]),
            target=st.sampled_from(["a:B.c", "a"]),
            found=FREE,
            expected=FREE,
            action=FREE,
        )
    ),
    plan=few(
        st.builds(
            PlanEntry,
            target=st.sampled_from(["a:b", "tests/test_a.py"]),
            what=FREE,
            verdict=st.sampled_from(["taken", "needed", "left-out", "cannot"]),
            why=FREE,
        )
    ),
    compatible_with=st.sampled_from(["", ">=2,<3"]),
    waivers=st.lists(
        st.builds(
            Waiver,
            target=st.sampled_from(["a:B.c", "größe.名:f.<locals>.g", "a:f.<locals>.<lambda>"]),
            reason=st.sampled_from(["because", "名前"]),
        ),
        max_size=2,
        unique_by=lambda waiver: waiver.target,
    ).map(tuple),
    needs=st.builds(
        Needs,
        python=st.sampled_from(["", ">=3.11"]),
        before=few(st.sampled_from(["a", "b>=1"])),
        after=few(st.sampled_from(["a", 'c<2,>=1; sys_platform == "linux"'])),
    ),
    round_trips=few(st.builds(RoundTrip, encode=PATHS, decode=PATHS, values=PATHS)),
    snapshots=few(
        st.one_of(
            st.builds(Snapshot, load=PATHS, examples=PATHS),
            st.builds(Snapshot, load=PATHS, examples=PATHS, store=PATHS, rollback=st.booleans()),
        )
    ),
    release=st.builds(
        Release,
        channel=st.sampled_from(["stable", "x" * 128]),
        revision=st.sampled_from([1, 127, 128, 65_536, 2**31 - 1]),
        expires=st.sampled_from(["", "2028-02-29T23:59:59Z"]),
        nodes=st.lists(st.sampled_from(["a", "validator-7"]), unique=True).map(tuple),
    ),
    owners=st.just(Owners()) | st.builds(Owners, watches=LINES, stops=LINES, call=LINES),
    embargo=st.none()
    | st.builds(
        Embargo,
        until=st.just("2028-02-29T23:59:59Z"),
        proof_of_concept=st.sampled_from(["", "größe\nund mehr"]),
        affected_paths=st.lists(st.sampled_from(["a.py", "größe.py"]), unique=True).map(tuple),
        reporter=LINES,
    ),
    probes=st.lists(
        st.builds(Probe, name=st.sampled_from(["a", "b"]), source=SOURCES, safe=st.booleans()),
        max_size=2,
        unique_by=lambda probe: probe.name,
    ).map(tuple),
).map(lambda contents: dataclasses.replace(contents, pure=replaced_functions(contents.edits)))


def of_every_part() -> Contents:
    """A small patch that has each kind of part once."""
    edit = ModuleEdit(
        module="a",
        path="a.py",
        before=Side(program=(Statement(text=Text(source="x = 1\n", line=1)),)),
        after=Side(futures=("annotations",), imports=("import os",)),
        functions=(
            FunctionEdit(qualname="f", before=None, after=Text(source="def f(): pass\n", line=2)),
            FunctionEdit(
                qualname="g",
                before=Text(source="def g(): pass\n", line=3),
                after=Text(source="def g(): return\n", line=4),
            ),
        ),
        names=(NameEdit(qualname="x", kind="changed"),),
        attributes=(AttributeDefault(class_qualname="C", name="x", expression="1"),),
        unfit=(Unfit(class_qualname="C", name="z", reason="they lack it"),),
        memos=(Memo(target="C._table", of="a:x", initial="None"),),
        captured=(Captured(class_qualname="C", name="y", of="a:x"),),
        caches=("f",),
        classes=(ClassHead(qualname="C", bases=("Base",)),),
    )
    return Contents(
        id="A",
        package="a",
        versions="==1",
        summary="why",
        flag="a",
        requires=("B",),
        edits=(edit,),
        obstacles=(Obstacle(code="native", target="a", found="C", expected="Python", action="restart"),),
        plan=(PlanEntry(target="a:f", what="function", verdict="taken"),),
        compatible_with=">=1",
        waivers=(Waiver(target="a:f", reason="nobody calls it"),),
        needs=Needs(python=">=3.11", before=("b>=1",), after=('b>=2; python_version < "4"',)),
        round_trips=(RoundTrip(encode="a:dump", decode="a:load", values="a:EXAMPLES"),),
        snapshots=(Snapshot(load="a:load", examples="a:STORED", store="a:store", rollback=True),),
        pure=("a:g",),
        release=Release(channel="testing", revision=2, expires="2027-03-31T00:00:00Z", nodes=("validator-7",)),
        owners=Owners(watches="operations", stops="whoever is on duty", call="the security team"),
        embargo=Embargo(
            until="2027-03-31T00:00:00Z", proof_of_concept="send\ntwo", affected_paths=("a.py",), reporter="Mallory"
        ),
        probes=(Probe(name="count", source="def vulnerable(): return False\n", safe=True),),
    )


def body(number: int, side: str, seed: int = 0) -> str:
    lines = [f"    value_{line} = {random.Random(seed + line).random()!r} + {number}\n" for line in range(20)]
    return f"def function_{number}(self, limit={number}):\n{''.join(lines)}    return {side!r}\n"


def of_functions(count: int) -> Contents:
    """A fix of so many functions of 22 lines each, in modules of ten."""
    imports = tuple(f"import module_{number}\n" for number in range(12))
    program = tuple(
        Statement(text=Text(source=f"LIMIT_{number} = {number}\n", line=14 + number)) for number in range(5)
    )
    side = Side(futures=("annotations",), imports=imports, program=program)
    numbers = range(count)
    return Contents(
        id="CVE-2026-1234",
        package="nodeclient",
        versions="==2.1.*",
        summary="reject oversized peer lists",
        flag="CVE-2026-1234",
        requires=(),
        obstacles=(),
        plan=tuple(
            PlanEntry(target=f"nodeclient.m{number // 10}:Pool.function_{number}", what="function", verdict="taken")
            for number in numbers
        ),
        edits=tuple(
            ModuleEdit(
                module=f"nodeclient.m{first // 10}",
                path=f"nodeclient/m{first // 10}.py",
                before=side,
                after=side,
                functions=tuple(
                    FunctionEdit(
                        qualname=f"Pool.function_{number}",
                        before=Text(source=body(number, "before"), line=100 + 30 * number),
                        after=Text(source=body(number, "after"), line=101 + 30 * number),
                    )
                    for number in numbers[first : first + 10]
                ),
                names=(NameEdit(qualname="LIMIT_3", kind="changed"),),
            )
            for first in range(0, count, 10)
        ),
    )
