"""What a patch would do to this process: every target found, its new side made, every slot named.  Writes nothing.

The survey collects facts and the values for a layer; whether they permit the patch is decided elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from pathlib import Path
from types import BuiltinMethodType, FunctionType, ModuleType

from livepatch.contents.changes import Change
from livepatch.contents.edits import ModuleEdit, Obstacle
from livepatch.engine.caches import Cache, tables
from livepatch.engine.expand import ValueFor
from livepatch.engine.facts import Survey
from livepatch.engine.functions import Held, held_by
from livepatch.engine.heap import PauseTooLongError, bounded
from livepatch.engine.loaded import Loaded
from livepatch.engine.namespaces import is_class, is_function
from livepatch.engine.places import item_of, slot_of
from livepatch.engine.refusal import Refusal
from livepatch.engine.remnants import remnants
from livepatch.engine.scratch import told
from livepatch.engine.sourced import Sourced, survey_edits
from livepatch.engine.stack import ABSENT, SIDE, Slot, Stack, settled
from livepatch.engine.surveyor import Surveyor

__all__ = ["survey"]


def survey(
    patch_id: str,
    changes: tuple[Change, ...],
    stack: Stack,
    modules: dict[str, ModuleType],
    *,
    edits: tuple[ModuleEdit, ...] = (),
    obstacles: tuple[Obstacle, ...] = (),
    statements: bool = True,
    replaced: frozenset[str] = frozenset(),
    callers: bool = False,
    max_pause: float | None = None,
    loaded: Loaded | None = None,
) -> Survey:
    """Find every target of `changes` and `edits` under the layers of `stack`, and make the new sides.

    The patch will lie on those layers but the `replaced` ones.  Where only a walk through the whole heap can tell, and
    it would stop other threads for longer than `max_pause` seconds, it is not made; that is an observation then.
    Without `statements` none of the edits' statements is run, and only their before side is looked at; `loaded` is told
    which modules they load.
    """
    with bounded(max_pause) as walks:
        surveyor = (
            Built(patch_id, changes, stack, stack.without(replaced), modules, max_pause)
            if edits or obstacles
            else Surveyor(patch_id, changes, stack, stack.without(replaced), modules, max_pause)
        )
        surveyor.out.loaded = loaded or Loaded()
        if isinstance(surveyor, Built):
            surveyor.edits, surveyor.obstacles, surveyor.statements = edits, obstacles, statements
        out = surveyor.run(callers)
    out.walks = walks
    return out


def _half_of_a_container(patch_id: str) -> Refusal:
    return Refusal(
        "container-shared",
        f"patch {patch_id} changes entries of the same container, and one of the two its order",
        "two patches that can be taken out in any order",
        f"revert {patch_id} first",
    )


def _replaced_values(patch_id: str, labels: list[str]) -> Refusal:
    more = f", and {len(labels) - 3} more" if len(labels) > 3 else ""
    return Refusal(
        "values-replaced",
        f"patch {patch_id}, which this one is to replace, has changed {', '.join(labels[:3])}{more}",
        "a replaced patch that changes only functions and adds names: what values were before it cannot be compared",
        f"build one from what runs with {patch_id} and apply it over that, with requires=; or revert {patch_id} first",
    )


def _not_surveyed(error: Exception) -> Refusal:
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    where = f" at {Path(traceback.tb_frame.f_code.co_filename).name}:{traceback.tb_lineno}" if traceback else ""
    return Refusal(
        "not-surveyed",
        f"{type(error).__name__}{where} while the process was compared with the patch: {told(error)}",
        "a process that can be compared with both sides of the patch",
        "report this with the patch: livepatch does not know what it met",
    )


class Built(Surveyor):
    """Surveys a patch that was built from two source trees: it is to be whole, or not to go in."""

    edits: tuple[ModuleEdit, ...] = ()
    obstacles: tuple[Obstacle, ...] = ()
    statements = True
    given: Collection[int] = ()

    def before_the_sweep(self) -> None:
        """Prove the before side, compute the after side, and bring in what that comes to."""
        replaced = list(self._replaced_values())
        for patch_id, labels in replaced:
            self.out.note("", _replaced_values(patch_id, labels))
        made = self._made() if not replaced else None
        if made is not None:
            self._bring_in(made)

    def _made(self) -> Sourced | None:
        """What the edits come to; ``None``, and a note, if that cannot be found out."""
        try:
            return survey_edits(
                self.patch_id,
                self.edits,
                self.obstacles,
                self.modules,
                self._beneath(),
                statements=self.statements,
                loaded=self.out.loaded,
            )
        except PauseTooLongError:
            raise
        except Exception as error:  # noqa: BLE001  # objects of any kind are looked into here: what fails is no proof
            self.out.note("", _not_surveyed(error))
        return None

    def _bring_in(self, made: Sourced) -> None:
        for target, refusal in made.notes:
            self.out.note(target, refusal)
        self.out.sources.update(made.sources)
        self.given = {key for key, value in made.given.items() if not self._is_of_the_package(value)}
        self.out.outliving = made.outliving
        self.bodies += made.bodies
        for attribute in made.attributes:
            self.new_attribute(attribute)
        for shadow in made.shadows:
            self.new_shadow(shadow)
        for instance, side in made.instances:
            for name, value in side.items():
                self.out.put(instance, name, value, f"{instance.__module__}:{instance.__qualname__}.{name}")
        for owner, name, label in made.gone:
            self.out.put(owner, name, ABSENT, label)
        for slot, value in made.writes:
            self._put(slot, value)
        for name, module in made.modules:
            self.out.put_in(item_of(self.modules, name, f"sys.modules[{name!r}]"), module)
            parent, _, last = name.rpartition(".")
            if parent in self.modules:
                self.out.put(self.modules[parent], last, module, name)
        self.out.caches += [
            each if isinstance(each, Cache) else Cache(f"{type(each).__module__}.{type(each).__qualname__}", each)
            for each in made.caches
        ]
        for place, value in made.replaced:
            self.assignments.append((ValueFor(place.target, value), place))

    def _replaced_values(self) -> Iterator[tuple[str, list[str]]]:
        """The values of the program that layers change which this patch takes the place of."""
        staying = {layer.patch_id for layer in self.under.layers}
        wanted, beneath = self.stack.wanted(), self.under.wanted()
        for layer in self.stack.layers:
            if layer.patch_id in staying:
                continue
            labels = []
            for slot in layer.values:
                original = self.stack.originals.get(slot, ABSENT)
                is_value = slot.kind != "function" and original is not ABSENT
                if is_value and wanted.get(slot) is not beneath.get(slot, original):
                    labels.append(str(slot))
            if labels:
                yield layer.patch_id, sorted(labels)

    def _put(self, slot: Slot, value: object) -> None:
        """Take a write; the entries of a container and its whole contents cannot be two patches' affairs."""
        whole, parts = ("contents",), ("item", "member")
        others = parts if slot.kind in whole else whole if slot.kind in parts else ()
        layer = next((s for s in self.under.originals if s.owner_id == slot.owner_id and s.kind in others), None)
        if layer is not None:
            self.out.note(slot, _half_of_a_container(str(self.under.decider(layer) or "another")))
        self.out.put_in(slot, value)

    def left_behind(self, refusal: Refusal) -> Refusal:
        """The fix would not reach such closures."""
        return replace(refusal, code="closures-unreached")

    def in_the_end(self) -> None:
        """Name who keeps what the patch changes: the fix would not reach it."""
        emptied = tables(self.out.caches)
        for each in remnants(self.out.values, self.out.originals, self.modules, emptied, self.given):
            self.out.note(
                each.label,
                Refusal(
                    "old-value-held",
                    f"{each.holder} holds the value that is there now, or something made of it",
                    "objects that look the value up when they need it",
                    "have that object made anew after the fix, or restart",
                ),
            )

    def _is_of_the_package(self, value: object) -> bool:
        """Whether the package has made a value, or has had it made: equal patterns are one, whoever compiles them."""
        if type(value) is re.Pattern:
            return True
        tops = {edit.module.partition(".")[0] for edit in self.edits}
        named = value if is_function(value) or is_class(value) or type(value) is BuiltinMethodType else type(value)
        return str(getattr(named, "__module__", None)).partition(".")[0] in tops

    def _beneath(self) -> Callable[[FunctionType], Held]:
        """What a function holds under the patch: without the layers that it replaces."""
        wanted, originals = self.under.wanted(), self.stack.originals

        def beneath(function: FunctionType) -> Held:
            slots = slot_of(function, SIDE[0]).beside(*SIDE)
            live = zip(slots, held_by(function), strict=True)
            held = [settled(wanted.get(s, originals[s]), s) if s in originals else value for s, value in live]
            return Held._make(held)

        return beneath
