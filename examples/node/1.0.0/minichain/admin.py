"""A socket in the data folder over which patches go in and out.  Only the user of the process may open it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import livepatch

LARGEST = 64 << 10


class Admin:
    """Takes one JSON object a line, and answers with one."""

    def __init__(
        self, path: Path, trust: str, height: Callable[[], int], same_patches: Callable[[], dict[str, bool | None]]
    ) -> None:
        self._path = path
        self._trust = trust
        self._height = height
        self._same_patches = same_patches
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Open the socket."""
        self._path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, self._path, limit=LARGEST, start_serving=False)
        self._path.chmod(0o600)  # nobody is served before
        await self._server.start_serving()

    async def stop(self) -> None:
        """Close it."""
        if self._server is not None:
            self._server.close()
            self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                answer = await asyncio.to_thread(self._answer, line)
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        except (OSError, ValueError, EOFError):
            pass  # whoever asked has gone, or sends no lines
        finally:
            writer.close()

    def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(line)
            match request["do"]:
                case "apply":
                    return {"status": self._apply(**request["with"])}
                case "revert":
                    return {"status": livepatch.revert(**request["with"]).to_dict()}
                case "status":
                    patches = [status.to_dict() for status in livepatch.status()]
                    return {"patches": patches, "same_patches": self._same_patches()}
            raise ValueError("apply, revert or status")  # every wrong request ends below
        except livepatch.LivepatchError as error:
            told = {"kind": type(error).__name__, "found": error.found, "expected": error.expected}
            return {"error": told | {"do": error.action}}
        except (ValueError, KeyError, TypeError) as error:
            return {"error": {"kind": type(error).__name__, "found": str(error)}}

    def _apply(self, file: str, at: int | None = None) -> dict[str, Any]:
        trust: object = livepatch.UNSIGNED
        if self._trust != "UNSIGNED":
            trust = livepatch.TrustRoot.load(self._trust, state=self._path.with_name("trust-state.json"))
        mode = "on" if at is None else livepatch.at(at, self._height)
        return livepatch.apply(file, mode=mode, trust=trust).status().to_dict()
