"""A patch built from two source trees, as steps for this process.  Nothing live is written to.

First every function that the patch has a before side of must run exactly that side.  Then the programs of both sides
are run apart from the live modules, and the values that they give are compared with those of the process.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from importlib.machinery import ModuleSpec
from types import CodeType, FunctionType, ModuleType

from livepatch.contents.changes import Target
from livepatch.contents.edits import FunctionEdit, ModuleEdit, NameEdit, Obstacle, Side, Statement, Text
from livepatch.engine.computed import Computed, Sourced
from livepatch.engine.conditional import never_defined, nothing_defines, unmade_classes, without_classes
from livepatch.engine.declared import declared_otherwise, other_bases
from livepatch.engine.default_values import value_of
from livepatch.engine.effects import Entered, Registries
from livepatch.engine.functions import Held
from livepatch.engine.loaded import Loaded
from livepatch.engine.locate import Found, definitions_of, find, is_definition
from livepatch.engine.matching import Context, defaults_match, matches
from livepatch.engine.namespaces import is_class
from livepatch.engine.ondisk import defaults_on_disk, disk_says
from livepatch.engine.outline import Outline
from livepatch.engine.pace import paced
from livepatch.engine.reconcile import ModuleSides, Sides
from livepatch.engine.refusal import Place, Refusal
from livepatch.engine.scratch import Scratch, ScratchError
from livepatch.engine.syntax import syntax_of

__all__ = ["NO_HARM", "Sourced", "survey_edits"]


def survey_edits(
    patch_id: str,
    edits: Iterable[ModuleEdit],
    obstacles: Iterable[Obstacle],
    modules: dict[str, ModuleType],
    beneath: Callable[[FunctionType], Held],
    *,
    statements: bool = True,
    loaded: Loaded | None = None,
) -> Sourced:
    """Prove the before side of all edits, compute the after side, and say what is to be written.

    `beneath` gives the code and defaults over which the patch is to lie: those of a function without the patches that
    this one replaces.  Without `statements` the after side is not computed; `loaded` is told what
    modules statements load.
    """
    return _Edits(patch_id, tuple(edits), tuple(obstacles), modules, beneath, loaded or Loaded()).run(
        statements=statements
    )


OWN_CODE = Refusal(
    "own-code",
    "a function of livepatch itself",
    "the code of another package",
    "update livepatch; it cannot switch the code that switches",
)
NO_HARM = frozenset(
    {
        "not-in-process",
        "default-differs",
        "decorators-differ",
        "bases-differ",
        "return-annotation",
        "modules-loaded",
        "answers-kept",
    }
)
"""Codes of notes that do not keep a patch from going in."""


class _Edits:
    def __init__(
        self,
        patch_id: str,
        edits: tuple[ModuleEdit, ...],
        obstacles: tuple[Obstacle, ...],
        modules: dict[str, ModuleType],
        beneath: Callable[[FunctionType], Held],
        loaded: Loaded,
    ) -> None:
        self.patch_id, self.modules, self.obstacles, self.beneath = patch_id, modules, obstacles, beneath
        self.loaded = loaded
        self.out = Sourced()
        self.edits = self._that_matter([edit for edit in edits if self._is_here(edit)])
        self.found: dict[str, list[tuple[FunctionEdit, Found]]] = {}
        self.outlines: dict[str, Outline | None] = {}
        self.compared: set[int] = set()
        """The ids of the classes whose bases were compared."""

    def run(self, *, statements: bool) -> Sourced:
        for obstacle in self.obstacles:
            if obstacle.target.partition(":")[0] in self.modules:
                self.out.note(
                    obstacle.target, Refusal(obstacle.code, obstacle.found, obstacle.expected, obstacle.action)
                )
            else:
                self._not_here(obstacle.target.partition(":")[0])
        self.edits = [self._made_here(edit) for edit in self.edits]
        for edit in self.edits:
            self._match(edit)
        if not statements or any(refusal.code not in NO_HARM for _, refusal in self.out.notes):
            return self.out  # statements are run only where all functions are those that they were written for
        try:
            self._compute()
        except ScratchError as error:
            self.out.note(error.target, error.refusal)
        if self.loaded.names:
            self.out.note("", _loads(sorted(self.loaded.names)))
        return self.out

    def _made_here(self, edit: ModuleEdit) -> ModuleEdit:
        """Without what an edit changes in classes that the process has never made."""
        unmade = unmade_classes(edit, self.modules[edit.module]) if edit.whole is None else set()
        for scope in sorted(unmade):
            self.out.note(Target(edit.module, scope), nothing_defines(Target(edit.module, scope)))
        return without_classes(edit, unmade) if unmade else edit

    def _is_here(self, edit: ModuleEdit) -> bool:
        if edit.module.partition(".")[0] == "livepatch":
            self.out.note(edit.module, OWN_CODE)
            return False
        if edit.whole is not None:
            return edit.module not in self.modules
        if edit.module in self.modules:
            return True
        self._not_here(edit.module)
        return False

    def _not_here(self, module: str) -> None:
        """Note that nothing of a module runs, but once."""
        refusal = Refusal(
            "not-in-process",
            f"{module} is not imported, so nothing of it runs",
            "the module that the patch changes",
            "nothing now; if the process imports it later, apply the patch anew, with its own id in replaces=",
        )
        if (module, refusal) not in self.out.notes:
            self.out.note(module, refusal)

    def _that_matter(self, edits: list[ModuleEdit]) -> list[ModuleEdit]:
        """Without new modules that nothing in this process would import."""
        brought = {edit.module: edit for edit in edits if edit.whole is not None}
        needed: set[str] = set()
        left = [edit for edit in edits if edit.whole is None]
        while left:
            edit = left.pop()
            for name in imported_by(edit):
                if name in brought and name not in needed:
                    needed.add(name)
                    left.append(brought[name])
        return [edit for edit in edits if edit.whole is None or edit.module in needed]

    # The before side

    def _match(self, edit: ModuleEdit) -> None:
        if edit.whole is not None:
            return
        context = Context(edit.before.futures, edit.before.imports, edit.path)
        variants: dict[tuple[str, str], list[FunctionEdit]] = {}
        for change in edit.functions:
            if change.before is not None:
                variants.setdefault((change.qualname, change.accessor), []).append(change)
        for group in paced(variants.values()):
            self._match_one(edit, context, group)

    def _match_one(self, edit: ModuleEdit, context: Context, group: list[FunctionEdit]) -> None:
        first = group[0]
        path = f"{first.qualname}.{first.accessor}" if first.accessor else first.qualname
        target = Target(edit.module, path)
        texts = [change.before for change in group if change.before is not None]

        compared: dict[tuple[int, Text], tuple[CodeType, bool]] = {}

        def runs(code: CodeType, text: Text) -> bool:
            key = (id(code), text)
            if key not in compared:
                compared[key] = code, matches(code, context, first.qualname, text) is None
            return compared[key][1]

        def holds(held: Held, text: Text) -> bool:
            return runs(held.code, text) and defaults_match(held, text).mismatch is None

        found = find(target, self.modules, lambda function: any(holds(self.beneath(function), text) for text in texts))
        module = self.modules[edit.module]
        is_other = isinstance(found, Refusal) or (
            found.function is not None and not is_definition(found.function, first.qualname, edit.module)
        )
        if is_other and never_defined(module, first.qualname):
            self.out.note(target, nothing_defines(target))
            return
        if isinstance(found, Refusal):
            self.out.note(target, found)
            return
        live = self.beneath(found.function) if found.function is not None else None
        code = found.code if live is None else live.code
        pairs = list(zip(group, texts, strict=True))
        if first.count > 1 and live is not None and self._match_several(edit, found, pairs, holds):
            return
        proved = [(change, text) for change, text in pairs if runs(code, text)]
        for change, text in proved:
            if live is None or holds(live, text):
                self.found.setdefault(edit.module, []).append((change, found))
                if live is not None:
                    self._doubts(target, found.place, live, text)
                self._declared(edit, change, text, found)
                return
        if live is not None and proved:
            said = defaults_on_disk(module, first.qualname, [text for _, text in proved], live)
        else:
            said = disk_says(module, context, first.qualname, texts, code)
        if first.count > len(texts) and said.is_own:
            return  # one of several definitions of that name that the patch does not change
        self.out.note(target, said.refusal)

    def _match_several(
        self,
        edit: ModuleEdit,
        found: Found,
        pairs: Iterable[tuple[FunctionEdit, Text]],
        holds: Callable[[Held, Text], bool],
    ) -> bool:
        """Whether live functions are those of some texts, where the source defines several under one name.

        The name leads to one of them, `found`; a registry, say, may hold the others.
        """
        place, matched = found.place, False
        every = [(function, self.beneath(function)) for function in definitions_of(place)]
        for change, text in pairs:
            codes = {id(held.code): (function, held) for function, held in every if holds(held, text)}
            picked = [function for function, _ in codes.values()]
            if len(picked) > 1:
                self.out.note(place.target, _alike(len(picked)))
                return True
            for function in picked:
                matched, is_named = True, function is found.function
                one = found if is_named else Found(place, function)  # nothing around it is known
                self.found.setdefault(edit.module, []).append((change, one))
                self._doubts(place.target, place, self.beneath(function), text)
                if is_named:
                    self._declared(edit, change, text, found)
        return matched

    def _doubts(self, target: Target, place: Place, held: Held, text: Text) -> None:
        """Name the defaults that their source would give otherwise now."""
        if "<locals>" in target.qualname:
            return  # its names may be variables of the function around it
        cls = place.owner if is_class(place.owner) else None
        doubts = defaults_match(held, text, lambda expression: value_of(expression, place.module, cls)).differing
        for one in doubts:
            self.out.note(
                target,
                Refusal(
                    "default-differs",
                    f"parameter {one.parameter} has another default than {one.expression} (line {one.line}) gives now",
                    "the value that the patch was made for",
                    f"see whether somebody has bound {one.expression} anew, or the function's defaults",
                ),
            )

    def _declared(self, edit: ModuleEdit, change: FunctionEdit, text: Text, found: Found) -> None:
        """Name what is around the function otherwise than its source declares it."""
        owner = found.owner_class
        name = change.qualname.rpartition(".")[0]
        head = next((each for each in edit.classes if each.qualname == name), None) if owner is not None else None
        for refusal in declared_otherwise(change, text, found, self.outlines):
            self.out.note(found.place.target, refusal)
        if head is not None and owner is not None and id(owner) not in self.compared:
            self.compared.add(id(owner))
            differing = other_bases(head, owner, found.place.module)
            if differing is not None:
                self.out.note(Target(edit.module, name), differing)

    # The after side

    def _run(
        self, edits: list[ModuleEdit], before: Scratch, after: Scratch, registries: Registries | None
    ) -> list[Entered]:
        """Run the statements of both sides; what those of the new one entered anew into dicts of the program."""
        changing = {
            edit.module: [c for c, _ in self.found.get(edit.module, ()) if c.defaults and c.after is not None]
            for edit in edits
        }
        for edit in edits:
            if edit.whole is None:
                before.run(
                    edit.module, edit.before, [(c.qualname, c.before) for c in changing[edit.module] if c.before]
                )
        if registries is not None:
            registries.note_old(map(vars, before.modules.values()), before.classes)
        for edit in edits:
            if edit.whole is None:
                changed = [(c.qualname, c.after) for c in changing[edit.module] if c.after]
                after.offer(edit.module, edit.after.imports)
                after.run(edit.module, _with_new_functions(edit), changed)
            else:
                after.execute(edit.module, edit.after, Statement(text=Text(source=edit.whole, line=1)))
        return registries.entered(map(vars, after.modules.values()), after.classes) if registries is not None else []

    def _compute(self) -> None:
        edits = self.edits
        tops = {edit.module.partition(".")[0] for edit in edits}
        runs = [e for e in edits if e.whole is not None or e.before.program or e.after.program or _needs_scratch(e)]
        registries = Registries(self.modules, tops) if runs else None
        before = Scratch(self.patch_id, runs, self.modules, self.loaded)
        after = Scratch(self.patch_id, runs, self.modules, self.loaded)
        brought = {edit.module: new_module(edit, self.modules) for edit in runs if edit.whole is not None}
        for name, module in brought.items():
            after.add_module(name, new_module_like(module))
        try:
            entered = self._run(runs, before, after, registries)
            edits = [_with_told(edit, (before, after)) for edit in edits]
            live = {**self.modules, **brought}
            was = {**{name: self.modules[name] for name in after.modules if name in self.modules}, **before.modules}
            sides = Sides(
                [
                    ModuleSides(name, vars(live[name]), vars(was.get(name, module)), vars(module))
                    for name, module in after.modules.items()
                ],
                names=[f"{edit.module}:{name.qualname}" for edit in edits for name in edit.names],
                elsewhere=[
                    f"{edit.module}:{f.qualname}" for edit in edits for f in edit.functions if f.before and f.after
                ],
            )
            coming = {f"{e.module}:{f.qualname}" for e in edits for f in e.functions if f.before is None}
            coming |= {f"{e.module}:{name.qualname}" for e in edits for name in e.names if name.kind == "added"}
            made = Computed(self.patch_id, self.modules, (before, after), sides, self.beneath, self.out, coming)
            for name, module in brought.items():
                made.reconciler.bring(after.modules[name], module)
            made.begin(edits)
            for edit in edits:
                if edit.whole is not None:
                    made.module(edit.module, brought[edit.module])
            for edit in edits:
                made.take(edit, self.found.get(edit.module, ()))
            for each in entered:
                made.enter(each)
            made.finish()
        finally:
            for side in (before, after):
                self.loaded.run_in([*side.modules.values(), *side.classes])
            spaces = [vars(module) for side in (before, after) for module in side.modules.values()]
            left = registries.clean(spaces, [*before.classes, *after.classes]) if registries else []
        if left:
            self.out.note(
                ", ".join(sorted(tops)),
                Refusal(
                    "statements-register",
                    f"statements of the patch entered what they made into {', '.join(left[:5])}",
                    "statements whose only effect is the names that they bind",
                    "build with only= and without them, or restart with the fixed package",
                ),
            )


def _loads(names: list[str]) -> Refusal:
    more = f", and {len(names) - 5} more" if len(names) > 5 else ""
    return Refusal(
        "modules-loaded",
        f"statements of the patch load {', '.join(names[:5])}{more}",
        "modules that do nothing but define names when they are imported",
        "nothing; without the patch they are taken out again, but for those that something else holds by then",
    )


def _alike(count: int) -> Refusal:
    return Refusal(
        "definitions-alike",
        f"{count} live functions of this name with the same code",
        "definitions that a process can tell apart by what it runs",
        "build with only= and without it, or restart the process with the new release",
    )


def imported_by(edit: ModuleEdit) -> set[str]:
    """The modules that the after side of an edit may import, at once or when its functions run; and their parents."""
    texts = [each.text.source for each in edit.after.program]
    texts += [change.after.source for change in edit.functions if change.after is not None]
    names: set[str] = set()
    package = edit.module if edit.path.rpartition("/")[2] == "__init__.py" else edit.module.rpartition(".")[0]
    for text in [*texts, edit.whole or ""]:
        if "import" not in text:
            continue
        try:
            tree = syntax_of(text)
        except (SyntaxError, ValueError):
            continue  # it is told when it is to be run
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                names.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
                origin = ".".join([*above, *([node.module] if node.module else [])])
                names.update((origin, *(f"{origin}.{alias.name}" for alias in node.names)))
    for name in list(names):
        parts = name.split(".")
        names.update(".".join(parts[:i]) for i in range(1, len(parts)))
    return names


def new_module(edit: ModuleEdit, modules: Mapping[str, ModuleType]) -> ModuleType:
    """A module object as the import system would make it, but for its names."""
    module = ModuleType(edit.module)
    package = edit.path.endswith("/__init__.py") or edit.path == "__init__.py"
    parent = edit.module.rpartition(".")[0]
    spec = ModuleSpec(edit.module, None, origin=f"<livepatch {edit.module}>", is_package=package)
    module.__spec__ = spec
    module.__file__ = spec.origin
    module.__package__ = edit.module if package else parent
    vars(module)["__builtins__"] = vars(builtins)  # native code that imports something asks its caller for them
    if package:
        above = getattr(modules.get(parent), "__path__", [])
        module.__path__ = [f"{place}/{edit.module.rpartition('.')[2]}" for place in above]
    return module


def new_module_like(module: ModuleType) -> ModuleType:
    """Another module object with the same names."""
    copy = ModuleType(module.__name__)
    vars(copy).update(vars(module))
    return copy


def _with_new_functions(edit: ModuleEdit) -> Side:
    """The after side with its new functions among the statements, each at its place: those after it may need it."""
    known = {(each.scope, each.text) for each in edit.after.program}
    new = [
        Statement(scope=change.qualname.rpartition(".")[0], text=change.after)
        for change in edit.functions
        if change.before is None and change.after is not None
    ]
    program = [*edit.after.program, *(each for each in new if (each.scope, each.text) not in known)]
    return replace(edit.after, program=tuple(sorted(program, key=lambda each: each.text.line)))


def _with_told(edit: ModuleEdit, sides: Iterable[Scratch]) -> ModuleEdit:
    """With the attributes that functions set on its classes, under names that only they know."""
    told = {
        f"{scope}.{name}": None
        for side in sides
        for (module, scope), names in side.told.items()
        for name in names
        if module == edit.module
    }
    known = {name.qualname for name in edit.names} | {change.qualname for change in edit.functions}
    more = [NameEdit(qualname=qualname, kind="derived") for qualname in told if qualname not in known]
    return replace(edit, names=(*edit.names, *more)) if more else edit


def _needs_scratch(edit: ModuleEdit) -> bool:
    return bool(edit.names or edit.attributes or edit.functions or edit.memos or edit.captured)
