"""The shared state of many machines: a key-value bucket of NATS JetStream (extra ``nats``)."""

from __future__ import annotations

import asyncio
import contextlib
import io
import math
import struct
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from livepatch.errors import LivepatchError, StateError, spelled
from livepatch.fleet.mirror import Mirror
from livepatch.fleet.state import (
    ABSENT,
    LARGEST_FILE,
    Entry,
    check_digest,
    check_file,
    check_key,
    check_value,
    lost,
)

if TYPE_CHECKING:
    from nats.js.kv import KeyValue
    from nats.js.object_store import ObjectStore

__all__ = ["NatsStore"]

T = TypeVar("T")

_EXPIRY = struct.Struct(">d")  # before each value: seconds of the epoch at which it is too old
_WRONG_SEQUENCE = 10071  # JetStream's code for "another revision than the one expected"


class NatsStore:
    """A :class:`~livepatch.fleet.state.Store` in a bucket, which is made if it is not there.

    `servers` and `options` are those of ``nats.connect``: ``user_credentials`` or ``user`` and ``password`` say who it
    is, ``tls`` (an ``ssl.SSLContext``) whom it trusts.  Every call waits for the server, `timeout` seconds at most.
    `clock` tells seconds of the epoch, for keys that expire: the clocks of all machines have to agree as far as a ttl
    has to be kept.  Threads may share it.  Raises :class:`StateError` if the server cannot be used.

    Every machine keeps a mirror of the bucket, or of the keys that begin with `only` and ``/``: then the others can be
    written, if nothing is compared, and not read.  Before it answers it asks the server for the newest revision, and
    waits until the mirror has it.  Files are in an object store beside the bucket.
    """

    def __init__(
        self,
        servers: str | Sequence[str],
        *,
        bucket: str = "livepatch",
        only: str = "",
        clock: Callable[[], float] = time.time,
        timeout: float = 10.0,
        **options: Any,
    ) -> None:
        try:
            import nats
        except ImportError as error:
            raise StateError(
                "a NATS server cannot be used here",
                found=f"no nats-py ({error})",
                expected="the extra nats",
                action="pip install 'livepatch[nats]'",
            ) from error
        self._nats = nats
        self._servers = [servers] if isinstance(servers, str) else list(servers)
        self._bucket = bucket
        self._only = check_key(only) + "/" if only else ""
        self._clock = clock
        self._timeout = timeout
        self._mirror = Mirror()
        self._grown = asyncio.Event()
        self._pump: asyncio.Task[None] | None = None
        self._closed = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="livepatch-nats", daemon=True)
        self._thread.start()
        try:
            self._call(self._open(options))
        except BaseException:
            self.close()
            raise

    def get(self, key: str) -> Entry | None:
        """See :class:`~livepatch.fleet.state.Store`."""
        self._check(key)
        return self._call(self._get(key))

    def put(self, key: str, value: bytes, *, expected: int | None, ttl: float | None = None) -> int | None:
        """See :class:`~livepatch.fleet.state.Store`."""
        check_key(key) if expected is None else self._check(key)
        check_value(value, ttl)
        return self._call(self._put(key, value, expected, ttl))

    def delete(self, key: str, *, expected: int | None) -> bool:
        """See :class:`~livepatch.fleet.state.Store`."""
        self._check(key)
        return self._call(self._delete(key, expected))

    def entries(self, prefix: str) -> Sequence[Entry]:
        """See :class:`~livepatch.fleet.state.Store`."""
        self._check(prefix, prefix=True)
        return self._call(self._entries(prefix))

    def changes(self, prefix: str, after: int, *, timeout: float = 0.0) -> Sequence[Entry]:
        """See :class:`~livepatch.fleet.state.Store`."""
        self._check(prefix, prefix=True)
        return self._call(self._changes(prefix, after, timeout), extra=timeout)

    def keep(self, data: bytes) -> str:
        """See :class:`~livepatch.fleet.state.Store`."""
        digest = check_file(data)
        self._call(self._keep(digest, data))
        return digest

    def fetch(self, digest: str) -> bytes | None:
        """See :class:`~livepatch.fleet.state.Store`."""
        data = self._call(self._fetch(check_digest(digest)))
        if data is not None and check_file(data) != digest:
            raise lost(digest, "other bytes")
        return data

    def close(self) -> None:
        """See :class:`~livepatch.fleet.state.Store`."""
        if self._closed:
            return
        self._closed = True
        future = asyncio.run_coroutine_threadsafe(self._shut(), self._loop)
        # A server that does not answer is let go of all the same, and so is a connection that its library cannot close:
        # one that broke at this very moment raises what nobody documents.
        with contextlib.suppress(Exception):
            future.result(self._timeout)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(self._timeout)
        if not self._thread.is_alive():
            self._loop.close()

    def _check(self, key: str, *, prefix: bool = False) -> None:
        check_key(key, prefix=prefix)
        if not key.startswith(self._only):
            raise StateError(
                "this key cannot be read here; nothing has changed",
                found=spelled(key),
                expected=f"one that begins with {self._only}, as this store was opened for",
                action="open the store for all keys",
            )

    def _call(self, coroutine: Coroutine[Any, Any, T], *, extra: float = 0.0) -> T:
        with self._telling():
            if self._closed:
                coroutine.close()
                raise OSError("the store is closed")
            future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
            try:
                return future.result(self._timeout * 3 + extra)
            except TimeoutError:
                future.cancel()
                raise

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except LivepatchError:
            raise
        except Exception as error:  # losing a connection, the library raises more than errors of its own
            raise StateError(
                "the store cannot be used; nothing is known to have changed",
                found=f"bucket {self._bucket}: {spelled(str(error) or type(error).__name__)}",
                expected="a NATS server with JetStream that lets this user in",
                action="see that the server runs, and that servers, user and TLS are right",
            ) from error

    # In the loop

    async def _open(self, options: dict[str, Any]) -> None:
        from nats.js.errors import NotFoundError

        async def quiet(_: Exception) -> None:
            """What goes wrong is told by the call that it goes wrong for."""

        usual = {"connect_timeout": self._timeout, "allow_reconnect": True, "max_reconnect_attempts": -1}
        connecting = self._nats.connect(self._servers, **{**usual, "error_cb": quiet, **options})
        self._connection = await asyncio.wait_for(connecting, self._timeout)
        self._stream = self._connection.jetstream(timeout=self._timeout)
        try:
            self._keys: KeyValue = await self._stream.key_value(self._bucket)
        except NotFoundError:
            self._keys = await self._stream.create_key_value(bucket=self._bucket, history=1)
        # A watch takes what matches a pattern, whose parts end at dots.
        self._pattern = f"{_subject(self._only)}>"
        self._pump = asyncio.ensure_future(self._mirroring())

    async def _shut(self) -> None:
        try:
            if hasattr(self, "_connection"):
                await self._connection.close()
        finally:
            await _ended(task for task in asyncio.all_tasks() if task is not asyncio.current_task())

    async def _mirroring(self) -> None:
        """Take over what changes, from the newest of each key on."""
        watcher: Any = await self._keys.watch(self._pattern)
        while True:
            try:
                entry = await watcher.updates(timeout=3600)
            except self._nats.errors.TimeoutError:
                continue
            if entry is None or entry.revision is None:
                continue
            key, data = entry.key.replace(".", "/"), entry.value or b""
            if entry.operation or len(data) < _EXPIRY.size:
                self._mirror.take(key, None, math.inf, entry.revision)
            else:
                until: float = _EXPIRY.unpack_from(data)[0]
                self._mirror.take(key, data[_EXPIRY.size :], until, entry.revision)
            self._grown.set()

    async def _level(self) -> None:
        """Wait until the mirror has what the server has.  A watch that has died with a server is begun again."""
        newest = await self._newest()
        try:
            await asyncio.wait_for(self._reaching(newest), self._timeout / 2)
        except TimeoutError:
            await _ended([self._pump] if self._pump else [])
            self._pump = asyncio.ensure_future(self._mirroring())
            await asyncio.wait_for(self._reaching(newest), self._timeout)
        await self._expire()

    async def _newest(self) -> int:
        """The server's newest revision of what is mirrored."""
        stream = f"KV_{self._bucket}"
        if not self._only:
            return (await self._stream.stream_info(stream)).state.last_seq
        try:
            found = await self._stream.get_last_msg(stream, f"$KV.{self._bucket}.{self._pattern}")
        except self._nats.js.errors.NotFoundError:
            return 0
        return found.seq or 0

    async def _reaching(self, revision: int) -> None:
        while self._mirror.reached < revision:
            self._grown.clear()
            await self._grown.wait()

    async def _expire(self) -> None:
        """What is too old is gone, as a change that everybody is told of: whoever sees it first deletes it."""
        old = self._mirror.expired(self._clock())
        for key, revision in old:
            await self._remove(key, revision)
        if old:
            await asyncio.wait_for(self._reaching(await self._newest()), self._timeout)

    async def _remove(self, key: str, revision: int) -> bool:
        return bool(await self._compared(self._keys.delete(_subject(key), last=revision)))

    async def _compared(self, writing: Coroutine[Any, Any, T]) -> T | None:
        """What the server writes if the revision is the one expected; nothing if it is another one."""
        errors = self._nats.js.errors
        try:
            return await writing
        except errors.KeyWrongLastSequenceError:
            return None
        except errors.APIError as error:
            if error.err_code != _WRONG_SEQUENCE:
                raise
            return None

    async def _get(self, key: str) -> Entry | None:
        await self._level()
        return self._mirror.get(key)[0]

    async def _put(self, key: str, value: bytes, expected: int | None, ttl: float | None) -> int | None:
        data = _EXPIRY.pack(math.inf if ttl is None else self._clock() + ttl) + value
        if expected is None:
            return await self._keys.put(_subject(key), data)
        await self._level()
        entry, last = self._mirror.get(key)
        if expected != (entry.revision if entry else ABSENT):
            return None
        return await self._compared(self._keys.update(_subject(key), data, last=last))

    async def _delete(self, key: str, expected: int | None) -> bool:
        await self._level()
        entry, last = self._mirror.get(key)
        if entry is None or expected not in (None, last):
            return False
        return await self._remove(key, last)

    async def _entries(self, prefix: str) -> list[Entry]:
        await self._level()
        return self._mirror.below(prefix)

    async def _changes(self, prefix: str, after: int, timeout: float) -> list[Entry]:  # noqa: ASYNC109  # the Protocol's
        await self._level()
        until = self._loop.time() + timeout
        while True:
            found = self._mirror.since(prefix, after)
            left = until - self._loop.time()
            if found or left <= 0:
                return found
            self._grown.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._grown.wait(), min(left, 1.0))
            await self._expire()

    async def _files(self, *, make: bool) -> ObjectStore | None:
        from nats.js.errors import NotFoundError

        name = f"{self._bucket}-files"
        try:
            return await self._stream.object_store(name)
        except NotFoundError:
            return await self._stream.create_object_store(name) if make else None

    async def _keep(self, digest: str, data: bytes) -> None:
        files = await self._files(make=True)
        assert files is not None
        await files.put(digest, data)

    async def _fetch(self, digest: str) -> bytes | None:
        from nats.js.errors import NotFoundError

        files, found = await self._files(make=False), _Bounded(digest)
        if files is None:
            return None
        try:
            await files.get(digest, writeinto=found)
        except NotFoundError:
            return None
        return found.getvalue()


class _Bounded(io.BytesIO):
    """Takes up no more than the largest file, whatever the server says of its size."""

    def __init__(self, digest: str) -> None:
        super().__init__()
        self._digest = digest

    def write(self, data: Any) -> int:
        if self.tell() + len(data) > LARGEST_FILE:
            raise lost(self._digest, f"more than {LARGEST_FILE} bytes")
        return super().write(data)


def _subject(key: str) -> str:
    """The key as the server has it.  No key has a dot."""
    return key.replace("/", ".")


async def _ended(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """End tasks that may let a first cancellation pass."""
    left = set(tasks)
    for _ in range(20):
        for task in left:
            task.cancel()
        if left:
            _, left = await asyncio.wait(left, timeout=0.1)
