"""Namespaces apart from the live ones, in which the statements of one side of a patch are run.

Each module that a patch changes has a copy of itself there: a module object with the same names, holding the very
values of the live one until a statement binds others.  Imports of such a module give its copy, so what one module
computes from another is computed from that side of it.  Nothing that is live is written to; whether a statement
changed something live all the same is watched, and put back.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import functools
import importlib
import importlib.util
import sys
from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import CodeType, ModuleType
from typing import Any

from livepatch.contents.edits import ModuleEdit, Side, Statement, Text
from livepatch.contents.parsing import compiled, tree_of
from livepatch.engine.compiling import MOST_BLANK, preamble
from livepatch.engine.loaded import Loaded
from livepatch.engine.namespaces import is_class, is_module, namespace_of
from livepatch.engine.pace import breathe
from livepatch.engine.refusal import Refusal
from livepatch.engine.rewriting import BodyNames, Members, Stars, full_name, mangled_in
from livepatch.engine.stack import ABSENT
from livepatch.engine.syntax import syntax_of
from livepatch.errors import spelled

__all__ = ["Scratch", "ScratchError", "looked_at", "statement_filename", "told"]


_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


class ScratchError(Exception):
    """A statement of a side raised.  Nothing live has changed."""

    def __init__(self, target: str, refusal: Refusal) -> None:
        super().__init__(refusal.found)
        self.target, self.refusal = target, refusal


def statement_filename(patch_id: str, module: str) -> str:
    """The file name under which a patch's statements of a module show in tracebacks."""
    return f"<livepatch {patch_id} {module}>"


class Scratch:
    """One side of all modules of a patch."""

    def __init__(
        self,
        patch_id: str,
        edits: Iterable[ModuleEdit],
        modules: Mapping[str, ModuleType],
        loaded: Loaded | None = None,
    ) -> None:
        """`loaded` is told what modules statements load."""
        self._patch_id = patch_id
        self._loaded = loaded or Loaded()
        self._live = modules
        self.modules: dict[str, ModuleType] = {}
        self._classes: dict[tuple[str, str], BodyNames] = {}
        self._defined: dict[tuple[str, Text], object] = {}
        self._wanted: dict[str, set[str]] = {}
        """The names of each module that are to be computed."""
        self._bound: dict[int, list[tuple[str, str]]] = {}
        """The names under which modules hold each callable, by its id."""
        self.classes: list[type] = []
        """The classes that statements of this side have made."""
        self.told: dict[tuple[str, str], dict[str, None]] = {}
        """The names that functions of this side have set on live classes, by module and qualified name of the class."""
        self._builtins = {
            **vars(builtins),
            "__import__": self._import,
            "__build_class__": self._build_class,
            "open": _open,
            "setattr": self._setattr,
        }
        edits = list(edits)
        self._tops = {edit.module.partition(".")[0] for edit in edits}
        # What gives modules by their names gives the copies of this side.
        self._stand_ins: dict[int, object] = {id(sys.modules): ChainMap(self.modules, sys.modules)}
        self._importlib = ModuleType("importlib")
        vars(self._importlib).update(vars(importlib), import_module=self._import_module)
        for edit in edits:
            if edit.whole is None:  # a new module needs all that its star imports give
                self._wanted[edit.module] = {name.qualname for name in edit.names}
        self._copy_all(edit.module for edit in edits if edit.module in modules)

    def _copy_all(self, names: Iterable[str]) -> None:
        for name in names:
            self._copy(name)
            parent = name.rpartition(".")[0]
            while parent in self._live:  # so that `package.module.NAME` leads to the copy
                self._copy(parent)
                parent = parent.rpartition(".")[0]
        self._lead_to_copies()

    def _copy(self, name: str) -> None:
        live = self._live[name]
        if name in self.modules or not is_module(live):
            return
        copy = ModuleType(name)
        vars(copy).update(namespace_of(live))
        vars(copy)["__builtins__"] = self._builtins
        for bound, value in list(vars(copy).items()):
            if value is importlib or value is importlib.import_module:
                vars(copy)[bound] = self._importlib if value is importlib else self._import_module
        self.modules[name] = copy
        breathe()

    def _lead_to_copies(self) -> None:
        copies = {id(self._live[name]): copy for name, copy in self.modules.items() if name in self._live}
        for copy in self.modules.values():
            namespace = vars(copy)
            for name, value in list(namespace.items()):
                if type(value) is ModuleType and id(value) in copies:
                    namespace[name] = copies[id(value)]
            breathe()

    def add_module(self, name: str, module: ModuleType) -> None:
        """Let `module`, which the process does not have, be found under `name` by imports of this side."""
        vars(module)["__builtins__"] = self._builtins
        self.modules[name] = module
        parent, _, last = name.rpartition(".")
        if parent in self.modules:
            vars(self.modules[parent])[last] = module

    def namespace(self, module: str) -> dict[str, Any]:
        """The namespace of this side of a module."""
        return vars(self.modules[module])

    # Running

    def offer(self, module: str, imports: Iterable[str]) -> None:
        """Bind names that imports give and the module lacks, where that loads nothing: annotations may use them."""
        namespace = self.namespace(module)
        for text in imports:
            for node in syntax_of(text).body:
                origin = self._live.get(node.module or "") if isinstance(node, ast.ImportFrom) else None
                if not isinstance(node, ast.ImportFrom) or node.level or not is_module(origin):
                    continue
                held = namespace_of(origin)
                for alias in node.names:
                    name = alias.asname or alias.name
                    if name not in namespace and alias.name in held:
                        namespace[name] = held[alias.name]

    def run(self, module: str, side: Side, definitions: Iterable[tuple[str, Text]] = ()) -> None:
        """Run the program of one side of a module.  Raises :class:`ScratchError`.

        The `definitions`, each with its qualified name, are made at their places among the statements, because a name
        that a default reads may be bound again below; :meth:`defined` gives them.
        """
        left = sorted(definitions, key=lambda each: each[1].line)
        for statement in side.program:
            while left and left[0][1].line < statement.text.line:
                self._define_here(module, side, *left.pop(0))
            self.execute(module, side, statement)
        for each in left:
            self._define_here(module, side, *each)

    def _define_here(self, module: str, side: Side, qualname: str, text: Text) -> None:
        with contextlib.suppress(ScratchError):  # it is tried again when all names are there
            self._defined[module, text] = self._definition(module, side, qualname, text)

    def defined(self, module: str, side: Side, qualname: str, text: Text) -> object:
        """What a definition gives, undecorated and without binding its name.  Raises :class:`ScratchError`."""
        known = self._defined.get((module, text))
        return self._definition(module, side, qualname, text) if known is None else known

    def _definition(self, module: str, side: Side, qualname: str, text: Text) -> object:
        target = f"{module}:{qualname}"
        node = next(
            (n for n in ast.walk(parsed(text, target)) if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))), None
        )
        if node is None:
            raise ScratchError(
                target,
                Refusal("not-a-function", "a text without a definition", "a def statement", "build the patch anew"),
            )
        node.decorator_list = []
        scope, _, name = qualname.rpartition(".")
        return self.define(module, scope, side, [node], name, target)

    def execute(self, module: str, side: Side, statement: Statement) -> None:
        """Run one statement of a module, or of the body of a class that it has.  Raises :class:`ScratchError`."""
        target = f"{module}:{statement.scope}" if statement.scope else module
        tree = parsed(statement.text, target)
        self._run(module, statement.scope, tree.body, side, target)
        if not statement.scope and module in self._live:
            self._bind_everywhere(module, tree.body)

    def _bind_everywhere(self, module: str, body: list[ast.stmt]) -> None:
        """Let names that stand for what the statements have defined anew, in whatever module, stand for that."""
        names = [n.name for one in body for n in ast.walk(one) if isinstance(n, _DEFINITIONS)]
        held = namespace_of(self._live[module])
        for name in names:
            old, new = held.get(name, ABSENT), self.namespace(module).get(name, ABSENT)
            if old is new or ABSENT in (old, new) or not callable(old):
                continue
            places = self._places_of(old)
            missing = [each for each, _ in places if each not in self.modules]
            if missing:
                self._copy_all(missing)
            for each, other in places:
                if self.namespace(each).get(other) is old:
                    self.namespace(each)[other] = new

    def _places_of(self, value: object) -> list[tuple[str, str]]:
        if not self._bound:
            for name, live in list(self._live.items()):
                if name.partition(".")[0] not in self._tops or not is_module(live):
                    continue
                for other, held in list(namespace_of(live).items()):
                    if callable(held):
                        self._bound.setdefault(id(held), []).append((name, other))
                breathe()
        return self._bound.get(id(value), [])

    def evaluate(self, module: str, side: Side, expression: str, target: str) -> object:
        """The value of an expression among the names of this side of a module.  Raises :class:`ScratchError`."""
        tree = parsed(Text(source=f"__livepatch_value__ = (\n{expression}\n)", line=1), target)
        self._run(module, "", tree.body, side, target)
        value: object = self.namespace(module).pop("__livepatch_value__")
        return value

    def define(self, module: str, scope: str, side: Side, body: list[ast.stmt], name: str, target: str) -> object:
        """What a definition gives, without binding its name for others.  Raises :class:`ScratchError`."""
        around = self.class_names(module, scope, target) if scope else None
        namespace = self.namespace(module) if around is None else around.names
        attribute = mangled_in(name, scope)
        before = namespace.get(attribute, ABSENT)
        below = {} if around is None else around.bound_below(attribute)
        try:
            for each in below:
                del namespace[each]
            self._run(module, scope, body, side, target)
            return namespace[attribute]
        finally:
            namespace.update(below)
            if before is ABSENT:
                namespace.pop(attribute, None)
            else:
                namespace[attribute] = before

    def member(self, module: str, scope: str, name: str) -> object:
        """What the statements run for the body of a class left under a name; ``ABSENT`` if none was run."""
        known = self._classes.get((module, scope))
        return ABSENT if known is None else known.names.get(mangled_in(name, scope), ABSENT)

    def class_names(self, module: str, scope: str, target: str) -> BodyNames:
        """The namespace of a class body, which begins as what the live class holds."""
        known = self._classes.get((module, scope))
        if known is None:
            value: object = self.modules[module]
            for segment in scope.split("."):
                namespace = namespace_of(value) if is_module(value) or is_class(value) else {}
                value = namespace.get(mangled_in(segment, value.__name__ if is_class(value) else ""), None)
            if not is_class(value):
                raise ScratchError(
                    target,
                    Refusal(
                        "no-such-name",
                        f"{module} has no class {scope}",
                        "the class whose body the patch changes",
                        "use the patch that was made for the code in this process",
                    ),
                )
            known = self._classes[module, scope] = BodyNames(value, dict(namespace_of(value)))
        return known

    def _names_of(self, kind: type) -> BodyNames | None:
        """The names of this side of a live class of a module that the patch changes."""
        module, scope = str(kind.__module__), kind.__qualname__
        if module not in self.modules or "<locals>" in scope or any(kind is made for made in self.classes):
            return None
        with contextlib.suppress(ScratchError):
            known = self.class_names(module, scope, module)
            return known if known.live is kind else None
        return None

    def _run(self, module: str, scope: str, body: list[ast.stmt], side: Side, target: str) -> None:
        filename = statement_filename(self._patch_id, module)
        members = Members(self.namespace(module), self._classes.values(), self._stand_ins, self._names_of)
        if module in self._wanted and not scope:
            body = [Stars(self.namespace(module), self.modules, self._wanted[module]).visit(each) for each in body]
        body = [members.visit(statement) for statement in body]
        self.namespace(module).update(members.values)
        try:
            if not scope:
                code = _compiled(body, filename, side)
                breathe()
                with self._loaded.watching():
                    exec(code, self.namespace(module))
            else:
                cls = self.class_names(module, scope, target)
                code = _class_body(scope, body, filename, side)
                breathe()
                cls.names.pop("__classcell__", None)
                known = dict(cls.names)
                with self._loaded.watching():
                    exec(code, self.namespace(module), cls.names)
                for name, value in cls.names.items():
                    if value is not known.get(name) and type(value) is functools.cached_property:
                        value.__set_name__(cls.live, name)  # as the class statement would
                cell = cls.names.pop("__classcell__", None)
                if cell is not None:
                    cell.cell_contents = cls.live
        except (ScratchError, KeyboardInterrupt):
            raise
        except BaseException as error:  # SystemExit and the like are the statements' own affair
            raise ScratchError(target, _failed(error, body)) from error
        finally:
            for name in members.values:
                self.namespace(module).pop(name, None)
        breathe()

    def _build_class(self, *parts: Any, **keywords: Any) -> Any:
        """What ``class`` statements call."""
        made = builtins.__build_class__(*parts, **keywords)
        if is_class(made):
            self.classes.append(made)
        return made

    def _setattr(self, owner: Any, name: str, value: Any) -> None:
        """What ``setattr`` stands for: an attribute of a live class is one of this side of it."""
        known = self._names_of(owner) if is_class(owner) else None
        if known is None or not isinstance(name, str):
            setattr(owner, name, value)
            return
        known.names[name] = value
        self.told.setdefault((str(owner.__module__), owner.__qualname__), {})[name] = None

    def _import_module(self, name: str, package: str | None = None) -> object:
        """What ``importlib.import_module`` stands for."""
        found = self.modules.get(importlib.util.resolve_name(name, package) if name.startswith(".") else name)
        return importlib.import_module(name, package) if found is None else found

    def _import(
        self,
        name: str,
        globals: Mapping[str, object] | None = None,  # noqa: A002  # the interpreter passes them by these names
        locals: Mapping[str, object] | None = None,  # noqa: A002
        fromlist: tuple[str, ...] | None = (),
        level: int = 0,
    ) -> object:
        """What ``import`` statements call: copies in the place of the modules that the patch changes."""
        absolute = full_name(name, globals or {}, level)
        if absolute not in self.modules:
            found = builtins.__import__(name, globals, locals, fromlist, level)
            found = self._importlib if found is importlib else found
        else:
            found = self.modules[absolute]
        wanted = self.modules.get(absolute, found) if fromlist else self.modules.get(absolute.partition(".")[0], found)
        if fromlist and wanted is not found and is_module(wanted):
            return wanted
        for item in fromlist or ():
            # `from package import module` where the module is no attribute yet
            full = f"{absolute}.{item}"
            if full in self.modules and is_module(wanted) and absolute in self.modules:
                vars(wanted).setdefault(item, self.modules[full])
        return wanted


def _open(file: Any, mode: Any = "r", *rest: Any, **more: Any) -> Any:
    """``open``, for reading: another mode would be felt outside."""
    if not isinstance(mode, str) or set(mode) - set("rbtU"):
        raise PermissionError(f"a statement of the patch opens {spelled(file)} with mode {spelled(mode)}")
    return builtins.open(file, mode, *rest, **more)  # noqa: PTH123  # it stands for the very same


def parsed(text: Text, target: str) -> ast.Module:
    """The statements of a text, at their lines in the file.  Raises :class:`ScratchError`."""
    # Blank lines in front are read faster than something is added to the line of every node.
    blank = min(text.line - 1, MOST_BLANK)
    with _refused(target):
        tree = tree_of("\n" * blank + text.source)
    if text.line - 1 > blank:
        ast.increment_lineno(tree, text.line - 1 - blank)
    return tree


def looked_at(text: Text, target: str) -> ast.Module:
    """The statements of a text, to be looked at only, with the lines of the text.  Raises :class:`ScratchError`."""
    with _refused(target):
        return syntax_of(text.source)


@contextmanager
def _refused(target: str) -> Iterator[None]:
    try:
        yield
    except (SyntaxError, ValueError) as error:
        raise ScratchError(
            target,
            Refusal(
                "does-not-compile",
                f"{error}",
                f"source for Python {sys.version_info.major}.{sys.version_info.minor}",
                "use a patch whose source this Python can compile",
            ),
        ) from error


def _compiled(body: list[ast.stmt], filename: str, side: Side) -> CodeType:
    """The code of statements as their module would have it: what it imports has an influence on its functions' code."""
    flags, names = preamble(side.futures, side.imports)
    if names:
        # It is never run; the compiler's table of names knows it all the same.
        imports: ast.stmt = ast.If(ast.Constant(False), [ast.Import(list(names))], [])
        body = [ast.fix_missing_locations(ast.copy_location(imports, body[0])), *body]
    return compiled(ast.Module(body, type_ignores=[]), filename, flags=flags)


def _class_body(scope: str, body: list[ast.stmt], filename: str, side: Side) -> CodeType:
    """The code of a class body that holds just these statements, compiled in its chain of classes."""
    tree: list[ast.stmt] = body
    for segment in reversed(scope.split(".")):
        shell = ast.ClassDef(name=segment, bases=[], keywords=[], body=tree, decorator_list=[])
        if sys.version_info >= (3, 12):
            shell.type_params = []
        ast.fix_missing_locations(ast.copy_location(shell, tree[0]))
        tree = [shell]
    code = _compiled(tree, filename, side)
    for segment in scope.split("."):
        code = next(c for c in code.co_consts if isinstance(c, CodeType) and c.co_name == segment)
    return code


def told(error: BaseException) -> str:
    """The text of an exception, which may be of any kind."""
    try:
        return str(error)[:200]
    except Exception:  # noqa: BLE001  # it is somebody's code
        return "which cannot be shown"


def _failed(error: BaseException, body: list[ast.stmt]) -> Refusal:
    line = getattr(body[0], "lineno", 0)
    traceback = error.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename.startswith("<livepatch "):
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return Refusal(
        "statement-failed",
        f"{type(error).__name__} at line {line}: {told(error)}",
        "statements of the module's source that can be run apart from the rest of it",
        f"{_remedy(error)}build with only= and without it, or restart with the fixed package",
    )


def _remedy(error: BaseException) -> str:
    """What lets a statement find a module that it lacks, as the beginning of what to do."""
    if type(error) is ModuleNotFoundError and error.name:
        return f"install in the process's environment what has {spelled(error.name)}; or "
    if type(error) is ImportError and error.name:
        return f"let the process import {spelled(error.name)} first, and apply the patch then; or "
    if type(error) is AttributeError and is_module(error.obj) and isinstance(error.name, str):
        full = f"{error.obj.__name__}.{error.name}"
        with contextlib.suppress(ImportError, ValueError, AttributeError):
            if full not in sys.modules and importlib.util.find_spec(full) is not None:
                return f"let the process import {spelled(full)} first, and apply the patch then; or "
    return ""
