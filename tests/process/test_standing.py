"""A look at what stands notices every switch that is made meanwhile."""

from __future__ import annotations

from livepatch.engine.plan import State
from livepatch.engine.stack import Stack
from livepatch.process import standing


def test_a_stack_at_the_address_of_a_former_one_is_another():
    state = State()
    for _ in range(1_000):
        state.stack = Stack()
        before = standing._moment(state)
        assert before.is_still(state)
        state.stack = Stack()
        state.stack = Stack()  # at the address of the first, if nobody holds that
        assert not before.is_still(state)
