"""What the commands share that hold a patch file beside the sources of its package."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from livepatch.errors import BundleError, spelled

if TYPE_CHECKING:
    from livepatch.bundle.trees import Tree

__all__ = ["add_package_dir", "tree_in"]


def add_package_dir(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """Add ``--package-dir`` and ``--policy``."""
    parser.add_argument(
        "--package-dir",
        required=required,
        metavar="DIR",
        help="the package: a source tree, a folder that pip has installed into, a wheel or an sdist",
    )
    parser.add_argument(
        "--policy",
        metavar="FILE",
        help="rules in addition to those of $LIVEPATCH_POLICY, or livepatch.toml here, and of installed packages",
    )


def tree_in(folder: str, package: str) -> Tree:
    """The sources of a package in a folder.  Raises :class:`BundleError`, also for what pip would have to fetch."""
    from livepatch.bundle.disk import is_there
    from livepatch.bundle.trees import open_tree

    if not is_there(folder):
        raise BundleError(
            "there is no such source tree",
            found=spelled(folder),
            expected="a directory, a wheel or an sdist",
            action="correct the path; for a release, fetch it first (pip download --no-deps)",
        )
    return open_tree(folder, package)
