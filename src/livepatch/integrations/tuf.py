"""Patch files out of a TUF repository, by the client of python-tuf (extra ``tuf``).

The repository vouches that a file is the newest under its name; the trust root vouches for what is in it.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tuf.api.exceptions import DownloadError, RepositoryError, SlowRetrievalError
from tuf.ngclient.config import UpdaterConfig
from tuf.ngclient.fetcher import FetcherInterface
from tuf.ngclient.updater import Updater
from tuf.ngclient.urllib3_fetcher import Urllib3Fetcher

from livepatch.bundle.envelope import LARGEST_FILE
from livepatch.bundle.load import load
from livepatch.errors import TrustError, spelled
from livepatch.patch import Patch
from livepatch.process.arguments import check_seconds

if TYPE_CHECKING:
    from livepatch.bundle.trustroot import TrustRoot

__all__ = ["Repository"]

_SILENCE = 10  # seconds between two bytes
_CHUNK = 512  # bytes after which the clock is looked at
_NAMES = "give the repository's own URLs and root; if they are right, try again later, or another mirror"


class Repository:
    """A TUF repository of patch files.

    `metadata_url` and `targets_url` are its URLs, `root` the bytes of a version of its root metadata that came by a way
    that is trusted, and `folder` a directory of this node's own, where verified metadata and files are kept: they are
    what a rollback is noticed by.  `timeout`: seconds that one call may take, however slowly a server sends.  `fetcher`
    downloads in the place of python-tuf's own.
    """

    def __init__(
        self,
        *,
        metadata_url: str,
        targets_url: str,
        root: bytes,
        folder: str | os.PathLike[str],
        timeout: float = 120.0,
        fetcher: FetcherInterface | None = None,
    ) -> None:
        check_seconds("timeout", timeout)
        if not isinstance(root, bytes):
            raise TypeError(f"root must be the bytes of root metadata, not {spelled(root)}")
        self._metadata_url, self._targets_url = metadata_url, targets_url
        self._root = root
        self._folder = Path(folder).absolute()  # what a rollback is noticed by stays where it is
        self._timeout = timeout
        self._fetcher = fetcher

    def load(self, name: str, *, trust: TrustRoot) -> Patch:
        """Fetch the file of that name and load it with `trust`.

        Raises :class:`TrustError` if the repository does not vouch for it, or those whom the trust root names do not,
        or nothing comes in time, and :class:`BundleError` if what they vouch for is no patch.
        """
        return load(self.fetch(name), trust=trust)

    def fetch(self, name: str) -> Path:
        """The path of the newest file of that name, verified by TUF metadata.  Nothing of it is read.

        Raises :class:`TrustError`; then what was verified before is still there.
        """
        found: list[Path] = []
        failed: list[BaseException] = []

        def work() -> None:
            try:
                found.append(self._fetched(name, time.monotonic() + self._timeout))
            except BaseException as error:  # noqa: BLE001  # it is raised again in the thread that asked
                failed.append(error)

        # A server may send its headers byte by byte, which no timeout of a socket ever ends.
        thread = threading.Thread(target=work, name="livepatch-tuf", daemon=True)
        thread.start()
        thread.join(self._timeout)
        if found:
            return found[0]
        if not failed:
            raise self._refused(name, f"nothing whole after {self._timeout:g} seconds")
        error = failed[0]
        if isinstance(error, TrustError):
            raise error
        if isinstance(error, (RepositoryError, DownloadError, OSError, ValueError)):
            raise self._refused(name, f"{type(error).__name__}: {error}") from error
        raise error

    def _fetched(self, name: str, deadline: float) -> Path:
        metadata, targets = self._folder / "metadata", self._folder / "targets"
        for folder in (metadata, targets):
            folder.mkdir(parents=True, exist_ok=True)
        inner = self._fetcher or Urllib3Fetcher(socket_timeout=_SILENCE, chunk_size=_CHUNK)
        updater = Updater(
            str(metadata),
            self._metadata_url,
            str(targets),
            self._targets_url,
            fetcher=_InTime(inner, deadline),
            config=UpdaterConfig(),
            bootstrap=self._root,
        )
        updater.refresh()
        target = updater.get_targetinfo(name)
        if target is None:
            raise self._refused(name, "a repository that has no file of that name")
        if target.length > LARGEST_FILE:
            raise self._refused(name, f"a file of {target.length} bytes; patch files have {LARGEST_FILE} at most")
        return Path(updater.find_cached_target(target) or updater.download_target(target))

    def _refused(self, name: str, found: str) -> TrustError:
        return TrustError(
            f"the repository does not vouch for a file {spelled(name)}",
            found=found,
            expected=f"the newest file of that name at {spelled(self._targets_url)}, as signed metadata says",
            action=_NAMES,
        )


class _InTime(FetcherInterface):
    """Another fetcher, for as long as there is time."""

    def __init__(self, inner: FetcherInterface, deadline: float) -> None:
        self._inner = inner
        self._deadline = deadline

    def _fetch(self, url: str) -> Iterator[bytes]:
        self._look()
        return self._chunks(self._inner.fetch(url))

    def _chunks(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self._look()
            yield chunk

    def _look(self) -> None:
        if time.monotonic() > self._deadline:
            raise SlowRetrievalError("the time for this download is over")
