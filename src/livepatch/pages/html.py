"""What the pages are made of.  Pure: plain values in, HTML out.  No page has a script, or asks for anything else.

Everything in a page may come from anyone, names and reasons above all, and is text there.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime
from html import escape

__all__ = ["POLICY", "badge", "cell", "document", "moment", "table", "text"]

_EVERY = 2  # seconds until the browser asks again
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; color: #1b1f24; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; } h3 { font-size: 1rem; }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; padding: .2rem .8rem .2rem .3rem; }
th { border-bottom: 1px solid #8c959f; } td { border-bottom: 1px solid #eaeef2; vertical-align: top; }
.nodes { display: flex; flex-wrap: wrap; gap: 4px; padding: 0; list-style: none; }
.nodes li { padding: 0 .5rem; border-radius: 4px; background: #eaeef2; }
.applied, .passed, .fine, .complete, .ok, .settled { background: #aceebb !important; }
.failed, .bad, .aborting, .breach, .aside, .rolled-back { background: #ffcecb !important; }
.silent, .wait, .reverted, .unknown, .draining { background: #fae17d !important; }
.dormant, .armed, .waiting { background: #b6e3ff !important; }
.phase { padding: .1rem .6rem; border-radius: 4px; background: #b6e3ff; }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(20rem, 1fr)); gap: 1rem; }
figure { margin: 0; } figcaption { font-size: .85rem; overflow-wrap: anywhere; }
svg { width: 100%; height: 6rem; border: 1px solid #eaeef2; }
polyline { fill: none; stroke: #0969da; stroke-width: 1.5; } circle { fill: #0969da; }
polyline, line { vector-effect: non-scaling-stroke; } line.limit { stroke: #57606a; stroke-dasharray: 4 3; }
line.limit.breach { stroke: #cf222e; } path { stroke: #bf8700; fill: none; vector-effect: non-scaling-stroke; }
svg.breach, svg.unknown, line.breach, line.unknown { background: none !important; }
@media (prefers-color-scheme: dark) { body { background: #0d1117; color: #d1d7e0; }
  li, .phase, td[class] { color: #1b1f24; } }
"""

POLICY = (
    f"default-src 'none'; style-src 'sha256-{base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()}'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
"""What a browser lets a page do: show itself, with its own styles and no others."""


def document(title: str, *parts: str, again: bool = True) -> str:
    """A whole page, which the browser asks for `again` every two seconds.  `title` is text, `parts` are HTML."""
    refresh = f'<meta http-equiv=refresh content="{_EVERY}">' if again else ""
    return "\n".join((
        "<!doctype html><html lang=en><meta charset=utf-8>",
        f'{refresh}<meta name=viewport content="width=device-width">',
        f"<title>{text(title)}</title><style>{_STYLE}</style>",
        *filter(None, parts),
        "</html>",
    ))  # fmt: skip


def table(heads: Iterable[str], rows: Iterable[Iterable[str]], *, name: str = "") -> str:
    """A table: `heads` are text, each of `rows` is made of cells, and `name` is its id."""
    head = "".join(f"<th>{text(each)}</th>" for each in heads)
    body = "".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    return f"<table{f' id={name}' if name else ''}><tr>{head}</tr>{body}</table>"


def cell(value: object, kind: str = "") -> str:
    """One cell.  Its `kind`, such as ``failed``, is what it is shown by."""
    return f"<td class='{text(kind)}'>{text(value)}</td>" if kind else f"<td>{text(value)}</td>"


def badge(value: object, kind: str, *, name: str = "phase") -> str:
    """A word that stands out, by its `kind`."""
    return f"<span id={name} class='phase {text(kind)}'>{text(value)}</span>"


def text(value: object) -> str:
    """As text, with what would hide or turn round what stands beside it spelled out."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(value))
    return escape(shown, quote=True)


def moment(at: float) -> str:
    """When that is, in seconds since the epoch."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
