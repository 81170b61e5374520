"""Checkpoints: what a migration will change is saved before, as bytes that hold values and no code."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from livepatch.errors import PatchError, StateError, counted, spelled

__all__ = ["Checkpoint"]

_LIMIT = 256 * 2**20


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What is saved of the data before a migration, and how it is brought back.

    ``save(obj)`` gives what the migration will change of an object, and ``restore(obj, saved)`` puts it back; without
    objects they are ``save()`` and ``restore(saved)``, and a snapshot function of the program's own may be one of them.
    What `save` gives is encoded by `encode`, which gives bytes, and decoded by `decode`; without them it must be plain:
    ``None``, bool, int, float, str, bytes, and lists and dicts of these.  Nothing is pickled.

    It is kept in memory or in `directory`, and is at most `limit` bytes long, or the migration fails with nothing
    changed.  `on_revert`: whether it is brought back when the patch is taken out, after ``down``; if not, only when the
    migration fails half-way.  Raises :class:`TypeError` or :class:`PatchError`, naming the argument.
    """

    save: Callable[..., Any]
    restore: Callable[..., object]
    encode: Callable[[Any], bytes] | None = None
    decode: Callable[[bytes], Any] | None = None
    directory: str | os.PathLike[str] | None = None
    limit: int = _LIMIT
    on_revert: bool = True

    def __post_init__(self) -> None:
        for argument in ("save", "restore"):
            if not callable(getattr(self, argument)):
                raise TypeError(f"{argument} must be a function, not {spelled(getattr(self, argument))}")
        for argument in ("encode", "decode"):
            value = getattr(self, argument)
            if value is not None and not callable(value):
                raise TypeError(f"{argument} must be a function or None, not {spelled(value)}")
        if (self.encode is None) != (self.decode is None):
            raise PatchError(
                "encode and decode belong together",
                found="one of them",
                expected="both, or none",
                action="give the other one as well, or leave both out",
            )
        if self.directory is not None and not isinstance(self.directory, (str, os.PathLike)):
            raise TypeError(f"directory must be a path or None, not {spelled(self.directory)}")
        if isinstance(self.limit, bool) or not isinstance(self.limit, int):
            raise TypeError(f"limit must be a number of bytes, not {spelled(self.limit)}")
        if self.limit <= 0:
            raise PatchError(
                "limit is no size",
                found=spelled(self.limit),
                expected="1 byte or more",
                action="say how many bytes a checkpoint may take at most",
            )

    @classmethod
    def of(cls, value: object) -> Checkpoint | None:
        """The checkpoint that is given, or one of a pair ``(save, restore)``.  Raises :class:`TypeError`."""
        if value is None or isinstance(value, cls):
            return value
        if isinstance(value, tuple) and len(value) == 2:
            return cls(*value)
        raise TypeError(
            f"checkpoint must be a livepatch.Checkpoint, a pair (save, restore) or None, not {spelled(value)}"
        )

    @property
    def place(self) -> Path | None:
        """The directory that it is kept in; ``None``: memory, or the state directory if it must outlive the process."""
        return None if self.directory is None else Path(self.directory)

    def encoded(self, value: object) -> bytes:
        """What was saved, as bytes.  Raises :class:`StateError` for what cannot be written without loss."""
        if self.encode is not None:
            data = self.encode(value)
            if not isinstance(data, bytes):
                raise StateError(
                    "the encoder of the checkpoint gives no bytes",
                    found=spelled(data),
                    expected="bytes, which decode reads",
                    action="correct encode=",
                )
            return data
        import msgpack

        try:
            packed: bytes = msgpack.packb(value, strict_types=True, default=_refuse)
        except (OverflowError, ValueError) as error:
            raise StateError(
                "what the checkpoint saves cannot be written",
                found=f"{type(error).__name__}: {error}",
                expected="plain values, integers of 64 bits at most among them",
                action="let save give less, or give encode= and decode=",
            ) from error
        return packed

    def decoded(self, data: bytes) -> Any:
        """What was encoded."""
        if self.decode is not None:
            return self.decode(data)
        import msgpack

        return msgpack.unpackb(data, strict_map_key=False, raw=False)

    def too_large(self, size: int) -> StateError | None:
        """The error for more bytes than there may be."""
        if size <= self.limit:
            return None
        return StateError(
            "the checkpoint would be too large",
            found=f"more than {counted(self.limit, 'byte')}",
            expected=f"limit={self.limit} or less",
            action="save only what up changes, or raise limit=",
        )


def _refuse(value: object) -> object:
    raise StateError(
        "what the checkpoint saves cannot be written without loss",
        found=spelled(value),
        expected="None, bool, int, float, str, bytes, and lists and dicts of these",
        action="let save give plain values, or give encode= and decode=",
    )
