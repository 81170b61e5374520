"""A suite of attacks on a patch, each with a name and a result."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from livepatch.errors import ExpectationError, LivepatchError, PatchError, counted, shortened, spelled
from livepatch.govern.policies import rehearsal
from livepatch.patch import Patch
from livepatch.process.applied import revert, status
from livepatch.process.arguments import check_patch, check_seconds
from livepatch.process.public import apply
from livepatch.testing.attacked import Attacked, Result
from livepatch.testing.carried import asking, carried_probes, closes, raising
from livepatch.testing.children import can_fork, in_child
from livepatch.testing.cycles import assert_switches, cycle
from livepatch.testing.exhaustion import little_memory, low_stack
from livepatch.testing.faults import STEPS, InjectedFaultError, fail_at
from livepatch.testing.guard import Guard
from livepatch.testing.modes import unit_at_work
from livepatch.testing.probing import Probe, check_probe
from livepatch.testing.sabotage import DRILL, changed_functions, drill_id, sabotage
from livepatch.testing.simulating import Callers, named_callers, simulate

__all__ = ["ATTACKS", "Attacked", "Result", "attack"]

ATTACKS = ("exploit", "cycles", "malformed", "concurrency", "exceptions", "faults", "stack", "memory")
"""The attacks, in the order in which they are made."""

_CYCLES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class _Target:
    """What is attacked, and with what."""

    patch: Patch
    exploits: Mapping[str, Callable[[], str]]
    """What shows that the patch closes the hole, by the names of probes that it carries."""
    probes: tuple[Probe, ...]
    """What tries the flaw, and gives or raises whatever comes of it."""
    callers: Callers
    instances: Mapping[str, Callable[[], object]]
    refusals: tuple[type[BaseException], ...]
    examples: int
    timeout: float
    options: dict[str, Any]


def attack(
    patch: Patch,
    *,
    probe: Probe | None = None,
    callers: Callers | None = None,
    instances: Mapping[str, Callable[[], object]] | None = None,
    refusals: Iterable[type[BaseException]] = (ValueError, TypeError),
    examples: int = 100,
    timeout: float = 30.0,
    skip: Iterable[str] = (),
    **options: Any,
) -> Attacked:
    """Attack a patch in this process, which is one of tests: what it calls, it calls with arguments nobody chose.

    ``exploit``: `probe`, which tries the flaw, answers otherwise with the patch, and as before without it; by default
    each regression probe that the patch carries finds the hole open without the patch, and closed with it.

    ``cycles``: the patch comes and goes, and all is as before.  ``malformed``: each changed function takes `examples`
    drawn calls, in a child; it may return, raise one of `refusals`, or what the old side raises for the same call.
    `instances` makes objects for methods, by ``"module:Class"``.  ``concurrency``: `callers`, by default the probe,
    call on threads and in tasks during switches.  ``exceptions``: each changed function raises, and the patch comes out
    while the exception is held.  ``faults``: a failure at each step of the switch.  ``stack``, ``memory``: there is no
    room for a switch.

    `timeout` is how many seconds callers, each child, and each drawn call in one may take.

    `skip` names attacks to leave out; they count as
    skipped, as those do that cannot be made here.  `options` are those of :func:`livepatch.apply`.

    No rule asks for approvals or time meanwhile: what comes of this may be evidence that a policy asks for.

    Raises what `apply` raises if the patch does not go in at all, and :class:`TypeError` or :class:`PatchError` for a
    wrong argument.  Afterwards the patch is out; what an attack found broken is in the answer.
    """
    check_patch(patch)
    carried = carried_probes(patch) if probe is None else {}
    if probe is not None:
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
    if callers is None:
        callers = {name: asking(each) for name, each in carried.items()} if probe is None else probe
    exploits: dict[str, Callable[[], str]] = {
        name: functools.partial(closes, patch, each, options) for name, each in carried.items()
    }
    if probe is not None:
        exploits[""] = functools.partial(_switches, patch, probe, options)
    target = _Target(
        patch=patch,
        exploits=exploits,
        probes=tuple(map(raising, carried.values())) if probe is None else (probe,),
        callers=named_callers(callers),
        instances=dict(instances or {}),
        refusals=allowed,
        examples=examples,
        timeout=timeout,
        options=options,
    )
    with rehearsal():  # it is approved by what comes of this, among others
        try:  # if it does not go in at all, there is nothing to attack; what it leaves, the attacks find
            functions = [name for name, _ in changed_functions(apply(patch, **options).report.targets)]
        finally:
            _take_out(patch)
        results: list[Result] = []
        for name in ATTACKS:
            if name in left_out:
                results.append(Result(name=name, verdict="skipped", said="left out"))
                continue
            of = {"exploit": tuple(target.exploits), "malformed": functions, "exceptions": functions}.get(name) or ("",)
            results += [_result(f"{name} {each}".rstrip(), _MADE[name], target, each) for each in of]
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


def _exploit(target: _Target, name: str) -> str:
    return target.exploits[name]()


def _switches(patch: Patch, probe: Probe, options: Mapping[str, Any]) -> str:
    switched = assert_switches(patch, probe, **options)
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
            action="look for a call that ends the process, or takes for ever; timeout= (--timeout) is for each",
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
        held += [error for error in map(_met, target.probes) if error is not None]
        guard.revert(drill_id(target.patch))
        guard.revert(target.patch.id)
        reached = any(DRILL in str(error) for error in _chain(held))
        held.clear()
    return "the probe met it" if reached else "the probe did not meet it"


def _met(probe: Probe) -> Exception | None:
    """What a probe raises, with its frames, which a program may hold as well."""
    try:
        value: Any = probe()
        if hasattr(value, "close"):
            value.close()  # a coroutine that is not run
    except Exception as error:  # noqa: BLE001  # as it may
        return error
    return None


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
