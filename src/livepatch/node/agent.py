"""The agent in a node's process: it brings back what the node is wished to run, and takes patches while it runs."""

from __future__ import annotations

import atexit
import os
import platform
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from livepatch.bundle import disk
from livepatch.bundle.trust import check_trust
from livepatch.errors import NodeError, spelled
from livepatch.events import emit
from livepatch.govern.policies import check_policy
from livepatch.govern.surroundings import version_of
from livepatch.node.answering import answer
from livepatch.node.modetext import written_mode
from livepatch.node.places import SOCKET
from livepatch.node.processes import processes
from livepatch.node.running import Given, Running
from livepatch.node.store import GUARD, Store
from livepatch.process.arguments import check_bounds, check_hook, check_seconds, check_text, names_of

if TYPE_CHECKING:
    from livepatch.compat.report import Finding
    from livepatch.engine.modes import Mode
    from livepatch.health.probes import HealthProbe
    from livepatch.health.rules import Rule
    from livepatch.health.soaking import Soak
    from livepatch.node.entry import Standing
    from livepatch.node.fleet import Fleet
    from livepatch.node.operations import Operations
    from livepatch.node.watching import Watching
    from livepatch.process.applied import Applied
    from livepatch.process.standing import Status

__all__ = ["Agent"]


class Agent:
    """A node that takes patches while it runs.  A context manager, in ``async with`` as well; or `start` and `close`.

    `store` is the directory that outlives the process: what is applied through the agent is applied again at the next
    start, before the block of the ``with`` begins.  `trust` is the trust root by which files are verified, or
    :data:`livepatch.UNSIGNED`; `policy`, `max_pause`, `max_rest`: see :func:`livepatch.apply`.  `height` is a function
    of no argument that gives the node's height, for the mode ``at(1200)``.

    `socket` is the control socket, a name in the store or a path; ``None`` for no socket.  Only the process's own user
    and root may use it, and those whose ids are in `uids`.  It is served by threads of the agent's own.  `name` is what
    the node is called where several are shown.  `guard`: so many seconds a process has to live on after a patch went
    in, or the next one begins without it.

    `probes` (:class:`livepatch.HealthProbe`) are read every `interval` seconds, in a thread of the agent's own, and
    `rules` are what they must keep to, in code or as the path of a file; see `health`.

    `fleet` (a :class:`livepatch.Fleet`, or where its store is) has the node take its part in the fleet's rollouts: in a
    thread of the agent's own it applies and takes back what they say, as `apply` and `revert` do, and as `soak` does if
    there are `rules`.  It needs a trust root.

    Unless the process keeps a record (:func:`livepatch.record_to`), the agent keeps one in the store.

    Raises :class:`TypeError`, :class:`PatchError` or :class:`PolicyError` for a wrong argument, and :class:`NodeError`
    for what this release cannot serve; what `start` raises, see there.
    """

    def __init__(
        self,
        store: str | os.PathLike[str],
        *,
        trust: object,
        policy: str | os.PathLike[str] | None = None,
        probes: Iterable[HealthProbe] = (),
        rules: Iterable[Rule] | str | os.PathLike[str] = (),
        interval: float = 1.0,
        height: Callable[[], int] | None = None,
        socket: str | os.PathLike[str] | None = SOCKET,
        uids: Iterable[int] = (),
        guard: float = GUARD,
        max_pause: float | None = None,
        max_rest: float | None = None,
        name: str = "",
        fleet: Fleet | str | None = None,
    ) -> None:
        if not isinstance(store, (str, os.PathLike)):
            raise TypeError(f"store must be the path of a directory, not {spelled(store)}")
        if check_trust(trust) is None:
            raise TypeError("trust must be a livepatch.TrustRoot, or livepatch.UNSIGNED, which vouches for every file")
        if socket is not None and not isinstance(socket, (str, os.PathLike)):
            raise TypeError(f"socket must be the path of a socket or None, not {spelled(socket)}")
        check_policy(policy)
        check_hook("height", height)
        check_seconds("guard", guard)
        check_bounds(max_pause, max_rest)
        check_text("name", name)
        place = Path(os.fsdecode(store)).absolute()
        self._given = Given(
            place=place,
            trust=trust,
            policy=policy,
            height=height,
            socket=None if socket is None else place / os.fsdecode(socket),
            uids=_uids(uids),
            guard=guard,
            max_pause=max_pause,
            max_rest=max_rest,
            name=name or place.name,
            watching=_watching(probes, rules, interval),
            fleet=_fleet(fleet, trust),
        )
        self._started = 0.0
        self._closing = threading.Lock()
        self._running: Running | None = None

    # From the start to the end

    def start(self) -> Self:
        """Open the store, bring back what is wished for, and serve the control socket.

        Raises :class:`StateError` for a store that cannot be used, such as one that another process has,
        :class:`AuditError` for a record that cannot be written, and :class:`NodeError` if the socket cannot be opened
        or this process has an agent already.  Then the process is as it was, and the store, too.
        """
        global _current  # there is one in a process, as there is one stack  # noqa: PLW0603
        with _starting:
            if _current is not None:
                raise NodeError(
                    "this process has an agent already",
                    found=repr(_current),
                    expected="one agent in a process",
                    action="close that one first, or use it",
                )
            self._running = Running(self._given, lambda *asked: answer(self, *asked))
            self._started = time.time()
            _current = self
        atexit.register(self._at_exit)
        emit("agent_started", store=str(self._given.place), socket=str(self.socket or ""), name=self._given.name)
        return self

    def close(self, *, well: bool = True) -> None:
        """Take no more requests, and let go of the store; what is applied stays applied.  Twice is harmless.

        `well` says that this is an orderly end: then a patch that went in just before is not to blame for it.
        """
        global _current  # noqa: PLW0603  # see start
        with self._closing:
            running, self._running = self._running, None
            if running is None:
                return
            atexit.unregister(self._at_exit)
            running.close(well=well)
        if _current is self:
            _current = None

    def _at_exit(self) -> None:
        # A program that ends by an exception that nobody caught may have ended by a patch.
        self.close(well=not isinstance(getattr(sys, "last_value", None), Exception))

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close(well=kind is None or not issubclass(kind, Exception))

    async def __aenter__(self) -> Self:
        import asyncio

        return await asyncio.get_running_loop().run_in_executor(None, self.start)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        import asyncio

        ended = kind is None or not issubclass(kind, Exception)
        await asyncio.get_running_loop().run_in_executor(None, lambda: self.close(well=ended))

    # What may be done, here as over the socket

    @property
    def socket(self) -> Path | None:
        """Where the control socket is, if there is one."""
        return self._given.socket

    @property
    def store(self) -> Store:
        """The store.  Raises :class:`NodeError` while the agent does not run."""
        return self._now().store

    @property
    def operations(self) -> Operations:
        """What may be done.  Raises :class:`NodeError` while the agent does not run."""
        return self._now().operations

    def apply(
        self,
        path: str | os.PathLike[str],
        *,
        mode: Mode = "on",
        consistency: str | None = None,
        replaces: Iterable[str] = (),
        approvals: Iterable[str | os.PathLike[str]] = (),
        timeout: float = 30.0,
    ) -> Applied:
        """Apply the patch file at `path` now, and at every start from now on; see :func:`livepatch.apply`.

        Raises what that raises, and :class:`StateError` if the store cannot be written; then the process, and what it
        is wished to run, are as they were.
        """
        check_seconds("timeout", timeout)
        given = [disk.read_for_trust(each, 2 << 20, "the approval") for each in approvals]
        _, applied = self.operations.apply(
            disk.read(path),
            given,
            mode=written_mode(mode),
            consistency=consistency or "",
            replaces=names_of("replaces", replaces),
            timeout=timeout,
        )
        return applied

    def soak(
        self,
        path: str | os.PathLike[str],
        *,
        during: float = 600.0,
        before: float | None = None,
        rules: Iterable[Rule] | str | os.PathLike[str] = (),
        consistency: str | None = None,
        approvals: Iterable[str | os.PathLike[str]] = (),
        timeout: float = 30.0,
    ) -> Soak:
        """Let the patch file at `path` soak under the agent's watchdog; see :func:`livepatch.soak`.

        `rules` hold for it besides the agent's own.  Until it has passed it is not wished for: a process that starts
        meanwhile comes up without it, and the end of the agent takes it back.  Then it goes in at every start.

        Returns at once.  Raises what :func:`livepatch.soak` raises, and :class:`StateError` if the store cannot be
        written; then the process, and what it is wished to run, are as they were.
        """
        from livepatch.node.watching import checked_rules

        check_seconds("timeout", timeout)
        given = [disk.read_for_trust(each, 2 << 20, "the approval") for each in approvals]
        begun = self.operations.soak(
            disk.read(path),
            given,
            during=during,
            before=before,
            rules=checked_rules(rules),
            consistency=consistency or "",
            timeout=timeout,
        )
        return begun.soak

    def drill(self) -> dict[str, Any]:
        """Practise: a harmless patch and a bad one of livepatch's own soak; tells how long the bad one took to go.

        Gives what ``livepatch drill --json`` prints.  Waits for the end, about seven intervals.  Raises what
        :func:`livepatch.soak` raises, and :class:`NodeError` if a drill is under way already; no patch of it stays.
        """
        return self.operations.drill(lambda _: True)

    def flag(self, name: str, mode: Mode, *, timeout: float = 30.0) -> Applied:
        """Switch the patch with that flag to another mode, now and at every start from now on.

        Raises what setting ``livepatch.flags[name]`` raises, and :class:`StateError` if the store cannot be written;
        then the mode is as it was.
        """
        check_text("name", name)
        check_seconds("timeout", timeout)
        return self.operations.switch(name, written_mode(mode), timeout)

    def revert(self, id: str, *, consistency: str | None = None, timeout: float = 30.0) -> Status | None:  # noqa: A002  # the patch's own word for it
        """Take out the patch with that id, for good; see :func:`livepatch.revert`.  ``None`` if it is out already.

        Raises what that raises, and :class:`StateError` if the patch is out, but the store cannot be written.
        """
        check_text("id", id)
        check_seconds("timeout", timeout)
        gone = self.operations.revert(id, consistency or "", timeout)
        return None if gone is None else gone.status()

    # What is told

    @property
    def standings(self) -> tuple[Standing, ...]:
        """What has become of each patch that is wished for, in the order in which they go in.

        Raises :class:`NodeError` while the agent does not run.
        """
        return self._now().restoration.standings()

    def about(self) -> dict[str, Any]:
        """Who the node is, as plain values."""
        return {
            "node": self._given.name,
            "pid": os.getpid(),
            "livepatch": version_of("livepatch"),
            "python": platform.python_version(),
            "started": self._started,
            "store": str(self._given.place),
            "record": self._now().record,
        }

    def standing(self) -> dict[str, Any]:
        """What is wished for, what of it this process does not run, and what others do, as plain values."""
        running = self._now()
        wanted = running.store.wanted
        others = [each for each in processes(running.store.path, wanted.patches) if each.pid != os.getpid()]
        return {
            "generation": wanted.generation,
            "wanted": [asdict(each) for each in running.restoration.standings()],
            "on_trial": wanted.trial is not None,
            "processes": [asdict(each) for each in others],
            "fell": [{"id": each.id, "digest": each.digest, "at": each.at} for each in wanted.fallen],
            **({"fleet": running.fleet.status()} if running.fleet is not None else {}),
        }

    def examine(self) -> tuple[Finding, ...]:
        """What could keep this process from being patched; see ``livepatch doctor``.  Changes nothing."""
        from livepatch.node import facts
        from livepatch.node.doctor import diagnose

        store = self._now().store
        aside = [each.id for each in self.standings if each.state == "aside"]
        held = facts.folder(store.path, store.key_file, [each.id for each in store.fell], aside)
        return diagnose(
            facts.gather(store=held, trust=self._given.trust, policy=self._given.policy, uids=self._given.uids)
        )

    def health(self) -> dict[str, Any]:
        """How the node is, as plain values: ``state``, and what ``probes``, ``rules`` and ``soaks`` show.

        ``breach`` if a rule is broken, that of a soak too; else ``unknown`` if any rule or probe cannot tell, or
        nothing is read; else ``ok``.  Raises :class:`NodeError` while the agent does not run.
        """
        return {**self.about(), **self._now().watching.status()}

    def readings(self, span: float = 600.0) -> dict[str, Any]:
        """What each probe has shown in the last `span` seconds, as plain values; the newest thousand at most.

        Raises :class:`TypeError`, :class:`PatchError`, and :class:`NodeError` while the agent does not run.
        """
        check_seconds("span", span)
        return self._now().watching.readings(span)

    def _now(self) -> Running:
        running = self._running
        if running is None:
            raise NodeError(
                "the agent does not run",
                found="one that was not started, is still starting, or was closed",
                expected="one that runs",
                action="use it inside `with livepatch.Agent(…) as agent:`",
            )
        return running

    def __repr__(self) -> str:
        return f"<livepatch.Agent {self._given.place}{'' if self._running else ', not running'}>"

    def _forked(self) -> None:
        """In a child: the store and the socket are the parent's, and nothing here is let go of."""
        if self._running is not None:
            self._running.after_fork()
        self._running = None
        self._closing = threading.Lock()
        atexit.unregister(self._at_exit)


def _uids(values: object) -> frozenset[int]:
    if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Iterable):
        raise TypeError(f"uids must be ids of users, such as [1000], not {spelled(values)}")
    found = tuple(values)
    for each in found:
        if isinstance(each, bool) or not isinstance(each, int) or not 0 <= each < 2**32:
            raise TypeError(f"uids must be ids of users, such as [1000], not {spelled(each)}")
    return frozenset(found)


def _fleet(fleet: object, trust: object) -> Fleet | None:
    """The fleet of a node; nothing is loaded for it where there is none."""
    if fleet is None:
        return None
    from livepatch.node.fleet import joined

    return joined(fleet, trust)


def _watching(probes: Any, rules: Any, interval: float) -> Watching | None:
    """What watches the node, checked; nothing is loaded for it where there is nothing to watch."""
    if (probes, rules, interval) == ((), (), 1.0):
        return None
    from livepatch.node.watching import Watching

    return Watching(probes, rules, interval)


_current: Agent | None = None
_starting = threading.Lock()


def _after_fork() -> None:
    global _current, _starting  # noqa: PLW0603  # see start
    _starting = threading.Lock()
    if _current is not None:
        _current._forked()  # noqa: SLF001
        _current = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
