"""Do the sources in a tree have the code that a patch was made for, or that it brings?  Told from syntax trees."""

from __future__ import annotations

import ast
import difflib
import itertools
import tokenize
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from io import BytesIO
from typing import Literal, Protocol

from livepatch.bundle.nodes import walk
from livepatch.bundle.trust import targets
from livepatch.compat.report import Finding, Report, by_weight
from livepatch.compat.versions import Distribution, version_findings
from livepatch.contents.edits import FunctionEdit, ModuleEdit, Statement, Text
from livepatch.contents.parsing import tree_of
from livepatch.errors import counted, spelled
from livepatch.patch import Patch

__all__ = ["Sources", "compare", "contains"]

Kind = Literal["changed", "derived", "added", "removed"]

_REBUILD = "build the patch from the sources that run, or take the one made for them"


class Sources(Protocol):
    """The files of one package: their bytes by path, the path of each module, and the version, where it is known."""

    @property
    def version(self) -> str | None: ...  # noqa: D102
    @property
    def sources(self) -> Mapping[str, bytes]: ...  # noqa: D102
    @property
    def modules(self) -> Mapping[str, str]: ...  # noqa: D102


def compare(patch: Patch, tree: Sources) -> Report:
    """Whether each before side of the patch is what the tree's files give, and its version one that it is for."""
    findings: list[Finding] = []
    if tree.version is None:
        findings.append(
            Finding(
                code="version-unknown",
                severity="warning",
                target=patch.package,
                found="no metadata that tell the version",
                expected=f"{patch.package} {patch.versions}",
                action="compare the version yourself, or check a folder that pip has installed into",
            )
        )
    else:
        findings += version_findings(patch.package, patch.versions, Distribution(installed=tree.version))
    for edit in patch.edits:
        findings += _differences(edit, tree)
    findings += [
        Finding(
            code=obstacle.code,
            severity="warning",
            target=obstacle.target,
            found=obstacle.found,
            expected=obstacle.expected,
            action=f"{obstacle.action} (it refuses the patch in a process that has imported the module)",
        )
        for obstacle in patch.obstacles
    ]
    return Report(
        patch_id=patch.id,
        package=patch.package,
        versions=patch.versions,
        targets=targets(patch),
        findings=by_weight(findings),
    )


def contains(edits: Iterable[ModuleEdit], tree: Sources) -> bool:
    """Whether the tree's files give each after side already: of functions, statements and imports, and all new modules.

    True only where all of it is there as the patch has it, so not if a later release has changed it further.
    """
    given = list(edits)
    return bool(given) and not any(list(_differences(_turned(edit), tree)) for edit in given)


def _turned(edit: ModuleEdit) -> ModuleEdit:
    """The edit that leads back: its before side is the after side."""
    other: Mapping[str, Kind] = {"added": "removed", "removed": "added"}
    whole = [Statement(text=Text(source=text, line=1)) for text in _statements(edit.whole)] if edit.whole else []
    return replace(
        edit,
        before=replace(edit.after, program=(*edit.after.program, *whole)),
        after=edit.before,
        functions=tuple(replace(each, before=each.after, after=each.before) for each in edit.functions),
        names=tuple(replace(each, kind=other.get(each.kind, each.kind)) for each in edit.names),
        whole=None,
    )


def _statements(source: str) -> list[str]:
    parsed = _parsed(source.encode())
    return [ast.unparse(node) for node in parsed.body] if isinstance(parsed, ast.Module) else [source]


def _differences(edit: ModuleEdit, tree: Sources) -> Iterator[Finding]:
    """Where the tree's files do not give the before side of an edit."""
    try:
        yield from _module(edit, tree)
    except RecursionError:  # parsing may succeed where walking the tree does not
        yield _unreadable(edit.module, "an expression that nests too deeply")


def _module(edit: ModuleEdit, tree: Sources) -> Iterator[Finding]:
    path = tree.modules.get(edit.module)
    if edit.whole is not None:
        if path is not None:
            yield _differs(edit.module, f"the module, in {path}", "no such module: the patch brings it")
        return
    if path is None:
        yield Finding(
            code="file-missing",
            severity="error",
            target=edit.module,
            found=f"no file of the module {edit.module}",
            expected=f"{edit.path}, or where else the module lies",
            action="name the tree or the target folder in which the package lies",
        )
        return
    parsed = _parsed(tree.sources[path])
    if isinstance(parsed, str):
        yield _unreadable(edit.module, f"{path}: {parsed}")
        return
    file = _File(path, parsed, tree.sources[path])
    for function in edit.functions:
        yield from _function(f"{edit.module}:{function.qualname}", function, file)
    for name in edit.names:
        target = f"{edit.module}:{name.qualname}"
        if name.kind == "added" and name.qualname in file.bound:
            yield _differs(target, f"the name, in line {file.bound[name.qualname]} of {path}", "a name that is new")
    for statement in edit.before.program:
        yield from _statement(edit.module, statement, file)
    missing = [line for line in edit.before.imports if not _imports(line) <= file.imports]
    if missing:
        others = f" and {counted(len(missing) - 1, 'other')}" if len(missing) > 1 else ""
        yield _differs(edit.module, f"{path} without {spelled(missing[0])}{others}", "the imports of the before side")


def _differs(target: str, found: str, expected: str) -> Finding:
    return Finding(
        code="before-differs", severity="error", target=target, found=found, expected=expected, action=_REBUILD
    )


def _unreadable(target: str, found: str) -> Finding:
    return Finding(
        code="source-unreadable",
        severity="error",
        target=target,
        found=found,
        expected="Python that this interpreter can parse",
        action="check with the Python version that the package is for",
    )


class _File:
    """A parsed file: its functions by qualified name, its statements by scope, what it imports and binds."""

    def __init__(self, path: str, tree: ast.Module, source: bytes) -> None:
        self.path = path
        self._source = source
        self.functions: dict[str, list[ast.stmt]] = {}
        self.statements: dict[str, list[ast.stmt]] = {}
        self.imports: set[tuple[str, ...]] = set()
        self.bound: dict[str, int] = {}
        self._read("", tree.body)

    @property
    def lines(self) -> list[str]:
        """The lines of the file."""
        return _decoded(self._source).splitlines()

    def _read(self, scope: str, body: Iterable[ast.stmt]) -> None:
        prefix = f"{scope}." if scope else ""
        for node in body:
            self.statements.setdefault(scope, []).append(node)
            match node:
                case ast.FunctionDef() | ast.AsyncFunctionDef():
                    self.functions.setdefault(prefix + node.name, []).append(node)
                    self.bound.setdefault(prefix + node.name, node.lineno)
                case ast.ClassDef():
                    self.bound.setdefault(prefix + node.name, node.lineno)
                    self._read(prefix + node.name, node.body)
                case ast.Import() | ast.ImportFrom():
                    self.imports |= _names(node)
                case _:
                    for name in _stored(node):
                        self.bound.setdefault(prefix + name, node.lineno)
                    for inner in _bodies(node):
                        self._read(scope, inner)


def _bodies(node: ast.AST) -> Iterator[list[ast.stmt]]:
    """The blocks of a compound statement."""
    for field in ("body", "orelse", "finalbody"):
        yield getattr(node, field, [])
    for part in (*getattr(node, "handlers", ()), *getattr(node, "cases", ())):
        yield part.body


def _stored(node: ast.stmt) -> Iterator[str]:
    """The names that a simple statement binds."""
    if isinstance(node, (ast.Assign, ast.AnnAssign)):
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            yield from (each.id for each in walk(target) if isinstance(each, ast.Name))


def _names(node: ast.Import | ast.ImportFrom) -> set[tuple[str, ...]]:
    """What an import statement binds, one row a name, however the statement is laid out."""
    origin = ("from", "." * node.level + (node.module or "")) if isinstance(node, ast.ImportFrom) else ()
    return {(*origin, alias.name, alias.asname or "") for alias in node.names}


def _imports(line: str) -> set[tuple[str, ...]]:
    parsed = _parsed(line.encode())
    nodes = parsed.body if isinstance(parsed, ast.Module) else ()
    rows = [_names(node) for node in nodes if isinstance(node, (ast.Import, ast.ImportFrom))]
    return set().union(*rows) or {(line,)}  # what is no import is in no file


def _function(target: str, edit: FunctionEdit, file: _File) -> Iterator[Finding]:
    live = file.functions.get(edit.qualname, [])
    if edit.before is None:
        # Another accessor or variant of the name may well be there before.
        if live and not edit.accessor and edit.count == 1:
            yield _differs(target, f"a function in line {live[0].lineno} of {file.path}", "none: the patch brings it")
        return
    yield from _same(target, edit.before.source, live, file, "function")


def _statement(module: str, statement: Statement, file: _File) -> Iterator[Finding]:
    live = file.statements.get(statement.scope, [])
    target = f"{module}:{statement.scope}" if statement.scope else module
    yield from _same(target, statement.text.source, live, file, "statement")


def _same(target: str, source: str, live: list[ast.stmt], file: _File, what: str) -> Iterator[Finding]:
    """The text must be one of the live nodes."""
    parsed = _parsed(source.encode())
    if isinstance(parsed, str) or len(parsed.body) != 1:
        problem = parsed if isinstance(parsed, str) else counted(len(parsed.body), "statement")
        yield _unreadable(target, f"a before side of the patch: {problem}")
        return
    (wanted,) = parsed.body
    alike = [node for node in live if type(node) is type(wanted)]
    text = ast.dump(wanted)
    if any(ast.dump(node) == text for node in alike):
        return
    named = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    if isinstance(wanted, named):
        alike = [node for node in alike if isinstance(node, named) and node.name == wanted.name]
    else:
        alike = [node for node in alike if _begins_alike(node, wanted)]
    if not alike:
        first = source.strip().partition("\n")[0]
        yield _differs(target, f"no such {what} in {file.path}", spelled(first))
    elif isinstance(wanted, named):
        yield _differs(target, *_first_difference(wanted, alike, file.path))
    else:
        yield _differs(target, *_first_other_line(wanted, source, alike[0], file))


def _begins_alike(one: ast.stmt, other: ast.stmt) -> bool:
    """Whether two statements bind the same names, or else have the same first line."""
    names = list(_stored(one))
    if names or any(_stored(other)):
        return names == list(_stored(other))
    return ast.unparse(one).partition("\n")[0] == ast.unparse(other).partition("\n")[0]


def _first_other_line(wanted: ast.stmt, source: str, live: ast.stmt, file: _File) -> tuple[str, str]:
    """The line of the file in which a statement begins to differ, and what was expected there."""
    here, there = _parting(live, wanted) or (live, wanted)
    lines = source.splitlines()
    where = f"in line {here.lineno} of {file.path}" if here is not None else f"in the statement in line {live.lineno}"
    found = spelled(file.lines[here.lineno - 1].strip()) if here is not None else "the end of it"
    return f"{found} {where}", spelled(lines[there.lineno - 1].strip()) if there is not None else "the end of it"


_Node = ast.stmt | ast.expr


def _parting(one: ast.AST, other: ast.AST) -> tuple[_Node | None, _Node | None] | None:
    """The first nodes, of those that stand in a line, in which two trees differ; ``None`` for what one side lacks."""
    if type(one) is not type(other):
        return _in_lines(one, other)
    for name in one._fields:
        mine, its = getattr(one, name, None), getattr(other, name, None)
        pairs = itertools.zip_longest(mine, its) if isinstance(mine, list) and isinstance(its, list) else [(mine, its)]
        for a, b in pairs:
            if isinstance(a, ast.AST) and isinstance(b, ast.AST):
                found = _parting(a, b)
                if found is not None:
                    return found if found != (None, None) else _in_lines(one, other)
            elif type(a) is not type(b) or a != b:
                found = _in_lines(a, b)
                return found if found != (None, None) else _in_lines(one, other)
    return None


def _in_lines(one: object, other: object) -> tuple[_Node | None, _Node | None]:
    return one if isinstance(one, _Node) else None, other if isinstance(other, _Node) else None


def _first_difference(wanted: ast.stmt, live: list[ast.stmt], path: str) -> tuple[str, str]:
    """What the likest of the live nodes has in its first line that differs, and what was expected there."""
    expected = ast.unparse(wanted).split("\n")
    candidates = [(ast.unparse(node).split("\n"), node) for node in live[:20]]
    lines, node = max(candidates, key=lambda pair: difflib.SequenceMatcher(None, pair[0], expected).quick_ratio())
    pairs = itertools.zip_longest(lines, expected, fillvalue="the end of it")
    here, there = next(((a.strip(), b.strip()) for a, b in pairs if a != b), ("the same text", "another meaning"))
    return f"{spelled(here)} in the definition in line {node.lineno} of {path}", spelled(there)


def _parsed(source: bytes) -> ast.Module | str:
    """The syntax tree, or why there is none.  Nothing is compiled further than that."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # those are for the author of the source
            return tree_of(_decoded(source))
    except (SyntaxError, ValueError, LookupError, RecursionError, MemoryError) as error:
        return f"{type(error).__name__}: {error}"


def _decoded(source: bytes) -> str:
    """The text of a file.  Raises what decoding it raises."""
    return source.decode(tokenize.detect_encoding(BytesIO(source).readline)[0])
