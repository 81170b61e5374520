"""A suite of attacks on a patch, each with a name and a result, and their outcome as evidence for approvals."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from livepatch.errors import ExpectationError, LivepatchError, PatchError, counted, shortened, spelled
from livepatch.patch import Patch
from livepatch.process.applied import revert, status
from livepatch.process.arguments import check_patch, check_seconds
from livepatch.process.public import apply
from livepatch.testing.children import can_fork, in_child
from livepatch.testing.cycles import assert_switches, cycle
from livepatch.testing.exhaustion import little_memory, low_stack
from livepatch.testing.faults import STEPS, InjectedFaultError, fail_at
from livepatch.testing.guard import Guard
from livepatch.testing.modes import unit_at_work
from livepatch.testing.probing import Probe, check_probe
from livepatch.testing.sabotage import DRILL, changed_functions, drill_id, sabotage
from livepatch.testing.simulating import Callers, named_callers, simulate

if TYPE_CHECKING:
    from livepatch.bundle.keys import Signer

__all__ = ["ATTACKS", "Attacked", "Result", "attack"]

Verdict = Literal["passed", "failed", "skipped"]

ATTACKS = ("exploit", "cycles", "malformed", "concurrency", "exceptions", "faults", "stack", "memory")
"""The attacks, in the order in which they are made."""

_CYCLES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One attack: its name, with a target where it is made for each; how it ended; and what is to be said of it."""

    name: str
    verdict: Verdict
    said: str = ""

    def __str__(self) -> str:
        return f"{self.verdict:7} {self.name}" + (f": {self.said}" if self.said else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attacked:
    """What came of the attacks on a patch.  True if none succeeded; one that was `skipped` proves nothing."""

    patch: str
    digest: str
    results: tuple[Result, ...]

    @property
    def ok(self) -> bool:
        """Attacks were made, and none has failed."""
        made = [each for each in self.results if each.verdict != "skipped"]
        return bool(made) and all(each.verdict == "passed" for each in made)

    @property
    def failed(self) -> tuple[str, ...]:
        """The names of what failed."""
        return tuple(each.name for each in self.results if each.verdict == "failed")

    @property
    def skipped(self) -> tuple[str, ...]:
        """The names of what was not tried."""
        return tuple(each.name for each in self.results if each.verdict == "skipped")

    @property
    def result(self) -> str:
        """In the words of evidence: ``PASSED``, ``WARNED`` if something was skipped, or ``FAILED``."""
        return "FAILED" if not self.ok else "WARNED" if self.skipped else "PASSED"

    def __bool__(self) -> bool:
        return self.ok

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain values, fit for JSON."""
        results = [asdict(each) for each in self.results]
        return {"patch": self.patch, "digest": self.digest, "ok": self.ok, "result": self.result, "results": results}

    def __str__(self) -> str:
        head = f"{self.patch}: {counted(len(self.results), 'attack')}, {len(self.failed)} failed"
        return "\n  ".join([head + (f", {len(self.skipped)} skipped" if self.skipped else ""), *map(str, self.results)])

    def attest(
        self,
        path: str | os.PathLike[str],
        *,
        key: str | os.PathLike[str] | Signer,
        suite: str = "livepatch-attack",
        passphrase: str | None = None,
        url: str = "",
        output: str | os.PathLike[str] | None = None,
    ) -> Path:
        """Write signed evidence of it for the patch file at `path`, as :func:`livepatch.attest` does.

        Raises :class:`PatchError` if the attacks were on another patch than that in the file, and what that raises.
        """
        from livepatch.bundle.evidence import attest
        from livepatch.bundle.load import load

        origin = load(path).origin
        assert origin is not None
        if origin.digest != self.digest:
            raise PatchError(
                "the attacks were on another patch than that in the file",
                found=f"results for {self.digest or 'a patch that came from no file'}",
                expected=f"results for {origin.digest}",
                action="attack the very file: livepatch.testing.attack(livepatch.load(path, trust=…), …)",
            )
        failed = [name.encode("ascii", "backslashreplace").decode() for name in self.failed]
        return attest(
            path,
            suite=suite,
            key=key,
            passphrase=passphrase,
            result=self.result,
            failed=failed,
            url=url,
            output=output,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Target:
    """What is attacked, and with what."""

    patch: Patch
    probe: Probe
    callers: Callers
    instances: Mapping[str, Callable[[], object]]
    refusals: tuple[type[BaseException], ...]
    examples: int
    timeout: float
    options: dict[str, Any]


def attack(
    patch: Patch,
    *,
    probe: Probe,
    callers: Callers | None = None,
    instances: Mapping[str, Callable[[], object]] | None = None,
    refusals: Iterable[type[BaseException]] = (ValueError, TypeError),
    examples: int = 100,
    timeout: float = 30.0,
    skip: Iterable[str] = (),
    **options: Any,
) -> Attacked:
    """Attack a patch in this process, which is one of tests: what it calls, it calls with arguments nobody chose.

    ``exploit``: `probe`, which tries the flaw, answers otherwise with the patch, and as before without it.
    ``cycles``: the patch comes and goes, and all is as before.  ``malformed``: each changed function takes `examples`
    drawn calls, in a child; it may return, raise one of `refusals`, or what the old side raises for the same call.
    `instances` makes objects for methods, by ``"module:Class"``.  ``concurrency``: `callers`, by default the probe,
    call on threads and in tasks during switches.  ``exceptions``: each changed function raises, and the patch comes out
    while the exception is held.  ``faults``: a failure at each step of the switch.  ``stack``, ``memory``: there is no
    room for a switch.

    `timeout` is how many seconds callers, and each child, may take.  `skip` names attacks to leave out; they count as
    skipped, as those do that cannot be made here.  `options` are those of :func:`livepatch.apply`.

    Raises what `apply` raises if the patch does not go in at all, and :class:`TypeError` or :class:`PatchError` for a
    wrong argument.  Afterwards the patch is out; what an attack found broken is in the answer.
    """
    check_patch(patch)
    check_probe("probe", probe)
    left_out = _names(skip)
    allowed = tuple(refusals)
    check_seconds("timeout", timeout)
    for kind in map(_as_object, allowed):
        if not (isinstance(kind, type) and issubclass(kind, BaseException)):
            raise TypeError(f"refusals must be types of exceptions, not {spelled(kind)}")
    if isinstance(examples, bool) or examples < 1:
        raise PatchError("no examples", found=spelled(examples), expected="1 or more", action="pass examples=")
    if taken := [each.id for each in status() if each.id in (patch.id, drill_id(patch))]:
        raise PatchError(
            f"{patch.id} is in use here",
            found=f"{', '.join(taken)}, applied in this process",
            expected="a process that does not have it",
            action="attack it in a process of tests",
        )
    target = _Target(
        patch=patch,
        probe=probe,
        callers=named_callers(probe if callers is None else callers),
        instances=dict(instances or {}),
        refusals=allowed,
        examples=examples,
        timeout=timeout,
        options=options,
    )
    try:  # if it does not go in at all, there is nothing to attack; what it leaves, the attacks find
        functions = [name for name, _ in changed_functions(apply(patch, **options).report.targets)]
    finally:
        _take_out(patch)
    results: list[Result] = []
    for name in ATTACKS:
        if name in left_out:
            results.append(Result(name=name, verdict="skipped", said="left out"))
        elif name in ("malformed", "exceptions") and functions:
            results += [_result(f"{name} {each}", _MADE[name], target, each) for each in functions]
        else:
            results.append(_result(name, _MADE[name], target, ""))
    return Attacked(
        patch=patch.id, digest=patch.origin.digest if patch.origin is not None else "", results=tuple(results)
    )


def _as_object(value: object) -> object:
    """What a caller passed, whatever the annotation says."""
    return value


def _names(skip: Iterable[str]) -> frozenset[str]:
    names = frozenset([skip] if isinstance(skip, str) else skip)
    if unknown := names - set(ATTACKS):
        raise PatchError(
            "there is no such attack",
            found=", ".join(map(spelled, unknown)),
            expected=f"some of {', '.join(ATTACKS)}",
            action="correct the name",
        )
    return names


class _SkippedError(Exception):
    """An attack that cannot be made here, and why."""


def _result(name: str, made: Callable[[_Target, str], str], target: _Target, function: str) -> Result:
    try:
        return Result(name=name, verdict="passed", said=made(target, function))
    except _SkippedError as error:
        return Result(name=name, verdict="skipped", said=str(error))
    except (LivepatchError, AssertionError) as error:
        return Result(name=name, verdict="failed", said=shortened(str(error), 2000))
    finally:
        _take_out(target.patch)


def _take_out(patch: Patch) -> None:
    """The patch, and what stands on it, if it is in."""
    for each in reversed(status()):
        if each.id in (patch.id, drill_id(patch)):
            revert(each.id)


def _exploit(target: _Target, _: str) -> str:
    switched = assert_switches(target.patch, target.probe, **target.options)
    return f"{switched.off} before, {switched.on} after"


def _cycles(target: _Target, _: str) -> str:
    return f"{cycle(target.patch, _CYCLES, **target.options).cycles} times"


def _malformed(target: _Target, function: str) -> str:
    if not function:
        raise _SkippedError("no function changes")
    if not can_fork():
        raise _SkippedError("this platform has no children that are copies")
    try:
        import hypothesis  # noqa: F401  # what malformed imports
    except ModuleNotFoundError:
        raise _SkippedError("hypothesis is not installed: python -m pip install 'livepatch[testing]'") from None
    ended = in_child(lambda: _drawn_calls(target, function), target.timeout)
    if ended.died or "raised" in ended.value:
        raise ExpectationError(
            f"{function} does not survive drawn calls",
            found=ended.died or ended.value["raised"],
            expected="an answer or an exception, for whatever it is called with",
            action="look for a call that ends the process, or takes for ever",
        )
    if "skipped" in ended.value:
        raise _SkippedError(ended.value["skipped"])
    if met := ended.value["met"]:
        raise ExpectationError(
            f"{function} raises what is no refusal, and what it did not raise before",
            found=f"({met['call']}) raised {met['raised']}",
            expected=f"an answer, or {', '.join(each.__qualname__ for each in target.refusals)}",
            action="let the fix refuse it, or name the exception in refusals=",
        )
    return f"{target.examples} calls"


def _drawn_calls(target: _Target, function: str) -> dict[str, Any]:
    """In a child: what the function makes of them."""
    from livepatch.testing.malformed import unexpected

    applied = apply(target.patch, **target.options)
    try:
        met = unexpected(
            function, applied, examples=target.examples, refusals=target.refusals, instances=target.instances
        )
    except PatchError as error:
        return {"skipped": str(error)}
    return {"met": met}


def _concurrency(target: _Target, _: str) -> str:
    seen = simulate(target.patch, callers=target.callers, timeout=target.timeout, **target.options)
    if not seen:
        raise ExpectationError(
            "callers under load were not answered by one side or the other",
            found=str(seen),
            expected="one side for each unit of work, and everything as before",
            action="see what the callers share, and which of the switches they were asked at",
        )
    return str(seen).partition(": ")[2]


def _exceptions(target: _Target, function: str) -> str:
    if not function:
        raise _SkippedError("no function changes")
    held: list[BaseException] = []
    with Guard() as guard:
        applied = guard.apply(target.patch, **target.options)
        live = dict(changed_functions(applied.report.targets))[function]
        try:
            guard.apply(sabotage(target.patch, function, live, "raises"))
        except LivepatchError as error:
            raise _SkippedError(f"it cannot be broken: {error}") from None
        del live
        try:
            value = target.probe()
            if hasattr(value, "close"):
                value.close()  # a coroutine that is not run
        except Exception as error:  # noqa: BLE001  # with its frames, which a program may hold as well
            held.append(error)
        guard.revert(drill_id(target.patch))
        guard.revert(target.patch.id)
        reached = any(DRILL in str(error) for error in _chain(held))
        held.clear()
    return "the probe met it" if reached else "the probe did not meet it"


def _chain(errors: list[BaseException]) -> Iterator[BaseException]:
    for first in errors:
        error: BaseException | None = first
        while error is not None:
            yield error
            error = error.__cause__ or error.__context__


def _faults(target: _Target, _: str) -> str:
    reached = []
    for step in STEPS:
        with Guard() as guard, unit_at_work():
            guard.before_apply(target.patch)
            options = {"consistency": "chain", **target.options}
            try:
                with fail_at(step):
                    guard.apply(target.patch, **options)
            except InjectedFaultError:
                reached.append(step)
            except ExpectationError:  # this patch's switch has no such step
                continue
            if changed := guard.differences():
                raise ExpectationError(
                    f"a failure at {step} leaves something",
                    found="; ".join(changed),
                    expected="every object as it was before",
                    action="report it: the library promises this",
                )
    return f"at {', '.join(reached)}"


def _stack(target: _Target, _: str) -> str:
    return _without_room(*low_stack(target.patch, target.options))


def _memory(target: _Target, _: str) -> str:
    if not can_fork():
        raise _SkippedError("this platform has no children that are copies")
    try:
        return _without_room(*little_memory(target.patch, target.options, target.timeout))
    except (ImportError, FileNotFoundError):
        raise _SkippedError("this platform limits no memory") from None


def _without_room(wrong: str, refused: int) -> str:
    if wrong:
        raise ExpectationError(
            "a switch without room is neither made nor refused",
            found=wrong,
            expected="the patch in, or every object as it was before",
            action="give the process more room; report it if something was left",
        )
    return f"refused {counted(refused, 'time')}, and nothing had changed"


_MADE: dict[str, Callable[[_Target, str], str]] = {
    "exploit": _exploit,
    "cycles": _cycles,
    "malformed": _malformed,
    "concurrency": _concurrency,
    "exceptions": _exceptions,
    "faults": _faults,
    "stack": _stack,
    "memory": _memory,
}
