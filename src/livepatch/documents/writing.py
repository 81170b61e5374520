"""All documents of a patch, and their way to the disk."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from livepatch.bundle import disk
from livepatch.documents import machines, people
from livepatch.documents.dossier import Dossier
from livepatch.documents.review import review
from livepatch.errors import BundleError, PatchError

__all__ = ["INTERNAL", "PUBLIC", "Documents", "documents_of", "write_documents"]

_MARKDOWN: dict[str, Callable[[Dossier], str]] = {
    "public/advisory.md": people.advisory,
    "public/changelog.md": people.changelog,
    "internal/risk.md": people.risk,
    "internal/deployment.md": people.deployment,
    "internal/monitoring.md": people.monitoring,
    "internal/runbook.md": people.runbook,
}
_JSON: dict[str, Callable[[Dossier], dict[str, Any]]] = {
    "public/osv.json": machines.osv,
    "public/openvex.json": machines.openvex,
    "public/csaf.json": machines.csaf,
    "public/provenance.json": machines.provenance,
}
PUBLIC, INTERNAL = "public", "internal"
"""The two folders: what the world may see, and what is for those who apply the patch."""


@dataclass(frozen=True, slots=True)
class Documents:
    """The documents by their paths, and why some could not be written from what is known."""

    made: dict[str, str]
    left_out: dict[str, str]


def documents_of(dossier: Dossier) -> Documents:
    """All documents that can be written from what is known.

    Raises :class:`PatchError` if the versions of the patch cannot be told, or contradict the release with the fix; if
    the patch and what people know contradict each other; and if a document would tell what is under embargo.
    """
    made = {path: write(dossier) for path, write in _MARKDOWN.items()}
    left_out = {}
    for path, tell in _JSON.items():
        try:
            made[path] = _json(tell(dossier))
        except PatchError as error:
            left_out[path] = f"{error.found}; expected {error.expected}; {error.action}"
    if dossier.entries:
        made["internal/review.md"] = review(dossier)
    else:
        left_out["internal/review.md"] = "no record has an entry about this patch; pass --record"
    _must_be_silent(dossier, made)
    return Documents(dict(sorted(made.items())), left_out)


def _must_be_silent(dossier: Dossier, made: dict[str, str]) -> None:
    """What people have written somewhere else may hold it, too."""
    embargo = dossier.embargo
    if embargo is None or dossier.may_tell_all:
        return
    for path, text in made.items():
        plain = _texts(json.loads(text)) if path.endswith(".json") else [text]
        for name in embargo.told_by("\n".join(plain)):
            raise PatchError(
                f"{path} would tell what is under embargo until {embargo.until}",
                found=f"something that stands under {name.replace('_', '-')}",
                expected="nothing of it before that moment",
                action="leave it out of the other fields of the file about the flaw",
            )


def _texts(value: Any) -> Iterator[str]:
    """All texts in plain values."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list)):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _texts(each)


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def write_documents(documents: Documents, folder: str | os.PathLike[str]) -> list[Path]:
    """Write the documents below a folder, each whole or not at all; older ones of these names are replaced.

    Raises :class:`BundleError` if a document cannot be written.
    """
    made = documents.made
    root = Path(folder)
    for name in sorted({path.partition("/")[0] for path in made}):
        try:
            (root / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BundleError(
                "the folder for the documents cannot be made",
                found=f"{root / name}: {error.strerror}",
                expected="a folder that can be written to",
                action="correct the path",
            ) from error
    written = []
    for path, text in made.items():
        disk.write(root / path, text.encode(), "the document")
        written.append(root / path)
    return written
