"""What a patch is known by in the record."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from functools import cached_property
from types import FunctionType

from livepatch.bundle import codec
from livepatch.contents.changes import Addition, Assignment, Replacement, Wrapping
from livepatch.engine.code import fingerprint
from livepatch.errors import BundleError, spelled
from livepatch.patch import Patch

__all__ = ["digest_of"]


def digest_of(patch: Patch) -> str:
    """``sha256:`` and the digest of the patch's file, or of the one that it would be written to.

    A patch that was written in code has no file: ``code-sha256:`` and a digest of what it names and of the code that it
    brings, as this interpreter compiled it.
    """
    if patch.origin is not None:
        return patch.origin.digest
    if not patch.changes and not patch.callbacks:
        held = {field.name: getattr(patch, field.name) for field in dataclasses.fields(codec.Contents)}
        try:
            return codec.digest(codec.encode(codec.Contents(**held)))
        except BundleError:
            pass  # a round trip in code: no file can hold it
    told = hashlib.sha256()
    for text in (patch.id, patch.package, patch.versions, patch.flag, *patch.requires, *_changes(patch)):
        data = text.encode()
        told.update(b"%d:%b" % (len(data), data))
    return f"code-sha256:{told.hexdigest()}"


def _changes(patch: Patch) -> Iterator[str]:
    for change in patch.changes:
        yield type(change).__name__
        match change:
            case Replacement(target=target, source=source):
                yield from (str(target), *_code(source))
            case Addition(owner=owner, names=names):
                for name, value in names.items():
                    yield from (str(owner), name, *_code(value))
            case Assignment(target=target, value=value):
                yield from (str(target), *_code(value))
            case Wrapping(target=target, wrapper=wrapper):
                yield from (str(target), *_code(wrapper))
    for moment, function in patch.callbacks.items():
        yield from (moment, *_code(function))
    for edit in patch.edits:
        yield edit.module


def _code(value: object) -> Iterator[str]:
    """The code in a value: of a function, of what wraps one, or of the functions in a class."""
    if isinstance(value, FunctionType):
        yield fingerprint(value)
    elif isinstance(value, (staticmethod, classmethod)):
        yield from _code(value.__func__)
    elif isinstance(value, property):
        for each in (value.fget, value.fset, value.fdel):
            yield from _code(each)
    elif isinstance(value, cached_property):
        yield from _code(value.func)
    elif isinstance(value, type):
        for name, each in sorted(vars(value).items()):
            if isinstance(each, (FunctionType, staticmethod, classmethod, property, cached_property)):
                yield from (name, *_code(each))
    else:
        yield spelled(value)
