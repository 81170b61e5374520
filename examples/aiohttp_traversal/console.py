"""The operator's side of the server: its process, its commands and what it says of itself."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from results import Request
from story import milliseconds

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from story import Story

GRACE = 2.0  # seconds for a process to end when it is asked to
LONGEST_LINE = 2**26  # bytes: the load gives its whole record as one line


@dataclass(frozen=True, slots=True)
class Step:
    """One call of the library in the server, and when, by the clock that all processes share.

    The call returned at `ended`. If it switched something, no call was left on the other side by `settled`.
    """

    name: str
    began: float
    ended: float
    settled: float


class Server:
    """The node's process, its operator's console, and what it says of itself."""

    def __init__(self, process: asyncio.subprocess.Process, story: Story) -> None:
        assert process.stdin is not None, "the server is started with all streams piped"
        assert process.stdout is not None, "see above"
        assert process.stderr is not None, "see above"
        self._process = process
        self._console = process.stdin
        self._answers = process.stdout
        self._complaints = process.stderr
        self._story = story
        self.checks: list[Step] = []
        self.switches: list[Step] = []
        self.events: list[dict[str, Any]] = []

    async def started(self) -> tuple[str, int]:
        """Wait until it serves, and return where."""
        where = await self._answer()
        return where["host"], where["port"]

    async def ask(self, what: str, **details: object) -> dict[str, Any]:
        """Give one command and wait for its answer."""
        self._console.write(json.dumps({"do": what, **details}).encode() + b"\n")
        return await self._answer()

    async def check(self, **details: object) -> None:
        """Have the patch checked against the process, and tell what the report says."""
        answer = await self.ask("check", **details)
        self.checks.append(Step("check", answer["began"], answer["ended"], answer["settled"]))
        self._story.tell("check", answer.get("report") or answer.get("error", ""))
        self._story.claim(answer.get("ok") is True, "check: the patch fits this process")

    async def switch(self, name: str, what: str, **details: object) -> None:
        """Give a command that changes the process, tell how long it took, and keep it."""
        answer = await self.ask(what, **details)
        step = Step(name, answer["began"], answer["ended"], answer["settled"])
        self.switches.append(step)
        took = f"live after {milliseconds(step.ended - step.began)}, under load"
        self._story.tell(name, answer.get("error", took))
        self._story.claim("error" not in answer and answer["done"], f"{name}: done, and settled")

    async def relay_events(self) -> None:
        """Show the process's events, which it writes as JSON; anything else on standard error as it is."""
        async for line in self._complaints:
            try:
                event = json.loads(line)
                name = event.pop("event")
            except (ValueError, LookupError, AttributeError):
                self._story.tell("stderr", line.decode(errors="replace").rstrip())
            else:
                self.events.append({"event": name, **event})
                details = (f"{key}={value}" for key, value in event.items() if key not in {"patch", "flag"})
                self._story.tell("event", " ".join([name, *details]))

    async def _answer(self) -> dict[str, Any]:
        line = await self._answers.readline()
        if not line:
            raise EOFError(f"the server ended with status {await self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer


class Load:
    """The process of the clients."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None, "the clients are started with both streams piped"
        assert process.stdout is not None, "see above"
        self._stop = process.stdin
        self._record = process.stdout
        self.pid = process.pid

    async def stop(self) -> tuple[list[Request], int]:
        """End the load; return its requests and how many connections they took."""
        self._stop.write(b"stop\n")
        record = json.loads(await self._record.readline())
        return [Request(*each) for each in record["requests"]], record["connections"]


@asynccontextmanager
async def process(
    script: Path, *arguments: object, stderr: int | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a Python script that does not outlive the block, spoken to through standard input and output."""
    pipe = asyncio.subprocess.PIPE
    started = await asyncio.create_subprocess_exec(
        sys.executable, script, *map(str, arguments), stdin=pipe, stdout=pipe, stderr=stderr, limit=LONGEST_LINE
    )
    assert started.stdin is not None, "it was piped"
    try:
        yield started
    finally:
        started.stdin.close()  # which asks it to end
        try:
            await asyncio.wait_for(started.wait(), GRACE)
        except TimeoutError:
            started.kill()
            await started.wait()


@asynccontextmanager
async def serve(script: Path, directory: Path, story: Story) -> AsyncIterator[Server]:
    """Run the node's process, and show what it says of itself to its last word."""
    relay = None
    try:
        async with process(script, directory, stderr=asyncio.subprocess.PIPE) as started:
            server = Server(started, story)
            relay = asyncio.create_task(server.relay_events())
            yield server
    finally:
        if relay is not None:
            await relay  # the process has ended, and so has its standard error
