"""Every target of a patch found, its new side made, every slot named.  Writes nothing."""

from __future__ import annotations

import typing
from dataclasses import replace
from types import FunctionType, ModuleType
from typing import Any, cast

from livepatch.contents.changes import Addition, Change, Replacement, Target
from livepatch.engine import sides
from livepatch.engine.abstract import ANSWERS, abstract_methods, changes_answers
from livepatch.engine.attributes import assign, follow_aliases, values_followed, wrap
from livepatch.engine.caches import Cache, caches_of
from livepatch.engine.closures import follow
from livepatch.engine.code import fingerprint
from livepatch.engine.disk import Disk
from livepatch.engine.expand import NewAttribute, NewBody, NewShadow, Step, ValueFor, expand
from livepatch.engine.facts import Survey
from livepatch.engine.functions import code_of
from livepatch.engine.heap import PauseTooLongError, functions_of, permit
from livepatch.engine.locate import Found, find, is_definition, resolve
from livepatch.engine.names import resolve_names
from livepatch.engine.namespaces import is_a, is_function, namespace_of, owner_name
from livepatch.engine.nested import nest
from livepatch.engine.pace import breathe, paced
from livepatch.engine.places import slot_of, value_of
from livepatch.engine.refusal import Place, Refusal, several
from livepatch.engine.relatives import Relatives
from livepatch.engine.shadow_attributes import attached_by_name, declared, names_attached, what_is_attached
from livepatch.engine.source import Definition, SourceFiles, patch_filename
from livepatch.engine.sourced import OWN_CODE
from livepatch.engine.stack import ABSENT, Stack, Write
from livepatch.engine.sweep import Swept, sweep
from livepatch.engine.syntax import forget_syntax
from livepatch.engine.two_sides import facts_of
from livepatch.engine.wrapping import unwritable
from livepatch.errors import spelled

__all__ = ["Surveyor", "too_long"]


def _not_walked(why: list[str]) -> Refusal:
    return Refusal(
        "heap-not-walked",
        f"that something besides modules and classes holds {'; and '.join(why)}",
        "every copy of a function, such as a reload leaves behind, to be held by a module or class",
        "nothing, unless functions of this package were copied or reloaded",
    )


def too_long(error: PauseTooLongError) -> Refusal:
    """The refusal for a search that was not made."""
    return Refusal(
        "pause-too-long",
        f"a walk through the whole heap is needed, which would stop other threads for about {error.estimate:.3f} s",
        f"at most max_pause={error.most:g} s",
        "pass a larger max_pause, or apply when a pause does no harm",
    )


_COPY_ELSEWHERE = Refusal(
    "copy-elsewhere",
    "a copy of the function whose globals are no module's, and new code that needs names brought along",
    "globals into which those names can be carried",
    "have the new code import what it needs itself",
)


def _abstract_already(patch_id: str) -> Refusal:
    return Refusal(
        "abstract-methods-shared",
        f"patch {patch_id} changes which methods of the class are abstract, too",
        "two patches that can be taken out in any order",
        f"revert {patch_id} first",
    )


class Surveyor:
    """Surveys the changes of one patch.  Those that are found in another way join in by :meth:`before_the_sweep`."""

    def __init__(
        self,
        patch_id: str,
        changes: tuple[Change, ...],
        stack: Stack,
        under: Stack,
        modules: dict[str, ModuleType],
        max_pause: float | None,
    ) -> None:
        self.patch_id, self.stack, self.under, self.modules = patch_id, stack, under, modules
        self.changes, self.max_pause = changes, max_pause
        self.out = Survey()
        self.files = SourceFiles()
        self.disk = Disk()
        self.relatives = Relatives()
        self.replaced: dict[int, Target] = {}
        self.added: dict[str, dict[str, object]] = {}
        self.bodies: list[tuple[NewBody, Found]] = []
        self.assignments: list[tuple[ValueFor, Place]] = []

    def run(self, callers: bool) -> Survey:
        """Find everything first: what one change does may depend on what another brings."""
        try:
            self._run(callers)
        except PauseTooLongError as error:
            self.out.note("", too_long(error))
        finally:
            forget_syntax()
        return self.out

    def _run(self, callers: bool) -> None:
        for change in self.changes:
            if isinstance(change, Replacement):
                self.replaced[id(change.source)] = change.target
            elif isinstance(change, Addition) and not change.owner.qualname:
                self.added.setdefault(change.owner.module, {}).update(change.names)
        for step in paced(expand(self.changes, self.modules, self._lacks)):
            self._take(step)
        self.before_the_sweep()
        swept = self._sweep(callers)
        while self.bodies:
            self._body(*self.bodies.pop(0), swept)  # nobody holds on to what was found: holders are counted next
        breathe()
        self._closures()
        breathe()
        for assignment, place in self.assignments:
            follow_aliases(assignment, place, self.stack, swept, self.out)
        self._abstract()
        breathe()
        if changes_answers(self.out.values, self.out.originals):
            self.out.caches.append(Cache("abc.ABCMeta", ANSWERS))
        self.in_the_end()
        breathe()
        for label, refusal in what_is_attached(self.out.shadows.declared, count=callers):
            self.out.note(label, refusal)
        if any(cache.owner is not None for cache in self.out.caches):
            permit()  # for the walk that finds the objects whose answers are dropped with the switch

    def _abstract(self) -> None:
        for kind, methods in list(abstract_methods(self.out.values, self.modules)):
            label = f"{owner_name(kind)}.__abstractmethods__"
            slot = slot_of(kind, "__abstractmethods__")
            if isinstance(methods, Refusal):
                self.out.note(label, methods)
            elif slot in self.under.originals:
                self.out.note(label, _abstract_already(str(self.under.decider(slot) or "another")))
            else:
                self.out.put(kind, "__abstractmethods__", methods, label)

    def before_the_sweep(self) -> None:
        """Bring in what is found in another way: nothing."""

    def in_the_end(self) -> None:
        """Look at all that was found: nothing more."""

    def _take(self, step: Step | tuple[Target, Refusal]) -> None:
        if isinstance(step, tuple):
            self.out.note(*step)
        elif isinstance(step, NewBody):
            try:
                self._find(step)
            except PauseTooLongError as error:
                self.out.note(step.target, too_long(error))
        elif isinstance(step, NewAttribute):
            self.new_attribute(step)
        elif isinstance(step, NewShadow):
            self.new_shadow(step)
        elif isinstance(step, ValueFor):
            place = assign(step, self.modules, self.out)
            if place is not None:
                self.assignments.append((step, place))
        else:
            wrap(step, self.modules, self.out)

    def _closures(self) -> None:
        """Name the live closures that cannot follow their maker."""
        out = self.out
        writes = [
            Write(slot, out.originals[slot], value)
            for slot, value in out.values.items()
            if slot.name == "__code__" and out.originals[slot] is not value
        ]
        known = {slot.owner_id for slot in out.values if slot.name == "__code__"}
        for refusal in follow(writes, self.stack, known=known).left:
            out.note("", self.left_behind(refusal))

    def left_behind(self, refusal: Refusal) -> Refusal:
        """How closures are told that cannot follow."""
        return refusal

    # Finding

    def _find(self, body: NewBody) -> None:
        if body.target.module.partition(".")[0] == "livepatch":
            self.out.note(body.target, OWN_CODE)
            return
        found = find(body.target, self.modules, lambda f: not body.expect or fingerprint(f) in body.expect)
        if isinstance(found, Refusal):
            self.out.note(body.target, found)
            return
        found = self._the_one_that_is_meant(body, found)
        if isinstance(found, Refusal):
            self.out.note(body.target, found)
            return
        self.bodies.append((body, found))

    def _the_one_that_is_meant(self, body: NewBody, found: Found) -> Found | Refusal:
        """Where the source defines several functions of that name, all still in use, the name alone is a guess."""
        if found.function is None or is_a(found.place.value, property):
            return found
        if not self.disk.gives_several(found.place.module, code_of(found.function)):
            return found
        name = found.function.__code__.co_qualname
        stubs = [stub.__code__ for stub in typing.get_overloads(found.function) if is_function(stub)]
        live = [
            function
            for function in functions_of(found.place.module)
            if is_definition(function, name, found.place.module.__name__) and code_of(function) not in stubs
        ]
        picked = [function for function in live if fingerprint(function) in body.expect] or live
        distinct = {code_of(function): function for function in picked}
        if len(distinct) > 1:
            return several(body.target, distinct.values())
        return replace(found, function=picked[0]) if picked and code_of(picked[0]) is not found.code else found

    def _sweep(self, callers: bool) -> Swept:
        functions = [found.function for _, found in self.bodies if found.function is not None]
        values: list[object] = []
        for _, place in self.assignments:
            values += values_followed(place, self.stack)
        held: dict[int, int] = {}
        for value in (
            *self.stack.originals.values(),
            *(v for layer in self.stack.layers for v in layer.values.values()),
        ):
            held[id(value)] = held.get(id(value), 0) + 1
        # Every class has an __init__: who names one says nothing of whose it is.
        named = [found.place for _, found in self.bodies if not found.place.name.startswith("__")]
        callees = {place.name: place.value for place in named} if callers else {}
        swept = sweep(self.modules, functions, values, callees=callees, held=held, max_pause=self.max_pause)
        if swept.too_long is not None:
            self.out.note("", too_long(swept.too_long))
        elif functions and not swept.thorough:
            self.out.note("", _not_walked(swept.unsearched))
        for _, found in self.bodies:
            self.out.calls += [(found.place.target, site) for site in swept.calls.get(found.place.name, ())]
        return swept

    # Functions

    def _body(self, body: NewBody, found: Found, swept: Swept) -> None:
        out, target = self.out, body.target
        before = len(out.observations)
        new = self._compile(body, found)
        if isinstance(new, Refusal):
            out.note(target, new)
            return
        breathe()
        names = names_attached(new.text)
        if names:
            out.note(target, attached_by_name(names))
        self._carry(target, new, found.place.module, found.function)
        self._carry_to_copies(target, new, found, swept)
        if found.function is None:
            nest(self, body, found, new)
            functions = []
        else:
            functions = swept.copies.get(id(code_of(found.function)), [found.function])
            for function in paced(functions):
                values = sides.side_of(function, new, found.owner_class, found.function)
                if isinstance(values, Refusal):
                    out.note(target, values)
                    break
                for name, value in values.items():
                    out.put(function, name, value, f"{target}.{name}")
            old_return, new_return = sides.returns_of(found.function), sides.returns_of(new.written)
            if old_return and new_return and old_return != new_return:
                out.note(target, sides.other_return(old_return, new_return))
        if len(out.observations) > before and found.function is None:
            return
        breathe()
        caches = caches_of(found)
        out.caches += caches
        out.facts.append(facts_of(self, body, found, new, functions, swept, caches))

    def _compile(self, body: NewBody, found: Found) -> sides.NewSide | Refusal:
        if body.side is not None:
            return body.side
        qualname = found.code.co_qualname
        filename = patch_filename(self.patch_id, body.target)
        definition = self.files.definition(body.written)
        enclosing = {}
        outer = found.outer
        while outer is not None:
            enclosing[outer.code.co_qualname] = (
                *outer.code.co_varnames,
                *outer.code.co_cellvars,
                *outer.code.co_freevars,
            )
            outer = outer.outer
        owner = found.owner_class
        new = sides.compile_new_side(
            body.written,
            definition,
            qualname,
            filename,
            found.code,
            class_name=owner.__name__ if owner else None,
            enclosing=enclosing,
        )
        self._show(filename, new, definition)
        return new

    def _show(self, filename: str, new: object, definition: Definition | None) -> None:
        if isinstance(new, sides.NewSide) and definition is not None:
            self.out.sources[filename] = definition.text

    def _carry(self, target: Target, new: sides.NewSide, module: ModuleType, old: FunctionType | None) -> None:
        names = resolve_names(
            new,
            module,
            old,
            self.replaced,
            lambda name: self._lacks(module, name),
            self.added.get(module.__name__, {}),
            self._live_object,
        )
        for refusal in names.refusals:
            self.out.note(target, refusal)
        for name, value in names.carried.items():
            if not self._brought_already(module, name, value, target, "ambiguous-name"):
                self.out.put(module, name, value, f"{module.__name__}:{name}")

    def _carry_to_copies(self, target: Target, new: sides.NewSide, found: Found, swept: Swept) -> None:
        """A copy may live in another module, such as ``__main__``, and looks its names up there."""
        if found.function is None:
            return
        homes = {id(f.__globals__): f for f in swept.copies.get(id(code_of(found.function)), ())}
        for copy in homes.values():
            module = self.modules.get(str(copy.__globals__.get("__name__")))
            if copy.__globals__ is found.function.__globals__:
                continue
            if module is not None and namespace_of(module) is copy.__globals__:
                self._carry(target, new, module, copy)
            else:
                names = resolve_names(new, found.place.module, copy, {}, lambda _: True, {}, self._live_object)
                if names.carried:
                    self.out.note(target, _COPY_ELSEWHERE)

    def _brought_already(self, owner: object, name: str, value: object, target: object, code: str) -> bool:
        """Whether another patch brings another object under that name; then neither could be taken out alone."""
        slot = slot_of(owner, name)
        for layer in self.under.layers:
            if slot in layer.values and not sides.alike(layer.values[slot], value):
                self.out.note(
                    target,
                    Refusal(
                        code,
                        f"patch {layer.patch_id} has brought another object as {name}",
                        "a name that does not exist yet",
                        f"give it another name, or name {layer.patch_id} in replaces=",
                    ),
                )
                return True
        return False

    def _lacks(self, owner: object, name: str) -> bool:
        """Whether the program itself, without what patches brought, lacks a name."""
        slot = slot_of(owner, name)
        return self.stack.originals.get(slot, value_of(slot)) is ABSENT

    def _live_object(self, target: Target) -> object | None:
        place = resolve(target, self.modules)
        return place.value if isinstance(place, Place) and place.owner is not None else None

    # Attributes

    def new_attribute(self, step: NewAttribute) -> None:
        """Let the layer hold a name that its owner lacks, or note why it cannot."""
        refusal = unwritable(step.owner, step.name)
        if refusal is None and not self._lacks(step.owner, step.name):
            refusal = Refusal(
                "exists-already",
                f"{step.target} is there: {spelled(namespace_of(step.owner).get(step.name))}",
                "a name that does not exist yet",
                "use set() for a value, replace() for a function",
            )
        if refusal is not None:
            self.out.note(step.target, refusal)
            return
        value = step.value
        if step.as_method:
            made = self._method(step, value)
            if isinstance(made, Refusal):
                self.out.note(step.target, made)
                return
            value = made
        if not self._brought_already(step.owner, step.name, value, step.target, "exists-already"):
            slot = slot_of(step.owner, step.name, str(step.target))
            self.out.put_in(replace(slot, kept=True) if step.rebinds else slot, value)

    def new_shadow(self, step: NewShadow) -> None:
        """Let objects of a class have an attribute that they lack, or note why they cannot."""
        variable, value = declared(step, self.stack)
        before = len(self.out.observations)
        self.new_attribute(NewAttribute(step.target, step.owner, step.name, value))
        if len(self.out.observations) > before:
            return
        self.out.shadows.declared.append(variable)
        if not step.fixed:
            self.out.outliving.changing.append(str(step.target))

    def _method(self, step: NewAttribute, value: object) -> object | Refusal:
        """A member of a class body as the target class's own source would have made it."""
        if is_a(value, staticmethod) or is_a(value, classmethod):
            inner = self._method(step, value.__func__)
            return inner if isinstance(inner, Refusal) else type(value)(inner)  # type: ignore[arg-type]  # a function
        if is_a(value, property):
            made = [self._method(step, f) if f is not None else None for f in (value.fget, value.fset, value.fdel)]
            for accessor in made:
                if isinstance(accessor, Refusal):
                    return accessor
            return property(*cast("tuple[Any, Any, Any]", tuple(made)), value.__doc__)
        if type(value) is not FunctionType:
            return value
        assert isinstance(step.owner, type)
        module = self.modules[step.target.module]
        qualname = f"{step.owner.__qualname__}.{value.__name__}"
        filename = patch_filename(self.patch_id, step.target)
        definition = self.files.definition(value)
        new = sides.compile_new_side(value, definition, qualname, filename, None, class_name=step.owner.__name__)
        if isinstance(new, Refusal):
            return new
        self._show(filename, new, definition)
        self._carry(step.target, new, module, None)
        return sides.new_function(new, vars(module), module.__name__, step.owner)
