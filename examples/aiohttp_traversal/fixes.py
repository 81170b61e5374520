"""The fix for CVE-2024-23334, written as a patch: aiohttp's own change from 3.9.1 to 3.9.2.

A static route with `follow_symlinks=True` joined the requested name to its directory and never asked
whether the result still was inside, so `GET /static/../secret` read any file. The two bodies below are
upstream's. Their names mean what they mean in `aiohttp.web_urldispatcher`, as if its source had been edited
there; the imports are for readers and tools.

No `from __future__ import annotations` here: the signatures stay exactly those of the live functions.
"""

import os
from pathlib import Path
from typing import Optional

from aiohttp.typedefs import PathLike
from aiohttp.web_exceptions import HTTPForbidden, HTTPNotFound
from aiohttp.web_fileresponse import FileResponse
from aiohttp.web_request import Request
from aiohttp.web_response import Response, StreamResponse
from aiohttp.web_urldispatcher import YARL_VERSION
from yarl import URL

import livepatch

traversal = livepatch.Patch(
    "CVE-2024-23334",
    package="aiohttp",
    versions=">=3.9.0,<3.9.2",
    summary="static routes that follow symlinks serve only what is inside their directory",
    flag="cve-2024-23334",
)


@traversal.replace("aiohttp.web_urldispatcher:StaticResource._handle")
async def _handle(self, request: Request) -> StreamResponse:
    rel_url = request.match_info["filename"]
    try:
        filename = Path(rel_url)
        if filename.anchor:
            # rel_url is an absolute name like
            # /static/\\machine_name\c$ or /static/D:\path
            # where the static dir is totally different
            raise HTTPForbidden()
        unresolved_path = self._directory.joinpath(filename)
        if self._follow_symlinks:
            normalized_path = Path(os.path.normpath(unresolved_path))
            normalized_path.relative_to(self._directory)
            filepath = normalized_path.resolve()
        else:
            filepath = unresolved_path.resolve()
            filepath.relative_to(self._directory)
    except (ValueError, FileNotFoundError) as error:
        # relatively safe
        raise HTTPNotFound() from error
    except HTTPForbidden:
        raise
    except Exception as error:
        # perm error or other kind!
        request.app.logger.exception(error)
        raise HTTPNotFound() from error

    # on opening a dir, load its contents if allowed
    if filepath.is_dir():
        if self._show_index:
            try:
                return Response(text=self._directory_as_html(filepath), content_type="text/html")
            except PermissionError:
                raise HTTPForbidden()
        else:
            raise HTTPForbidden()
    elif filepath.is_file():
        return FileResponse(filepath, chunk_size=self._chunk_size)
    else:
        raise HTTPNotFound


@traversal.replace("aiohttp.web_urldispatcher:StaticResource.url_for")
def url_for(self, *, filename: PathLike, append_version: Optional[bool] = None) -> URL:
    if append_version is None:
        append_version = self._append_version
    filename = str(filename).lstrip("/")

    url = URL.build(path=self._prefix, encoded=True)
    # filename is not encoded
    if YARL_VERSION < (1, 6):
        url = url / filename.replace("%", "%25")
    else:
        url = url / filename

    if append_version:
        unresolved_path = self._directory.joinpath(filename)
        try:
            if self._follow_symlinks:
                normalized_path = Path(os.path.normpath(unresolved_path))
                normalized_path.relative_to(self._directory)
                filepath = normalized_path.resolve()
            else:
                filepath = unresolved_path.resolve()
                filepath.relative_to(self._directory)
        except (ValueError, FileNotFoundError):
            # ValueError for case when path point to symlink
            # with follow_symlinks is False
            return url  # relatively safe
        if filepath.is_file():
            # TODO cache file content
            # with file watcher for cache invalidation
            with filepath.open("rb") as f:
                file_bytes = f.read()
            h = self._get_file_hash(file_bytes)
            url = url.with_query({self.VERSION_KEY: h})
            return url
    return url
