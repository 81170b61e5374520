"""Switches that meet: from several threads, from inside a switch, from patched code, across a fork, and at the end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from tests import cycles

if TYPE_CHECKING:
    from tests.conftest import NewPatch, WriteModule
from tests.few_modules import FewModules

import livepatch

_OURS = str(Path(livepatch.__file__).parent)
_CORE = ("live", "transaction", "examining", "transition", "commit", "events")
_LOOKERS = ("public", "applied", "standing", "stack", "frames")

NODE = """
    LIMIT = 123456

    def f():
        return "old f"

    def g():
        return "old g"

    def during(action):
        action()
        return "old during"

    def steps():
        yield "old"
        yield "old"
"""
FIX = """
    def f():
        return "new f"

    def g():
        return "new g"

    def during(action):
        action()
        return "new during"

    def steps():
        yield "new"
        yield "new"
"""


class Scene:
    def __init__(self, write_module: WriteModule, new_patch: NewPatch) -> None:
        self.node, self.written, self.new_patch = write_module(NODE), write_module(FIX), new_patch

    def fix(self, *names: str) -> livepatch.Patch:
        fix = self.new_patch()
        for name in names or ("f", "g"):
            fix.replace(f"{self.node.__name__}:{name}")(getattr(self.written, name))
        return fix


@pytest.fixture
def scene(write_module: WriteModule, new_patch: NewPatch, monkeypatch: pytest.MonkeyPatch) -> Scene:
    made = Scene(write_module, new_patch)
    monkeypatch.setattr("livepatch.process.live.sys", FewModules(made.node, made.written))
    return made


@pytest.fixture
def structlog_as_it_was() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def _in_thread(action: Callable[[], object]) -> tuple[threading.Thread, list[BaseException]]:
    met: list[BaseException] = []

    def run() -> None:
        try:
            action()
        except BaseException as error:
            met.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, met


def test_threads_that_apply_at_once_all_get_in(scene: Scene) -> None:
    fixes = [scene.fix("f"), scene.fix("g"), scene.fix("during")]
    started = [_in_thread(lambda fix=fix: livepatch.apply(fix)) for fix in fixes]  # type: ignore[misc]
    for thread, _ in started:
        thread.join(30)
    assert [met for _, met in started] == [[], [], []]
    assert {status.id for status in livepatch.status()} == {fix.id for fix in fixes}
    assert (scene.node.f(), scene.node.g()) == ("new f", "new g")


def test_of_two_threads_with_one_patch_one_is_told_that_it_is_applied(scene: Scene) -> None:
    fix = scene.fix()
    started = [_in_thread(lambda: livepatch.apply(fix)) for _ in range(2)]
    for thread, _ in started:
        thread.join(30)
    errors = [error for _, met in started for error in met]
    assert len(errors) == 1
    assert isinstance(errors[0], livepatch.IncompatibleError)
    assert cycles.codes(errors[0].report) == ["already-applied"]
    assert livepatch.revert(fix.id).state == "reverted"


def test_a_second_thread_is_refused_when_its_time_is_up(scene: Scene, structlog_as_it_was: None) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def wait_inside(logger: object, method: str, event: dict[str, Any]) -> dict[str, Any]:
        inside.set()
        go_on.wait(30)
        raise structlog.DropEvent

    structlog.configure(processors=[wait_inside])
    thread, met = _in_thread(lambda: livepatch.apply(scene.fix("f")))
    assert inside.wait(30)
    with pytest.raises(livepatch.TransitionError, match="another thread") as caught:
        livepatch.apply(scene.fix("g"), timeout=0.05)
    assert caught.value.timeout == 0.05
    assert scene.node.g() == "old g"
    go_on.set()
    thread.join(30)
    assert met == []


def test_a_patched_function_may_apply_switch_and_revert(scene: Scene) -> None:
    fix = scene.fix("during", "f")
    assert scene.node.during(lambda: livepatch.apply(fix)) == "old during"
    assert scene.node.during(lambda: livepatch.flags.__setitem__(fix.flag, "off")) == "new during"
    assert scene.node.during(lambda: livepatch.flags.__setitem__(fix.flag, "on")) == "old during"
    assert scene.node.during(lambda: livepatch.revert(fix.id)) == "new during"
    assert scene.node.during(lambda: None) == "old during"


INSIDE: dict[str, Callable[[Scene, livepatch.Patch], object]] = {
    "apply": lambda scene, fix: livepatch.apply(scene.fix("g")),
    "check": lambda scene, fix: livepatch.check(scene.fix("g")),
    "revert": lambda scene, fix: livepatch.revert(fix.id),
    "flags": lambda scene, fix: livepatch.flags.__setitem__(fix.flag, "off"),
}


@pytest.mark.parametrize("inside", INSIDE)
def test_a_log_processor_that_switches_is_refused(scene: Scene, inside: str, structlog_as_it_was: None) -> None:
    fix = scene.fix("f")
    met: list[BaseException] = []

    def processor(logger: object, method: str, event: dict[str, Any]) -> dict[str, Any]:
        try:
            INSIDE[inside](scene, fix)
        except livepatch.LivepatchError as error:
            met.append(error)
        livepatch.status()
        assert livepatch.verify()
        raise structlog.DropEvent

    structlog.configure(processors=[processor])
    applied = livepatch.apply(fix)
    assert [type(error) for error in met] == [livepatch.TransitionError]
    assert "in the middle of a switch" in str(met[0])
    assert applied.mode == "on"
    assert (scene.node.f(), scene.node.g()) == ("new f", "old g")


def test_status_and_flags_can_be_read_while_others_switch(scene: Scene) -> None:
    fix, over = scene.fix("f"), scene.fix("f")
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            livepatch.status()
            list(livepatch.flags)
            repr(livepatch.verify())

    readers = [_in_thread(read) for _ in range(2)]
    for _ in range(3):
        livepatch.apply(fix)
        livepatch.apply(over, replaces=[fix.id])
        livepatch.flags[over.flag] = "off"
        livepatch.revert(over.id)
    stop.set()
    for thread, met in readers:
        thread.join(30)
        assert met == []


def test_looking_through_the_heap_breaks_no_tuple_that_another_thread_is_making(scene: Scene) -> None:
    """``tuple(generator)`` fails where somebody else holds the unfinished tuple, as gc.get_objects() does."""
    stop = threading.Event()

    def make_tuples() -> None:
        while not stop.is_set():
            tuple(str(i) for i in range(30))

    makers = [_in_thread(make_tuples) for _ in range(2)]
    fix = scene.fix("steps")
    suspended = scene.node.steps()
    next(suspended)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        applied = livepatch.apply(fix)
        for _ in range(10):
            assert applied.status().state == "draining"
            livepatch.check(scene.fix("during"))
        applied.revert()
    finally:
        sys.setswitchinterval(before)
        stop.set()
    for thread, met in makers:
        thread.join(30)
        assert met == []


# From a signal handler, and from a __del__


class Files:
    """Whether a code object is of one of our files of these names; asked at each event of a profile function."""

    def __init__(self, *names: str) -> None:
        self.names = names
        self.known: dict[int, tuple[bool, CodeType]] = {}

    def __contains__(self, code: CodeType) -> bool:
        known = self.known.get(id(code))
        if known is None:
            name = code.co_filename
            known = name.startswith(_OURS) and Path(name).stem in self.names, code
            self.known[id(code)] = known
        return known[0]


_STRUCK, _STOPPED = Files(*_CORE, *_LOOKERS), Files(*_CORE)


class Striker:
    """Strikes its own thread in the core, at each point when it first comes there, or at one point only."""

    def __init__(
        self, strike: Callable[[tuple[str, ...]], object] | None = None, only: tuple[str, ...] | None = None
    ) -> None:
        self.strike, self.only = strike, only
        self.seen: dict[tuple[str, ...], None] = {}

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        code = frame.f_code
        if code not in _STRUCK:
            return
        point = (code.co_qualname, event, getattr(argument, "__qualname__", "") if event.startswith("c_") else "")
        if point not in self.seen:
            self.seen[point] = None
            if self.strike is not None and self.only in (None, point):
                self.strike(point)

    def run(self, action: Callable[[], object]) -> None:
        sys.setprofile(self)
        try:
            action()
        finally:
            sys.setprofile(None)


class Intruder:
    """Applies, checks, switches and reverts other patches, without any lasting effect; keeps what it met."""

    def __init__(self, scene: Scene) -> None:
        self.applied, self.gone, self.new = scene.fix("steps"), scene.fix("steps"), scene.fix("during")
        livepatch.apply(self.applied)
        livepatch.apply(self.gone).revert()
        self.met: list[BaseException] = []
        self.done = 0

    def intrude(self, *_: object) -> None:
        for action in (self._apply, self._check, self._switch, self._revert, livepatch.status, self._verify):
            try:
                action()
                self.done += 1
            except BaseException as error:
                self.met.append(error)

    def _apply(self) -> None:
        livepatch.apply(self.new, timeout=0.2).revert()

    def _check(self) -> None:
        assert livepatch.check(self.new).ok

    def _switch(self) -> None:
        livepatch.flags[self.applied.flag] = "off"
        livepatch.flags[self.applied.flag] = "on"

    def _revert(self) -> None:
        assert livepatch.revert(self.gone.id).state == "reverted"

    @staticmethod
    def _verify() -> None:
        assert livepatch.verify()

    def complaints(self) -> list[str]:
        """What was met but for the clear refusals of a switch inside a switch, or before the last one has settled."""
        clear = ("in the middle of a switch", "is still draining")
        return [
            repr(error)
            for error in self.met
            if not isinstance(error, livepatch.TransitionError) or not any(text in str(error) for text in clear)
        ]


class Dying:
    def __init__(self, last_deed: Callable[[], object]) -> None:
        self.last_deed = last_deed

    def __del__(self) -> None:
        self.last_deed()


OPERATIONS: dict[str, Callable[[livepatch.Patch], object]] = {
    "apply": livepatch.apply,
    "off": lambda fix: livepatch.flags.__setitem__(fix.flag, "off"),
    "revert": lambda fix: livepatch.revert(fix.id),
}


def _begin(fix: livepatch.Patch, operation: str) -> None:
    if fix.id in [status.id for status in livepatch.status()]:
        livepatch.revert(fix.id)
    if operation != "apply":
        livepatch.apply(fix)


def _holds(scene: Scene, operation: str) -> bool:
    side = "new" if operation == "apply" else "old"
    return (scene.node.f(), scene.node.g()) == (f"{side} f", f"{side} g") and bool(livepatch.verify())


@pytest.fixture
def on_signal() -> Iterator[Callable[[Callable[..., object]], None]]:
    """Sets the handler of SIGALRM, which no test tool uses here."""
    before = signal.getsignal(signal.SIGALRM)
    yield lambda handler: signal.signal(signal.SIGALRM, handler) and None
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize(
    ("operation", "by"),
    [
        *((operation, "signal") for operation in OPERATIONS),
        *(pytest.param(each, "del", marks=[pytest.mark.slow] * (each != "off")) for each in OPERATIONS),
    ],
)
def test_what_strikes_in_the_middle_of_a_switch_is_told_so_and_does_no_harm(
    scene: Scene, operation: str, by: str, monkeypatch: pytest.MonkeyPatch, on_signal: Any
) -> None:
    monkeypatch.setattr("livepatch.process.applied._WAIT", 5.0)
    before = cycles.picture(scene.node)
    fix, intruder = scene.fix(), Intruder(scene)
    on_signal(intruder.intrude)

    problems = []

    def strike(point: tuple[str, ...]) -> None:
        if by == "signal":
            signal.raise_signal(signal.SIGALRM)
        else:
            Dying(intruder.intrude)
        problems.extend(f"{point}: {complaint}" for complaint in intruder.complaints())
        counts["refused"] += len(intruder.met)
        intruder.met.clear()

    counts = Counter[str]()
    _begin(fix, operation)
    striker = Striker(strike)
    striker.run(lambda: OPERATIONS[operation](fix))
    assert problems == []
    assert counts["refused"] > 100, "four refusals at each point inside the switch"
    assert intruder.done > 2 * len(striker.seen), "status and verify at each point, and the rest outside the switch"
    assert _holds(scene, operation)
    for status in livepatch.status():
        livepatch.revert(status.id)
    assert cycles.differences(before) == []


def test_a_timer_may_strike_anywhere(scene: Scene, monkeypatch: pytest.MonkeyPatch, on_signal: Any) -> None:
    monkeypatch.setattr("livepatch.process.applied._WAIT", 5.0)
    before = cycles.picture(scene.node)
    fix, intruder = scene.fix(), Intruder(scene)
    busy = False

    def strike(*_: object) -> None:
        nonlocal busy
        if not busy:  # a handler may be struck as well
            busy = True
            intruder.intrude()
            busy = False
        signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-5, 1e-3))

    random = Random(1)
    on_signal(strike)
    signal.setitimer(signal.ITIMER_REAL, 1e-4)
    for _ in range(2):
        for operation, operate in OPERATIONS.items():
            operate(fix)
            assert _holds(scene, operation)
    signal.setitimer(signal.ITIMER_REAL, 0)
    assert intruder.complaints() == []
    assert intruder.met, "no strike met a switch"
    livepatch.revert(intruder.applied.id)
    assert cycles.differences(before) == []


CACHED = """
    import functools

    class Answer:
        last_deed = None

        def __init__(self, side):
            self.side = side

        def __del__(self):
            if Answer.last_deed is not None:
                Answer.last_deed()

    @functools.lru_cache
    def cached():
        return Answer("old")

    def plain():
        return "old"
"""
UNCACHED = """
    def cached():
        return Answer("new")

    def plain():
        return "new"
"""


@pytest.mark.parametrize("operation", OPERATIONS)
def test_what_an_emptied_cache_gives_up_cannot_switch_in_the_very_flip(
    scene: Scene, write_module: WriteModule, operation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, written = write_module(CACHED), write_module(UNCACHED)
    monkeypatch.setattr("livepatch.process.live.sys", FewModules(scene.node, scene.written, node, written))
    intruder = Intruder(scene)
    fix = scene.new_patch()
    for name in ("cached", "plain"):
        fix.replace(f"{node.__name__}:{name}")(getattr(written, name))
    _begin(fix, operation)
    node.cached()
    monkeypatch.setattr(node.Answer, "last_deed", intruder.intrude)
    OPERATIONS[operation](fix)
    monkeypatch.setattr(node.Answer, "last_deed", None)
    assert len(intruder.met) == 4, "apply, check, flags and revert"
    assert intruder.complaints() == []
    side = "new" if operation == "apply" else "old"
    assert (node.cached().side, node.plain()) == (side, side)
    assert livepatch.verify()


def test_a_del_that_raises_in_the_very_flip_does_no_harm(
    write_module: WriteModule, new_patch: NewPatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, written = write_module(CACHED), write_module(UNCACHED)
    raised: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", raised.append)
    fix = new_patch()
    fix.replace(f"{node.__name__}:cached")(written.cached)
    node.cached()
    monkeypatch.setattr(node.Answer, "last_deed", lambda: 1 / 0)
    applied = livepatch.apply(fix)
    assert node.cached().side == "new"
    applied.revert()
    assert node.cached().side == "old"
    monkeypatch.setattr(node.Answer, "last_deed", None)
    assert [r.exc_type for r in raised] == [ZeroDivisionError, ZeroDivisionError]


# Looks that a switch overtakes

# Of the points at which something may happen: one in so many in the short form, and which ones differs by the case.
SHARES = [4, pytest.param(1, marks=pytest.mark.slow)]
LOOKS: dict[str, Callable[[livepatch.Patch], object]] = {
    "verify": lambda fix: None if livepatch.verify() else str(livepatch.verify()),
    "status": lambda fix: [str(s) for s in livepatch.status() if s.foreign or s.state == "reverted"] or None,
    "repr(flags)": lambda fix: None if repr(livepatch.flags) else "empty",
    "in flags": lambda fix: None if isinstance(fix.flag in livepatch.flags, bool) else "neither",
}


@pytest.mark.parametrize("one_of", SHARES)
@pytest.mark.parametrize("operation", ["off", "revert"])
@pytest.mark.parametrize("look", LOOKS)
def test_a_look_that_a_switch_overtakes_blames_nobody(scene: Scene, operation: str, look: str, one_of: int) -> None:
    fix = scene.fix()

    _begin(fix, operation)
    counted = Striker()
    counted.run(lambda: LOOKS[look](fix))
    assert counted.seen
    problems = []

    def run() -> None:
        try:
            said = LOOKS[look](fix)
        except Exception as error:
            said = repr(error)
        if said is not None:
            problems.append(said)

    for point in [*counted.seen][len(look) % one_of :: one_of]:
        _begin(fix, operation)
        Striker(lambda _: OPERATIONS[operation](fix), only=point).run(run)
    assert problems == []


# Across a fork


class Stopper:
    """Holds its thread where a function of the core returns for the first time, until it is let go."""

    def __init__(self, code: CodeType | None) -> None:
        self.code, self.where = code, ""
        self.seen: dict[CodeType, None] = {}
        self.stopped, self.go_on = threading.Event(), threading.Event()

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        code = frame.f_code
        if event != "return" or code not in _STOPPED:
            return
        self.seen[code] = None
        if code is self.code and not self.where:
            self.where = code.co_qualname
            self.stopped.set()
            self.go_on.wait(30)

    def run(self, action: Callable[[], object]) -> None:
        sys.setprofile(self)
        try:
            action()
        finally:
            sys.setprofile(None)
            self.stopped.set()


def _child(action: Callable[[], None]) -> str:
    """What a forked child has to complain of."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # fork with threads is what this is about
        pid = os.fork()
    if pid == 0:
        try:
            action()
        except BaseException:
            os.write(writer, traceback.format_exc().encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, encoding="utf-8") as pipe:
        said = pipe.read()
    os.waitpid(pid, 0)
    return said


def test_a_child_has_the_patch_and_may_revert_it_by_itself(scene: Scene) -> None:
    before = cycles.picture(scene.node)
    applied = livepatch.apply(scene.fix())

    def child() -> None:
        assert (scene.node.f(), scene.node.g()) == ("new f", "new g")
        assert livepatch.verify()
        assert applied.revert().state == "reverted"
        assert (scene.node.f(), scene.node.g()) == ("old f", "old g")
        assert cycles.differences(before) == []

    assert _child(child) == ""
    assert (scene.node.f(), scene.node.g()) == ("new f", "new g")
    assert applied.mode == "on"


@pytest.mark.parametrize("one_of", SHARES)
@pytest.mark.parametrize("operation", ["apply", "off", "revert"])
def test_a_child_forked_in_the_middle_of_anothers_switch_is_whole(scene: Scene, operation: str, one_of: int) -> None:
    fix = scene.fix()
    fix.add(scene.node.__name__, ADDED=1)
    before = cycles.picture(scene.node)
    actions = {
        "apply": lambda: livepatch.apply(fix),
        "off": lambda: livepatch.flags.__setitem__(fix.flag, "off"),
        "revert": lambda: livepatch.revert(fix.id),
    }

    def child() -> None:
        applied = [status.id for status in livepatch.status()]
        on = bool(applied) and livepatch.flags[fix.flag] == "on"
        assert livepatch.verify()
        assert (scene.node.f(), scene.node.g()) == (("new f", "new g") if on else ("old f", "old g"))
        assert hasattr(scene.node, "ADDED") is on
        for patch_id in applied:
            livepatch.revert(patch_id)
        again = livepatch.apply(fix, timeout=10)
        assert (scene.node.f(), scene.node.g()) == ("new f", "new g")
        again.revert()
        assert again.wait(10)  # what the lost thread referred to stays referred to
        assert cycles.differences(before) == []

    def begin() -> None:
        for status in livepatch.status():
            livepatch.revert(status.id)
        if operation != "apply":
            livepatch.apply(fix)

    begin()
    counted = Stopper(None)
    counted.run(actions[operation])
    assert len(counted.seen) > 5
    problems = []
    for code in [*counted.seen][len(operation) % one_of :: one_of]:
        begin()
        stopper = Stopper(code)
        thread, met = _in_thread(lambda: stopper.run(actions[operation]))  # noqa: B023  # ends within the loop
        assert stopper.stopped.wait(30)
        said = _child(child)
        stopper.go_on.set()
        thread.join(30)
        assert met == []
        if said:
            problems.append(f"forked at the return of {stopper.where}: {said.strip().splitlines()[-1]}")
    assert problems == []


# In a process of its own: at its end, and with an audit hook, which stays for good

_PATH = (Path(livepatch.__file__).parents[1], Path(__file__).parents[2])
_ALONE = """
    import operator, sys, threading
    import structlog
    import livepatch
    import specimen_node as node, specimen_fix as written
    from livepatch.process import live
    from tests.few_modules import FewModules

    def drop(logger, method, event):
        raise structlog.DropEvent

    structlog.configure(processors=[drop])
    live.sys = FewModules(node, written)

    def patch(*names, id="FIX"):
        fix = livepatch.Patch(id, package="specimen", versions="==1.0")
        for name in names:
            fix.replace(f"specimen_node:{name}")(getattr(written, name))
        return fix
"""


def _alone(distribution: Path, node: str, fix: str, script: str) -> subprocess.CompletedProcess[str]:
    for name, text in (("specimen_node", node), ("specimen_fix", fix)):
        (distribution / f"{name}.py").write_text(textwrap.dedent(text), encoding="utf-8")
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(_ALONE) + textwrap.dedent(script)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (*_PATH, distribution)))},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


ENDS = {
    "with a patch applied": """
        livepatch.apply(patch("f", "g", "steps"))
    """,
    "with calls in flight on the old side": """
        suspended = node.steps()
        next(suspended)
        applied = livepatch.apply(patch("f", "steps"))
        assert applied.status().state == "draining"
    """,
    "reverting in atexit": """
        import atexit

        def end():
            applied.revert()
            assert node.f() == "old f"
            assert livepatch.status() == ()

        atexit.register(end)
        applied = livepatch.apply(patch("f", "g"))
        assert node.f() == "new f"
    """,
    "applying and switching in atexit": """
        import atexit

        def end():
            applied = livepatch.apply(patch("f", "g"))
            assert node.f() == "new f"
            applied.mode = "off"
            assert node.f() == "old f"
            assert livepatch.verify()

        atexit.register(end)
    """,
    "from inside a patched function": """
        livepatch.apply(patch("during"))
        node.during(sys.exit)
    """,
    "while a daemon thread switches": """
        import time
        fix = patch("f", "g")

        def to_and_fro():
            while True:
                livepatch.apply(fix).revert()

        threading.Thread(target=to_and_fro, daemon=True).start()
        time.sleep(0.2)
    """,
    "while daemon threads call": """
        import time
        rest = 0.002

        def call():
            while True:
                node.f(), list(node.steps())
                time.sleep(rest)

        for _ in range(3):
            threading.Thread(target=call, daemon=True).start()
        livepatch.apply(patch("f", "steps"))
        rest = 0
        time.sleep(0.1)
    """,
    "while a thread that outlives the main one switches": """
        import time
        fix = patch("f", "g")

        def later():
            time.sleep(0.2)
            applied = livepatch.apply(fix)
            assert node.f() == "new f"
            applied.revert()
            assert node.f() == "old f"

        threading.Thread(target=later).start()
    """,
    "waiting for a drain in a daemon thread": """
        import time
        suspended = node.steps()
        next(suspended)
        applied = livepatch.apply(patch("steps"))
        threading.Thread(target=applied.wait, daemon=True).start()
        time.sleep(0.1)
    """,
    "reverting in a __del__ at shutdown": """
        class Guard:
            def __init__(self, applied):
                self.revert, self.function, self.write = applied.revert, node.f, sys.__stdout__.write

            def __del__(self):
                self.revert()
                self.write(self.function())

        guard = Guard(livepatch.apply(patch("f", "g")))
        guard.itself = guard
    """,
    "looking in a __del__ at shutdown": """
        class Guard:
            def __init__(self, applied):
                self.looks = [applied.status, livepatch.status, livepatch.verify, livepatch.flags.__len__]

            def __del__(self):
                for look in self.looks:
                    look()

        guard = Guard(livepatch.apply(patch("f", "g")))
        guard.itself = guard
    """,
}


@pytest.mark.parametrize("end", ENDS)
def test_a_process_ends_quietly(distribution: Path, end: str) -> None:
    done = _alone(distribution, NODE, FIX, ENDS[end])
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == ("old f" if "__del__" in end and "reverting" in end else "")


SIXTEEN = "\n".join(f"def f{i}(x=0):\n    return 'SIDE'" for i in range(16))
HOOKED = """
    import time
    PAUSE = 0
    heard = []

    def hook(event, arguments):  # in Python, so that other threads may run between two stores
        if event == "object.__setattr__" and arguments[1] == "__code__":
            heard.append(event)
            time.sleep(PAUSE)  # lets them

    sys.addaudithook(hook)
    sys.setswitchinterval(1e-5)
    NAMES = [f"f{i}" for i in range(16)]
    functions = [getattr(node, name) for name in NAMES]
    started = ended = 0
    stop = threading.Event()
    problems, looked = [], []

    def read():
        while not stop.is_set():
            before = ended
            answers = list(map(operator.call, functions))
            after = started
            # The switch after an even number of them brings the new side, the other the old.
            one, other = ("old", "new") if before % 2 == 0 else ("new", "old")
            changes = sum(map(operator.ne, answers, answers[1:]))
            looked.append(changes)
            if changes > after - before or (after == before and answers[0] != one):
                problems.append((before, after, answers))
            if after - before == 1 and answers != [one] * answers.count(one) + [other] * answers.count(other):
                problems.append((before, after, answers))

    def verify():
        while not stop.is_set():
            verification = livepatch.verify()
            if not verification:
                problems.append(str(verification))
            for status in livepatch.status():
                if status.foreign:
                    problems.append(str(status))
            looked.append(1)

    def watched(switch, looks):
        global started, ended
        threads = [threading.Thread(target=target) for target in looks]
        for thread in threads:
            thread.start()
        try:
            for i in range(12):
                started += 1
                switch(i)
                ended += 1
        finally:
            stop.set()
            for thread in threads:
                thread.join()
"""
THROUGH_US = """
    originals = [function.__code__ for function in functions]
    applied = livepatch.apply(patch(*NAMES), mode="off")
    assert [(f.severity, f.code) for f in applied.report.findings if f.code == "audit-hook"] == [("info", "audit-hook")]

    def switch(i):
        applied.mode = ("on", "off")[i % 2]

    watched(switch, LOOKS)
    assert heard
    assert looked
    assert applied.wait(10)
    left = [function.__code__ for function in functions]
    assert all(map(operator.is_, left, originals)), "the plain code, not dispatch code, is left in place"
    applied.revert()
    print(len(problems), *problems[:3])
"""
BARE = """
    import collections
    codes = [[function.__code__ for function in functions], [getattr(written, name).__code__ for name in NAMES]]

    def switch(i):
        for index in range(16):
            functions[index].__code__ = codes[(i + 1) % 2][index]

    watched(switch, [read] * 4)
    print(len(problems))
"""


def _under_a_hook(distribution: Path, script: str) -> str:
    sides = (SIXTEEN.replace("SIDE", "old"), SIXTEEN.replace("SIDE", "new"))
    done = _alone(distribution, *sides, textwrap.dedent(HOOKED) + textwrap.dedent(script))
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


def test_under_an_audit_hook_bodies_are_switched_with_no_mixed_answers(distribution: Path) -> None:
    assert _under_a_hook(distribution, THROUGH_US.replace("LOOKS", "[read] * 4")) == "0"


def test_the_same_readers_see_bare_stores_under_an_audit_hook(distribution: Path) -> None:
    assert int(_under_a_hook(distribution, BARE)) > 0


def test_while_it_is_switched_under_an_audit_hook_verify_blames_nobody(distribution: Path) -> None:
    assert (
        _under_a_hook(distribution, "PAUSE = 0.0005\n" + textwrap.dedent(THROUGH_US.replace("LOOKS", "[verify]")))
        == "0"
    )


def test_changed_defaults_come_with_their_bodies_under_an_audit_hook(distribution: Path) -> None:
    """The stores of code and defaults can be seen apart there, and yet no call gets the one without the other."""
    script = """
        codes = [(function.__code__, function.__defaults__) for function in functions]
        applied = livepatch.apply(patch(*NAMES), mode="off")
        seen = set()

        def look(event, args):
            if event == "object.__setattr__":
                seen.update((function(), function.__name__ in NAMES) for function in functions)

        sys.addaudithook(look)
        for i in range(20):
            applied.mode = ("on", "off")[i % 2]
            assert applied.wait(10)
        applied.revert()
        assert applied.wait(10)
        assert codes == [(function.__code__, function.__defaults__) for function in functions]
        print(sorted(seen))
    """
    body = "def f{0}(x=0): return {1!r}, x\n"
    old = "".join(body.format(i, "old") for i in range(16))
    new = "".join(body.format(i, "new").replace("x=0", "x=1") for i in range(16))
    done = _alone(distribution, old, new, textwrap.dedent(HOOKED) + textwrap.dedent(script))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() == repr([(("new", 1), True), (("old", 0), True)])
