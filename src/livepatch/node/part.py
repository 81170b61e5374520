"""The part of one node in one rollout: how it stands, by what its process says, and what it does about a directive."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from livepatch.bundle import codec
from livepatch.bundle.envelope import digest, read_bundle
from livepatch.bundle.trust import admitted
from livepatch.engine.modes import At, is_off, is_on, spelled_mode
from livepatch.errors import (
    AuditError,
    BundleError,
    IncompatibleError,
    LivepatchError,
    PatchError,
    PolicyError,
    StateError,
    TrustError,
    shortened,
)
from livepatch.fleet.following import Member, Wanted
from livepatch.fleet.keys import node_key
from livepatch.fleet.standing import Condition, Directive
from livepatch.fleet.state import Store
from livepatch.fleet.terms import Terms
from livepatch.fleet.wire import encoded
from livepatch.govern.recording import acting_as
from livepatch.process.applied import Applied
from livepatch.process.live import live

if TYPE_CHECKING:
    from livepatch.node.entry import Standing
    from livepatch.node.operations import Operations
    from livepatch.node.soaking import Soaking
    from livepatch.node.wanted import Fallen
    from livepatch.process.records import Record

__all__ = ["Hands", "Part", "present"]

_REFUSALS = (IncompatibleError, TrustError, BundleError, PolicyError, PatchError, AuditError)
"""What trying again would not change."""
_WAIT = 30.0  # seconds that a switch may wait for calls in flight; then it is tried again
_TOLD = 300  # characters of a reason
_ACTIVE = ("running", "finishing", "aborting")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hands:
    """What a part may do at its node, and what it may ask there.

    `soaks` is whether a patch goes in under the node's own watchdog and rules, and is taken back by these.
    """

    operations: Callable[[], Operations]
    standings: Callable[[], Iterable[Standing]]
    fallen: Callable[[], Iterable[Fallen]]
    height: Callable[[], int] | None
    soaks: bool


def present(hands: Hands) -> frozenset[str]:
    """The digests of the patches that the process has, that are wished for there, and that it has fallen with."""
    origins = [record.patch.origin for record in list(live.records.values())]
    wished = [each.digest for each in hands.standings()]
    return frozenset(
        [*(o.digest for o in origins if o is not None), *wished, *(each.digest for each in hands.fallen())]
    )


class Part:
    """One rollout at this node.  `stage` is the number of the node's, and `member` what it has kept from before."""

    def __init__(self, terms: Terms, member: Member, hands: Hands, *, ttl: float) -> None:
        self.terms = terms
        self.member = member
        """How it stands in the rollout: to be kept on disk."""
        self._hands = hands
        self._ttl = ttl
        self._directive: Directive | None = None
        self._had = False  # it was in, and nobody has asked here that it go
        self._soaking: Soaking | None = None
        self._why = ""
        self._trouble = ""
        """What is in its way now, and may not be the next time."""
        self._said: tuple[Condition, int, str, bool] | None = None
        self._said_at = 0.0
        self._done: Directive | None = None
        """What takes the patch back everywhere, once the node has said that it does not have it."""

    def rests(self, directive: Directive | None, present: frozenset[str]) -> bool:
        """Whether a turn would see nothing, and do nothing: a node meets many rollouts in its time."""
        return directive is not None and directive is self._done and self.terms.digest not in present

    @property
    def is_active(self) -> bool:
        """Whether something may be asked of the node at any moment."""
        return self._directive is not None and self._directive.phase in _ACTIVE

    @property
    def is_measured(self) -> bool:
        """Whether what the node measures now is compared."""
        return self._directive is not None and self._directive.phase == "running"

    def turn(self, store: Store, directive: Directive | None) -> None:
        """See how the node stands, do what the directive says, and report what is new.

        Raises :class:`StateError` and :class:`TransitionError` for what may work the next time.
        """
        self._directive = directive = directive or self._directive
        self._see()
        try:
            if directive is not None:
                member, goal = self.member.follow(directive)
                if goal:
                    member = member.done(self._do(store, goal, directive), attempt=directive.attempt)
                self.member = member
            self._trouble = ""
        except LivepatchError as error:
            self._trouble = _told(error)
            raise
        finally:
            self._see()
            self._report(store)
        over = directive is not None and directive.phase == "reverted" and self.member.condition == "original"
        self._done = directive if over else None

    # How it stands

    def _see(self) -> None:
        """Take over how the process stands: others have hands, too."""
        member, (condition, why) = self.member, self._look()
        if condition == member.condition:
            self._why = why or (self._why if condition == "failed" else "")
            return
        attempt = self._directive.attempt if self._directive is not None else 0
        self.member = member.done(condition, attempt=attempt)
        self._why = why

    def _look(self) -> tuple[Condition, str]:
        record = self._live()
        if record is not None:
            self._had = True
            return self._in(record)
        return self._out(self._wished())

    def _out(self, standing: Standing | None) -> tuple[Condition, str]:
        """How a node stands whose process does not have the patch, by what is wished for there."""
        state = "" if standing is None else standing.state
        if standing is not None and state in ("waiting", "retired"):
            # Its modules are still to come, or calls in flight hold it up; or the release that runs has what it brings.
            return "dormant" if state == "waiting" else "applied", standing.reason
        if self._had:
            soak = self._soaking.soak if self._soaking is not None else None
            if state == "applied" or (soak is not None and soak.outcome is None):
                return self.member.condition, ""  # it is on its way: a module has come, and it goes in anew
            outcome = soak.outcome if soak is not None else None
            return "failed", str(outcome) if outcome is not None else "it was taken back at the node"
        if standing is not None and state == "aside":
            return "failed", standing.reason
        if any(each.digest == self.terms.digest for each in self._hands.fallen()):
            return "failed", "the process died soon after it had gone in"
        if self.member.condition == "failed":
            return "failed", ""
        return "original", ""

    def _in(self, record: Record) -> tuple[Condition, str]:
        mode = Applied(record).mode
        if is_on(mode):
            return "applied", ""
        if isinstance(mode, At):
            return ("applied" if mode.reached() else "armed"), ""
        if is_off(mode) and (self.terms.consensus or (self._soaking is not None and not self._soaking.ended)):
            return "dormant", ""
        return "dormant", f"somebody has set the mode {spelled_mode(mode)} at the node"  # it is in, and has to go out

    def _live(self) -> Record | None:
        """What the process has of this very patch."""
        record = live.records.get(self.terms.patch)
        origin = None if record is None else record.patch.origin
        return record if origin is not None and origin.digest == self.terms.digest else None

    def _wished(self) -> Standing | None:
        return next((each for each in self._hands.standings() if each.digest == self.terms.digest), None)

    def _report(self, store: Store) -> None:
        now, member, why = time.monotonic(), self.member, self._why or self._trouble
        said = (member.condition, member.order, why, self.is_active)
        is_due = self.is_active and now >= self._said_at + self._ttl / 3
        if self._directive is None or (said == self._said and not is_due):
            return
        height = None
        if self.terms.consensus and self._hands.height is not None:
            height = self._hands.height()
        self.member, report = member.report(why=why, height=height)
        ttl = self._ttl if self.is_active else None  # of one that has ended nothing more is reported: this has to last
        store.put(node_key(self.terms.rollout, member.id), encoded(report), expected=None, ttl=ttl)
        self._said, self._said_at = said, now

    # What it does

    def _do(self, store: Store, goal: Wanted, directive: Directive) -> Condition:
        """Bring the node there.  How it stands then."""
        with acting_as("fleet"):
            try:
                if goal == "original":
                    self._take_out()
                elif goal == "armed" and (record := self._live()) is not None:
                    self._hands.operations().switch(record.patch.flag, f"at({directive.height})", _WAIT)
                else:
                    self._bring_in(store, goal, directive)
            except _REFUSALS as error:
                self._why = _told(error)
                return "failed"
        self._why = ""
        return "original" if goal == "original" else self._look()[0]

    def _take_out(self) -> None:
        if self._live() is not None or self._wished() is not None:
            self._hands.operations().revert(self.terms.patch, "", _WAIT)
        self._had, self._soaking = False, None

    def _bring_in(self, store: Store, goal: Wanted, directive: Directive) -> None:
        if self._live() is not None:
            if goal == "applied" and not (self._soaking is not None and not self._soaking.ended):
                self._hands.operations().switch(self._live_flag(), "on", _WAIT)
            return
        standing = self._wished()
        if standing is not None and standing.state == "waiting":
            return
        self._had, self._soaking = False, None
        data, approvals = self._file(store, self.terms.file), [self._file(store, each) for each in self.terms.approvals]
        self._check(data)
        operations = self._hands.operations()
        if goal == "applied" and self._hands.soaks:
            during = self.terms.soaks[self.member.stage]
            self._soaking = operations.soak(data, approvals, during=during, before=None, timeout=_WAIT)
        else:
            mode = {"applied": "on", "dormant": "off"}.get(goal, f"at({directive.height})")
            operations.apply(data, approvals, mode=mode, timeout=_WAIT)

    def _live_flag(self) -> str:
        record = self._live()
        assert record is not None
        return record.patch.flag

    def _file(self, store: Store, its: str) -> bytes:
        data = store.fetch(its)
        if data is None:
            raise StateError(
                f"a file of rollout {self.terms.rollout} is not in the fleet's store",
                found=f"no file {its}",
                expected="the files that the rollout was started with",
                action="start the rollout again with the same files: that puts them there",
            )
        return data

    def _check(self, data: bytes) -> None:
        """It is the patch that the rollout is about.  Who has signed it is asked when it is applied."""
        bundle = admitted(read_bundle(data), None, digest(data))
        name = codec.decode(bundle).id
        if (bundle.digest, name) != (self.terms.digest, self.terms.patch):
            raise BundleError(
                f"the file of rollout {self.terms.rollout} holds another patch",
                found=f"{name}, {bundle.digest}",
                expected=f"{self.terms.patch}, {self.terms.digest}",
                action="see who can write to the fleet's store",
            )


def _told(error: LivepatchError) -> str:
    return shortened(str(error), _TOLD)
