"""Regression probes: is a hole that a patch has closed still closed?  Asked in scratch processes, or in this one."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from livepatch.bundle.trust import require_admitted
from livepatch.compat.versions import Distribution, version_findings
from livepatch.contents.probes import Probe
from livepatch.engine.modes import At, Mode, Split, is_off, is_on
from livepatch.engine.stack import Stack
from livepatch.errors import IncompatibleError, LivepatchError, PatchError, TransitionError, shortened, spelled
from livepatch.events import emit
from livepatch.govern.recording import note
from livepatch.govern.surroundings import version_of
from livepatch.patch import Patch
from livepatch.probing.calling import asked_apart, is_probe
from livepatch.probing.probed import Expectation, Outcome, Probed, Verdict, judge
from livepatch.probing.side import Order
from livepatch.process.arguments import check_patch, check_seconds
from livepatch.process.live import live as process
from livepatch.replaying.bringing import bring
from livepatch.replaying.folders import temporary_folder
from livepatch.replaying.scratch import Scratch
from livepatch.replaying.within import IN_SCRATCH, Brought

__all__ = ["probe"]

Given = Patch | str | os.PathLike[str]

_AGAIN = 3  # looks, if something is switched meanwhile
_PROGRAM = "livepatch.probing.side"


@dataclass(frozen=True, slots=True)
class _Question:
    """One probe, the patches that are there when it is asked, and what it should find."""

    patch: Patch
    probe: Probe
    stack: tuple[Patch, ...]
    expected: Expectation


def probe(
    patches: Given | Iterable[Given] | None = None,
    *,
    known: Given | Iterable[Given] = (),
    trust: object = None,
    live: bool = True,
    timeout: float = 30.0,
) -> Probed:
    """Ask regression probes whether holes are open, and say where that is not as it should be.

    Without `patches`, all known probes are asked about this process: those of the patches that are applied, and of
    those that were.  Each that is declared safe runs here, if `live`; every other one in a scratch process of its own,
    a fresh interpreter that imports the package as installed and applies the same patches in the same order.

    With `patches`, one or several, each as for :func:`livepatch.apply`, this process is left alone: each probe is asked
    in a scratch process before its patch goes in, where it must find the hole open, and in another with all of them,
    where it must find it closed.  There the probes of patches for other releases than the one that is installed are
    asked, too, and those of `known` patches, which do not go in: holes that a patch in their place, or a release, must
    not open again.  No rules of policy hold in a scratch process.

    `timeout` is how many seconds a scratch process may take to begin, and each probe to answer.  What a probe does to
    files and to the network, it does.  The result is true if no hole is open that a patch has closed, and every probe
    shows what it should; it, events and the record name probes, and tell nothing of what is in them.

    Raises :class:`TrustError` or :class:`BundleError` for a file, before anything of any of them is run,
    :class:`PatchError` or :class:`TypeError` for a wrong argument, and :class:`TransitionError` if this process is
    switched again and again meanwhile.  Nothing in this process has changed.
    """
    if IN_SCRATCH in os.environ or is_probe():
        raise PatchError(
            "a probe cannot start another",
            found="a scratch process, or a probe, in which livepatch.probe is called",
            expected="a call that is made by the program itself",
            action="put the call below if __name__ == '__main__':, and leave it out of probes",
        )
    check_seconds("timeout", timeout)
    if not isinstance(live, bool):
        raise TypeError(f"live must be True or False, not {spelled(live)}")
    begun = time.perf_counter()
    several, more = _several("patches", () if patches is None else patches), _several("known", known)
    if patches is None:
        if more:
            raise PatchError(
                "known patches are for files",
                found="known=, and no patches",
                expected="patches to ask with them; what this process knows, it asks by itself",
                action="pass the patches that go in, or leave known= out",
            )
        outcomes, unprobed = _about_this_process(live, timeout)
        asked = {name: each.patch for name, each in process.known.items()}
    else:
        if not several and not more:
            raise PatchError(
                "there are no patches", found="none", expected="one or more", action="name some, or leave it out"
            )
        admitted = _admitted([*several, *more], trust)
        asked = {patch.id: patch for patch in admitted}
        questions, unprobed = _about(admitted[: len(several)], admitted[len(several) :])
        outcomes = _answers(questions, here=False, timeout=timeout)
    probed = Probed(outcomes=outcomes, findings=judge(outcomes, unprobed), seconds=time.perf_counter() - begun)
    _tell(probed, asked)
    return probed


# Patches that are handed in


def _several(argument: str, patches: object) -> list[Given]:
    if isinstance(patches, (Patch, str, os.PathLike)):
        return [patches]
    if not isinstance(patches, Iterable):
        raise TypeError(f"{argument} must be a patch, a path, or several of them, not {spelled(patches)}")
    return list(patches)


def _admitted(patches: list[Given], trust: object) -> list[Patch]:
    """The patches themselves, if somebody answers for each; nothing of any was run."""
    admitted: list[Patch] = []
    for given in patches:
        if isinstance(given, (str, os.PathLike)):
            from livepatch.bundle.load import load_for

            patch = load_for("verified", given, trust)
        else:
            check_patch(given)
            patch = given
        require_admitted(patch, trust if patch.origin is not None else None)
        if any(patch.id == other.id for other in admitted):
            raise PatchError(
                f"patch {patch.id} is there twice", found="two of that id", expected="each once", action="leave one out"
            )
        admitted.append(patch)
    return admitted


def _about(patches: list[Patch], more: list[Patch]) -> tuple[list[_Question], list[str]]:
    """What is asked about patches: those that fit what is installed go in, in their order."""
    questions: list[_Question] = []
    stack: tuple[Patch, ...] = ()
    other: list[Patch] = []
    for patch in patches:
        if not _fits(patch):
            other.append(patch)
            continue
        questions += [_Question(patch, each, stack, "open") for each in patch.probes]
        stack = (*stack, patch)
    questions += [_Question(patch, each, stack, "closed") for patch in stack for each in patch.probes]
    questions += [_Question(patch, each, stack, "other-release") for patch in other for each in patch.probes]
    questions += [_Question(patch, each, stack, "not-in") for patch in more for each in patch.probes]
    return questions, [patch.id for patch in (*patches, *more) if not patch.probes]


def _fits(patch: Patch) -> bool:
    """Whether it is for the release that is installed.  Raises :class:`PatchError` if none is."""
    installed = version_of(patch.package)
    if not installed:
        raise PatchError(
            f"{patch.package} is not installed here",
            found=f"no distribution of that name, which patch {patch.id} is for",
            expected="the package as the processes have it",
            action="ask where it is installed",
        )
    found = version_findings(patch.package, patch.versions, Distribution(installed=installed))
    return not any(each.severity == "error" for each in found)


# This process


def _about_this_process(here: bool, timeout: float) -> tuple[tuple[Outcome, ...], list[str]]:
    for _ in range(_AGAIN):
        stack = process.state.stack
        questions, unprobed = _standing(stack)
        outcomes = _answers(questions, here=here, timeout=timeout)
        if process.state.stack is stack:  # else what was asked may have been about another state
            return outcomes, unprobed
    raise TransitionError(
        "this process is switched again and again",
        timeout=None,
        found=f"another stack of patches after each of {_AGAIN} looks",
        expected="one that stays while probes are asked",
        action="probe again once nothing is switched",
    )


def _standing(stack: Stack) -> tuple[list[_Question], list[str]]:
    """What is asked about this process as it stands."""
    records = process.records
    stands: dict[str, Expectation] = {}
    there: list[Patch] = []
    for layer in stack.layers:
        record = records.get(layer.patch_id)
        if record is None:
            continue
        stands[record.id] = _expected(layer.mode)
        if stands[record.id] in ("closed", "partly"):
            there.append(record.patch)
    asked = process.known
    questions = [
        _Question(each.patch, probe, tuple(there), stands.get(name, "taken-out"))
        for name, each in asked.items()
        for probe in each.probes
    ]
    return questions, [name for name in stands if name not in asked]


def _expected(mode: Mode) -> Expectation:
    if isinstance(mode, At):
        try:
            return "closed" if mode.reached() else "not-yet"
        except Exception:  # noqa: BLE001  # a source of the program's may fail in any way: then calls get the old side
            return "not-yet"
    if isinstance(mode, Split):
        return "partly"
    if is_on(mode):
        return "closed"
    return "switched-off" if is_off(mode) else "not-yet"


# Asking


def _answers(questions: Iterable[_Question], *, here: bool, timeout: float) -> tuple[Outcome, ...]:
    with temporary_folder() as folder:
        scratch = _Scratches(folder, timeout)
        return tuple(_answer(question, scratch, here=here, timeout=timeout) for question in questions)


def _answer(question: _Question, scratch: _Scratches, *, here: bool, timeout: float) -> Outcome:
    probed = question.probe
    lives = here and probed.safe
    verdict, why = asked_apart(probed.name, probed.source, timeout) if lives else scratch.ask(question)
    return Outcome(
        patch_id=question.patch.id,
        probe=probed.name,
        where="live" if lives else "scratch",
        expected=question.expected,
        verdict=verdict,
        why=why,
    )


class _Scratches:
    """Asks each probe in a process of its own: what one has done to its process, no other meets."""

    def __init__(self, folder: Path, timeout: float) -> None:
        self._folder = folder
        self._timeout = timeout
        self._brought: dict[int, Brought] = {}
        self._asked = 0

    def ask(self, question: _Question) -> tuple[Verdict, str]:
        """What the probe says; if that is nothing, why, without a word of the probe."""
        self._asked += 1
        home = self._folder / f"home-{self._asked}"
        try:
            stack = tuple(self._bring(patch) for patch in question.stack)
            order = Order(stack=stack, probe=question.probe.name, source=question.probe.source)
            with Scratch("scratch process", order, home, self._timeout, _PROGRAM) as scratch:
                scratch.wait_begun()
                said = scratch.next()
        except IncompatibleError as error:
            codes = ", ".join(dict.fromkeys(finding.code for finding in error.report.errors))
            return "unknown", f"patch {error.report.patch_id} does not go into a scratch process: {codes}"
        except LivepatchError as error:
            return "unknown", shortened(str(error).partition("; expected: ")[0], 300)
        if isinstance(said, str):
            return "unknown", said.partition(": ")[0]  # what it wrote to standard error may be the probe's
        return _read(said)

    def _bring(self, patch: Patch) -> Brought:
        known_as = id(patch)
        if known_as not in self._brought:
            # Each was admitted: when it was handed in, or when it was applied.
            file = self._folder / f"patch-{len(self._brought)}.lpatch"
            self._brought[known_as] = bring(patch, _trust_of(patch), file)
        return self._brought[known_as]


def _read(said: object) -> tuple[Verdict, str]:
    """What a scratch process has told, unless the probe has written there, too."""
    match said:
        case {"verdict": ("vulnerable" | "fixed" | "unknown") as verdict, "why": str(why)}:
            return verdict, shortened(why, 200)
    return "unknown", "something else came from its process"


def _trust_of(patch: Patch) -> object:
    from livepatch.bundle.trust import UNSIGNED

    return UNSIGNED if patch.origin is not None else None


# Telling


def _tell(probed: Probed, patches: dict[str, Patch]) -> None:
    """Events and the record: an entry for each patch that was asked about."""
    for patch_id in dict.fromkeys(outcome.patch_id for outcome in probed.outcomes):
        outcomes = [each for each in probed.outcomes if each.patch_id == patch_id]
        wrong = [each for each in probed.findings if each.target.partition("/")[0] == patch_id]
        errors = [each for each in wrong if each.severity == "error"]
        note(
            "verified",
            patches.get(patch_id, patch_id),
            ok=not errors,
            probes=[f"{each.probe}: {each.verdict}, {each.where}, {each.expected}" for each in outcomes],
            findings=[f"{each.code} {each.target}" for each in wrong],
        )
        emit(
            "probed",
            level="warning" if wrong else "info",
            patch=patch_id,
            ok=not errors,
            probes=len(outcomes),
            findings=len(wrong),
        )
    for outcome in probed.open:
        emit("hole_open", level="error", patch=outcome.patch_id, probe=outcome.probe, since=outcome.expected)
