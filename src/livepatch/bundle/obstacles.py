"""What a fix needs and cannot be done live, as far as the source tells."""

from __future__ import annotations

import ast
import copy
import re
import sys
from collections.abc import Iterable

from livepatch.bundle.changes import Difference
from livepatch.bundle.items import Item, chain_of
from livepatch.bundle.normal import decorators_of, normal
from livepatch.bundle.refs import Ref
from livepatch.bundle.shapes import field_names, is_plain_dataclass, shape_of
from livepatch.bundle.transparent import gives_its_argument
from livepatch.bundle.trees import Tree
from livepatch.bundle.world import World
from livepatch.contents.edits import Obstacle

__all__ = ["native_obstacles", "obstacles_of"]

_RESTART = "build with only= and without it, or restart the process with the new release"


def obstacles_of(one: Difference, old: World, new: World) -> list[Obstacle]:
    """What stands in the way of one difference."""
    found: list[Obstacle] = []
    owner, _, name = one.qualname.rpartition(".")
    if name == "__slots__" and owner:
        found.append(
            Obstacle(
                code="slots-changed",
                target=f"{one.module}:{owner}",
                found=f"{owner} has other __slots__",
                expected="the same layout of its objects on both sides",
                action=_RESTART,
            )
        )
    if one.form == "function":
        found += _alike_obstacles(one)
    if owner:
        found += _shape_obstacles(one, owner, old, new)
    if one.what == "class statement":
        found += _class_obstacles(one, old, new)
    elif one.form == "name" and one.kind == "changed":
        found += _decorator_obstacles(one, old, new)
        found += _factory_obstacles(one)
        found += _count_obstacles(one)
    return found


def _alike_obstacles(one: Difference) -> list[Obstacle]:
    """Several definitions of one name and one code, of which a process cannot tell which one it runs."""
    alone = [item for item in one.before if item.kind == "function" and not item.accessor]
    if len(alone) < 2:
        return []
    codes = [_code_of(item) for item in alone]
    changed = [_code_of(old) for old, _, _, _ in one.pairs if old is not None and not old.accessor]
    if all(codes.count(code) < 2 for code in changed):
        return []
    return [
        Obstacle(
            code="definitions-alike",
            target=f"{one.module}:{one.qualname}",
            found=f"{len(codes)} definitions of {one.qualname}, of which some have the same code and one changes",
            expected="definitions that a process can tell apart by what it runs",
            action=_RESTART,
        )
    ]


def _count_obstacles(one: Difference) -> list[Obstacle]:
    """More or fewer decorated definitions under one name, one after the other: which follows which nobody can tell."""
    sides = [[item for item in items if item.kind == "function"] for items in (one.before, one.after)]
    if len(sides[0]) == len(sides[1]) or not all(sides) or any(item.accessor for side in sides for item in side):
        return []
    kept = [[item.guards for item in side if getattr(item.node, "decorator_list", ())] for side in sides]
    if all(len(set(each)) == len(each) for each in kept):
        return []
    return [
        Obstacle(
            code="definitions-alike",
            target=f"{one.module}:{one.qualname}",
            found=f"{len(sides[0])} definitions of {one.qualname} become {len(sides[1])}",
            expected="as many definitions of one name, so that each is followed by its own",
            action=_RESTART,
        )
    ]


def _code_of(item: Item) -> str:
    """A definition without what is evaluated around its code: its decorators and the values of its defaults."""
    node = copy.copy(item.node)
    assert isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    node.decorator_list = []
    node.args = copy.copy(node.args)
    node.args.defaults = [ast.Constant(None) for _ in node.args.defaults]
    node.args.kw_defaults = [default and ast.Constant(None) for default in node.args.kw_defaults]
    return normal(node)


def _shape_obstacles(one: Difference, owner: str, old: World, new: World) -> list[Obstacle]:
    """What the members of a class say that are more than attributes of it."""
    if any(i.kind not in ("assign", "field") for i in [*one.before, *one.after]):
        return []
    entity = (one.module, owner)
    shape = shape_of(old, entity) or shape_of(new, entity)
    if shape == "enum":
        name = one.qualname.rpartition(".")[2]
        if name.startswith("_"):
            return []
        return [
            Obstacle(
                code="enum-changed",
                target=f"{one.module}:{owner}",
                found=f"the member {name} of {owner} is {one.kind}",
                expected="the same members on both sides",
                action=_RESTART,
            )
        ]
    if shape == "data" and field_names(old, entity) != field_names(new, entity) and not _is_default(one, old, new):
        return [
            Obstacle(
                code="fields-changed",
                target=f"{one.module}:{owner}",
                found=f"{owner} has other fields: {one.qualname.rpartition('.')[2]} is {one.kind}",
                expected="the same fields, in the same order and with the same defaults",
                action=_RESTART,
            )
        ]
    return []


def _is_default(one: Difference, old: World, new: World) -> bool:
    """Whether it is the plain default of a field, which can be changed where ``dataclass`` has put it."""
    entity = (one.module, one.qualname.rpartition(".")[0])
    names = [[name for name, _ in field_names(world, entity)] for world in (old, new)]
    values = [item.node.value if isinstance(item.node, ast.AnnAssign) else None for item in (*one.before, *one.after)]
    return (
        names[0] == names[1]
        and one.kind == "changed"
        and all(value is not None and not isinstance(value, ast.Call) for value in values)
        and all(is_plain_dataclass(world, entity) for world in (old, new))
    )


def _class_obstacles(one: Difference, old: World, new: World) -> list[Obstacle]:
    found = []
    for a, b in zip(one.before, one.after, strict=False):
        if not isinstance(a.node, ast.ClassDef) or not isinstance(b.node, ast.ClassDef):
            continue
        had, has = ({k.arg or "**": normal(k.value) for k in n.keywords} for n in (a.node, b.node))
        if had != has:
            names = sorted(k for k in had.keys() | has.keys() if had.get(k) != has.get(k))
            found.append(
                Obstacle(
                    code="metaclass-changed",
                    target=one.target,
                    found=f"the class statement has another {', '.join(names)}",
                    expected="a class that is made in the same way on both sides",
                    action=_RESTART,
                )
            )
        if decorators_of(a.node) != decorators_of(b.node):
            texts = {normal(d) for d in a.node.decorator_list} ^ {normal(d) for d in b.node.decorator_list}
            changed = [
                (world, item, d)
                for world, item, node in ((old, a, a.node), (new, b, b.node))
                for d in node.decorator_list
                if normal(d) in texts
            ]
            if not all(gives_its_argument(world, item, d) for world, item, d in changed):
                found.append(_decorator_obstacle(one.target, [d for _, _, d in changed]))
    return found


def _decorator_obstacles(one: Difference, old: World, new: World) -> list[Obstacle]:
    functions = [i for i in [*one.before, *one.after] if i.kind == "function"]
    if not functions or len({decorators_of(i.node) for i in functions}) == 1:  # type: ignore[arg-type]
        return []
    strange = [
        d
        for world, items in ((old, one.before), (new, one.after))
        for item in items
        if item.kind == "function"
        for d in item.node.decorator_list  # type: ignore[attr-defined]
        if not _is_known(world, item, d)
    ]
    return [_decorator_obstacle(one.target, strange)] if strange else []


def _decorator_obstacle(target: str, decorators: Iterable[ast.expr]) -> Obstacle:
    names = sorted({"@" + ast.unparse(d)[:80] for d in decorators})
    return Obstacle(
        code="decorator-changed",
        target=target,
        found=f"{', '.join(names)} is not on both sides",
        expected="decorators whose work can be seen: of the package itself or of the standard library",
        action=_RESTART,
    )


def _is_known(world: World, item: Item, decorator: ast.expr) -> bool:
    """Whether a decorator is of the package, of the standard library, or a part of a property."""
    chain = chain_of(decorator.func if isinstance(decorator, ast.Call) else decorator)
    if not chain:
        return False
    if chain[-1] in ("setter", "getter", "deleter"):
        return True
    trace = world.follow(Ref(chain, base="scope" if item.scope else ""), item)
    if trace.kind:
        return True
    imported = next((i.imports[chain[0]] for i in item.module.by_name.get(chain[0], []) if chain[0] in i.imports), None)
    if imported is not None:
        return imported.module.partition(".")[0] in sys.stdlib_module_names
    return not item.module.by_name.get(chain[0])  # a builtin


def _factory_obstacles(one: Difference) -> list[Obstacle]:
    """Classes that are made by a call: the objects of the old one stay what they are."""
    made = {"namedtuple", "NamedTuple", "Enum", "IntEnum", "Flag", "IntFlag", "StrEnum", "make_dataclass", "make_class"}
    for item in [*one.before, *one.after]:
        value = getattr(item.node, "value", None)
        if isinstance(value, ast.Call) and (chain_of(value.func) or ("",))[-1] in made:
            return [
                Obstacle(
                    code="fields-changed",
                    target=one.target,
                    found=f"{one.qualname} is made with other fields or members",
                    expected="the same fields on both sides",
                    action=_RESTART,
                )
            ]
    return []


# Native parts


def native_obstacles(before: Tree, after: Tree) -> list[Obstacle]:
    """Extension modules that differ; where the source is in the tree, it is what must differ."""
    old, new = _extensions(before), _extensions(after)
    found = []
    for module in sorted(old.keys() | new.keys()):
        if old.get(module) == new.get(module) or (module not in old):
            continue
        sources = _sources_differ(before, after, module)
        if sources is False:
            continue
        found.append(
            Obstacle(
                code="native-part-changed",
                target=module,
                found=f"the extension module {module} is {'another' if module in new else 'gone'}",
                expected="the same native code on both sides",
                action=_RESTART,
            )
        )
    return found


def _extensions(tree: Tree) -> dict[str, list[bytes]]:
    """The compiled files of each extension module, whatever platforms they are for."""
    found: dict[str, list[bytes]] = {}
    for path in sorted(tree.natives):
        if path.endswith((".so", ".pyd", ".dylib")):
            stem = re.sub(r"\.[^/]*$", "", path)
            found.setdefault(stem.removeprefix("src/").replace("/", "."), []).append(tree.natives[path])
    return found


def _sources_differ(before: Tree, after: Tree, module: str) -> bool | None:
    """Whether the sources of an extension differ; ``None`` if the trees do not have them."""
    stem = module.replace(".", "/")
    folder = stem.rpartition("/")[0]
    for suffixes in ((".pyx",), (".c", ".cc", ".cpp", ".rs")):
        names = [f"{root}{stem}{s}" for root in ("", "src/") for s in suffixes]
        if any(n in before.natives and n in after.natives for n in names):
            names += [
                n for n in {*before.natives, *after.natives} if n.startswith(folder) and n.endswith((".pxd", ".h"))
            ]
            return any(before.natives.get(n) != after.natives.get(n) for n in names)
    return None
