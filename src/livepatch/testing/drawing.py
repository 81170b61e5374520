"""Any order of applies, switches and reverts, drawn by hypothesis and held against a model of one line.

The model: what a probe answers depends on nothing but which patches are live, and in which order they went in.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, ClassVar, Self

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from livepatch.engine.comparing import Outcome
from livepatch.engine.modes import Mode, split
from livepatch.errors import ExpectationError, TransitionError
from livepatch.patch import Patch
from livepatch.process.applied import flags, verify
from livepatch.testing.guard import Guard, not_as_before, wait_until_settled
from livepatch.testing.probing import Probe, alike, steady_answer, told

__all__ = ["PatchMachine"]

_SETTLE = 10.0  # seconds
_LIVE: MappingProxyType[str, Mode] = MappingProxyType({"on": "on", "for all": split(100)})
_DORMANT: MappingProxyType[str, Mode] = MappingProxyType({"off": "off", "for none": split(0)})

_patches = st.runner().flatmap(lambda machine: st.sampled_from(machine.patches))
_words = st.runner().flatmap(lambda machine: st.sampled_from(sorted(machine.words)))


class PatchMachine(RuleBasedStateMachine):
    """What :func:`livepatch.testing.machine` gives subclasses of, each with its patches and a probe."""

    patches: ClassVar[tuple[Patch, ...]] = ()
    words: ClassVar[dict[str, Mode]] = {}

    @classmethod
    def of(cls, patches: tuple[Patch, ...], probe: Probe, *, splits: bool) -> type[Self]:
        """A machine for these patches."""
        words = {**_LIVE, **_DORMANT} if splits else {"on": "on", "off": "off"}
        held = {"patches": patches, "words": words, "probe": staticmethod(probe)}
        return type("PatchMachine", (cls,), held)

    @staticmethod
    def probe() -> object:
        """What shows which patches are live."""
        raise NotImplementedError

    def __init__(self) -> None:
        super().__init__()
        self._guard = Guard(timeout=_SETTLE)
        self._modes: dict[str, str] = {}
        self._answers: dict[tuple[str, ...], Outcome] = {}
        """By the ids of the live patches, lowest first: of this run, which may be the first to find what one left."""

    @rule(patch=_patches, word=_words)
    def apply(self, patch: Patch, word: str) -> None:
        """Put one in that is not."""
        if patch.id in self._modes:
            return
        missing = [name for name in patch.requires if name not in self._modes]
        try:
            self._guard.apply(patch, mode=self.words[word])
        except TransitionError:
            if not missing:
                raise
        else:
            self._modes[patch.id] = word

    @precondition(lambda self: bool(self._modes))
    @rule(patch=_patches, word=_words)
    def switch(self, patch: Patch, word: str) -> None:
        """Give one that is in another mode."""
        if patch.id in self._modes and not (word in _DORMANT and self._is_needed(patch)):
            flags[patch.flag] = self.words[word]
            self._modes[patch.id] = word

    @precondition(lambda self: bool(self._modes))
    @rule(patch=_patches)
    def revert(self, patch: Patch) -> None:
        """Take one out, wherever it is."""
        if patch.id in self._modes and not self._is_needed(patch):
            self._guard.revert(patch.id)
            del self._modes[patch.id]

    def _is_needed(self, patch: Patch) -> bool:
        return any(patch.id in other.requires and other.id in self._modes for other in self.patches)

    @invariant()
    def the_probe_answers_as_always(self) -> None:
        """With the same patches live, lowest first, always the same."""
        if not wait_until_settled(_SETTLE):
            raise not_as_before((f"a switch does not end within {_SETTLE:g} s",))
        self._ask(tuple(name for name, word in self._modes.items() if word in _LIVE))

    def _ask(self, live: tuple[str, ...]) -> None:
        answer = steady_answer(self.probe)
        known = self._answers.setdefault(live, answer)
        if not alike(answer, known):
            self._answers[live] = answer  # said once: the end of the run, which comes now, has nothing to add
            raise ExpectationError(
                f"the probe answers otherwise than before with {', '.join(live) or 'no patch'} live",
                found=told(answer),
                expected=told(known),
                action="see which of the steps leaves something behind",
            )

    @invariant()
    def every_place_holds_what_the_patches_say(self) -> None:
        """As :func:`livepatch.verify` says."""
        verified = verify()
        if not verified:
            raise not_as_before((str(verified),))

    def teardown(self) -> None:
        """Take all out: then everything must be as it was."""
        troubles: Any = self._guard.finish()
        if troubles:
            raise not_as_before(troubles)
        self._ask(())
