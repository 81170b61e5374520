"""What a patch that was built from two source trees changes, as source text.  Frozen values, no live objects.

A patch built from trees is a list of :class:`ModuleEdit`.  Each says, of one module, which functions get another body,
and which names get another value.  A value is never shipped: it is computed in the process, by running the same few
statements of either side (`program`) in a namespace of their own, so that the process can prove that what it holds is
what the before side gives, and finds what the after side would have given.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

__all__ = [
    "NOTHING_KNOWN",
    "AttributeDefault",
    "Captured",
    "ClassHead",
    "FunctionEdit",
    "Memo",
    "ModuleEdit",
    "NameEdit",
    "Needs",
    "Obstacle",
    "PlanEntry",
    "Side",
    "Statement",
    "Text",
    "Unfit",
    "replaced_functions",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A definition or statement as it stands in its file.

    `source` is moved to the left margin and parses by itself; `line` is the number, from 1, of its first line in the
    file (of its first decorator, where it has any).  Only indentation is taken away: lines that begin inside a string
    literal are as they are in the file, and line for line the text is the file's (see :mod:`livepatch.engine.texts`).
    """

    source: str
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One statement to run in a namespace apart from the live one.

    `scope` is empty for a statement of the module, and the qualified name of a class for one of that class's body.
    """

    scope: str = ""
    text: Text


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """What one side of a module is compiled and computed with.

    `futures` are the names of the ``__future__`` features that the module turns on.  `imports` are all import
    statements outside functions, in source order and each on a line of its own, because the compiler's choice of
    instructions depends on them.  `program` are the statements to run, in source order.
    """

    futures: tuple[str, ...] = ()
    imports: tuple[str, ...] = ()
    program: tuple[Statement, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionEdit:
    """A function or method whose body, defaults, annotations or docstring change, or that is new or gone.

    `qualname` is as in ``__qualname__``, private names unmangled; never of a function inside a function (the outermost
    is taken whole).  The texts hold the whole definition, decorators included; `before` is ``None`` for a new one and
    `after` for one that goes.  The decorators are the same on both sides: a function whose decorators change is a
    :class:`NameEdit`.  With `defaults`, the default values (not only their text) may differ between the sides and are
    computed; else the live ones stay.

    `accessor` tells the functions of one property apart: ``"fget"``, ``"fset"``, ``"fdel"``.  `index` and `count` tell
    of definitions under one name outside a property (an ``if`` and its ``else``) which one this is, and of how many.
    `rebound`: the before side binds the name by another statement, too, so that its decorators are not all there is.
    """

    qualname: str
    before: Text | None
    after: Text | None
    defaults: bool = False
    accessor: Literal["", "fget", "fset", "fdel"] = ""
    index: int = 0
    count: int = 1
    rebound: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NameEdit:
    """A name of the module (``"LIMIT"``) or of a class (``"Retry.DEFAULT"``) whose value the programs compute.

    ``changed``: its own text differs.  ``derived``: its text is the same, but it is computed from what changed.
    ``added`` and ``removed``: only one side has it.
    """

    qualname: str
    kind: Literal["changed", "derived", "added", "removed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AttributeDefault:
    """An instance attribute that the new ``__init__`` sets, new code reads, and objects that exist already lack.

    `expression` is what it starts as, taken from the source; it depends on nothing but names of the module and, with
    `of`, on the object itself, which it reads under that name: on attributes that the old ``__init__`` has set.  With
    `shared`, its value never changes in place, so that one can serve all objects; else each object gets its own.
    With `kept_by` (``"module:Class.attribute"``), it is read under `of` from the object that keeps this one there.

    An empty `expression` says that the source does not tell, or that objects that exist hold what new code cannot use:
    `reason` says why, and the patch does not go into a process that has such objects.  `kinds` are then the types of
    what new code can use; without any, it can use whatever an object has there.

    With an expression, `reason` says what the attribute is in the new release and not here: a field of a dataclass.

    A `fixed` one is set by nothing but what makes an object, so that calls of either side may come to one object in
    turn: no call relies on what another one has left there.
    """

    class_qualname: str
    name: str
    expression: str
    shared: bool = True
    of: str = ""
    kept_by: str = ""
    reason: str = ""
    kinds: tuple[str, ...] = ()
    fixed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfit:
    """An attribute by which objects that the new side made are of no use to the old one, so that a revert leaves them.

    They lack it, or hold in it what is of one of the types `kinds`; `reason` says which of the two.
    """

    class_qualname: str
    name: str
    reason: str
    kinds: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Memo:
    """A name that code fills when it first needs it, from a value that changes.

    `target` is a table (``"_CACHE"``), an attribute that is set once (``"C._table"``, ``"f.kept"``), the default of a
    parameter (``"f.memo"``) or a variable that closures share (``"make.<locals>.memo"``); `of` is the value
    (``"module:qualname"``).  `initial` is the expression that the source gives it; empty if it does not bind it.
    Nothing computes it anew: a process in which it holds more than that keeps what came of the old value.
    """

    target: str
    of: str
    initial: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Captured:
    """An attribute that each object of a class takes, when it is made, from a value that changes (`of`, as in `Memo`).

    With `before` and `after`, each side's expression among the names of the module, objects that exist get the new
    value if they still hold the old one; of the classes `but_for` (``"module:Class"``), which set it themselves, and
    where the source does not tell, they keep what they took.
    """

    class_qualname: str
    name: str
    of: str
    before: str = ""
    after: str = ""
    but_for: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassHead:
    """What the before side says of a class of which methods change: `bases` are the expressions of its statement."""

    qualname: str
    bases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleEdit:
    """What changes in one module.  `path` is that of its file inside the tree, with ``/``.

    `caches` are functions that keep their answers (``functools.lru_cache``, ``cached_property``) and use a value that
    changes, though their own text does not: they are emptied.
    `tables` are attributes (``"C._table"``) under which each object of a class keeps what one method has computed, and
    may compute again: they are emptied, too.
    `whole` is the source of a module that the before side does not have; nothing else is set then.
    """

    module: str
    path: str
    before: Side = Side()
    after: Side = Side()
    functions: tuple[FunctionEdit, ...] = ()
    names: tuple[NameEdit, ...] = ()
    attributes: tuple[AttributeDefault, ...] = ()
    unfit: tuple[Unfit, ...] = ()
    memos: tuple[Memo, ...] = ()
    captured: tuple[Captured, ...] = ()
    caches: tuple[str, ...] = ()
    classes: tuple[ClassHead, ...] = ()
    tables: tuple[str, ...] = ()
    whole: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Obstacle:
    """What the fix needs and cannot be done live, found when the patch was built: it refuses the patch.

    `target` is ``"module:qualname"`` or ``"module"``.  An obstacle in a module that a process has not imported does not
    count there: what is not there need not be changed.
    """

    code: str
    target: str
    found: str
    expected: str
    action: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What the two releases of a built patch ask for besides their own code, as their metadata say.

    `python` is the specifier of the newer one; `before` and `after` are the requirements (PEP 508) of either, without
    those of extras.
    """

    python: str = ""
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


NOTHING_KNOWN = Needs()


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanEntry:
    """What became of one difference between the trees.

    `target` is ``"module:qualname"`` or a path in the tree; `what` says what differs ("function", "constant", ...).
    `verdict`: ``taken``; ``needed`` by `why`; ``left-out`` because of `why`; ``cannot`` be done live because of `why`.
    """

    target: str
    what: str
    verdict: Literal["taken", "needed", "left-out", "cannot"]
    why: str = ""


def replaced_functions(edits: Iterable[ModuleEdit]) -> tuple[str, ...]:
    """The functions that the edits give another side, as ``"module:qualname"``, an accessor of a property behind it."""
    names = [
        f"{edit.module}:{each.qualname}{'.' + each.accessor if each.accessor else ''}"
        for edit in edits
        for each in edit.functions
        if each.before is not None and each.after is not None
    ]
    return tuple(dict.fromkeys(names))
