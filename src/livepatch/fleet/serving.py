"""The page of a rollout, served to the browsers of this machine."""

from __future__ import annotations

from livepatch.fleet.overview import overview
from livepatch.fleet.page import page
from livepatch.fleet.state import Store
from livepatch.pages import serving
from livepatch.pages.serving import Place

__all__ = ["Page"]


class Page(serving.Page):
    """The page of one rollout: ``/`` is HTML and ``/status.json`` the same as JSON.

    Raises :class:`NodeError` if the port cannot be had; with port 0 the system chooses one.
    """

    def __init__(self, store: Store, rollout: str, *, host: str = "127.0.0.1", port: int = 0) -> None:
        super().__init__(lambda: overview(store, rollout), page, Place(host, port))
