"""``*values`` and ``**values`` in calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from livepatch.compat.calls.uses import Use
from livepatch.compat.calls.world import UNKNOWN, Obj

if TYPE_CHECKING:
    from livepatch.compat.calls.objects import Function

__all__ = ["Spread", "SpreadNames"]


class Spread(Use):
    """``*values`` in a call: what each position holds goes to a parameter."""

    __slots__ = ("first", "function")

    def __init__(self, function: Function, first: int) -> None:
        self.function = function
        self.first = first

    def meet(self, obj: Obj) -> None:
        function, flow = self.function, self.function.program.flow
        box = obj.contents()
        if box is None:
            for target in function.parameters_from(self.first):
                flow.add(target, obj if obj.marks else UNKNOWN)
            return
        if box.ordered:
            box.listen(self)
        rest = box.rest() if box.ordered else box.every()
        for target in function.parameters_from(self.first):
            flow.copy(rest, target)

    def item(self, key: object, node: int) -> None:
        """A position of the values turns up."""
        if type(key) is int:
            target = self.function.parameter_at(self.first + key)
            if target >= 0:
                self.function.program.flow.copy(node, target)


class SpreadNames(Use):
    """``**values`` in a call: what each name holds goes to its parameter."""

    __slots__ = ("function",)

    def __init__(self, function: Function) -> None:
        self.function = function

    def meet(self, obj: Obj) -> None:
        function = self.function
        box = obj.contents()
        flow = function.program.flow
        if box is None:
            for target in function.named_parameters():
                flow.add(target, obj if obj.marks else UNKNOWN)
            return
        box.listen(self)
        rest = box.rest()
        for target in function.named_parameters():
            flow.copy(rest, target)

    def item(self, key: object, node: int) -> None:
        """A name of the values turns up."""
        if type(key) is str:
            target = self.function.parameter_named(key)
            if target >= 0:
                self.function.program.flow.copy(node, target)
