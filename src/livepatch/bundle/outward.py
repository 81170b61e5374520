"""Statements that act outside of the process when they are run, as far as the source says so plainly."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from livepatch.bundle.items import Item, chain_of, full_name
from livepatch.bundle.nodes import children
from livepatch.bundle.refs import Ref
from livepatch.bundle.world import Entity, World
from livepatch.contents.edits import Obstacle

__all__ = ["outward_obstacles"]

_STARTS = "starts a process"
_WRITES = "writes to the disk"
_TALKS = "talks to the network"
_MODULES = {"subprocess": _STARTS, "shutil": _WRITES, "tempfile": _WRITES, "smtplib": _TALKS, "ftplib": _TALKS}
_READ = frozenset({"shutil.which", "shutil.disk_usage", "shutil.get_terminal_size", "tempfile.gettempdir"})
_CALLS = {
    **dict.fromkeys(["os.system", "os.popen", "os.fork", "os.posix_spawn", "os.startfile", "pty.spawn"], _STARTS),
    **dict.fromkeys(
        [
            *("os.remove", "os.unlink", "os.rename", "os.renames", "os.replace", "os.mkdir", "os.makedirs", "os.rmdir"),
            *("os.removedirs", "os.symlink", "os.link", "os.chmod", "os.chown", "os.truncate", "os.utime", "os.mkfifo"),
            *("sqlite3.connect", "dbm.open", "shelve.open", "logging.FileHandler"),
            *("logging.handlers.RotatingFileHandler", "logging.handlers.TimedRotatingFileHandler"),
        ],
        _WRITES,
    ),
    **dict.fromkeys(
        [
            *("socket.create_connection", "socket.create_server", "urllib.request.urlopen"),
            *("urllib.request.urlretrieve", "requests.get", "requests.post", "requests.put", "requests.request"),
            *("httpx.get", "httpx.post", "httpx.put", "httpx.request"),
        ],
        _TALKS,
    ),
}
_OPEN = frozenset(["open", "io.open", "codecs.open", "gzip.open", "bz2.open", "lzma.open", "tarfile.open", "os.fdopen"])
_METHODS = frozenset(
    ["write_text", "write_bytes", "touch", "unlink", "mkdir", "rmdir", "symlink_to", "hardlink_to", "urlretrieve"]
)
_MADE_BY = ("__new__", "__init__", "__post_init__")
_DEEPEST = 12


def outward_obstacles(world: World, item: Item) -> list[Obstacle]:
    """What stands in the way of running a statement in each process that is asked, once for either side."""
    refs = world.refs(item)
    nodes: list[ast.AST] = [item.node]
    if isinstance(item.node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        nodes = [*item.node.decorator_list, *item.node.args.defaults, *(d for d in item.node.args.kw_defaults if d)]
    elif isinstance(item.node, ast.ClassDef):
        nodes = [*item.node.decorator_list, *item.node.bases]  # its body has items of its own
    found = next((said for node in nodes if (said := _acts(item, node))), None) or _calls_what_acts(
        world, item, [*refs.decorators, *refs.header, *world.asked(item, later=False)], {}, 0
    )
    if found is None:
        return []
    return [
        Obstacle(
            code="module-effect-changed",
            target=item.module.name,
            found=f"line {item.line} would be run in each process that is asked, and {found}: {_first_line(item)}",
            expected="statements that can be run again without anybody outside of the process noticing",
            action="build with only= and without it, or restart the process with the new release",
        )
    ]


def _first_line(item: Item) -> str:
    return ast.unparse(item.node).splitlines()[0][:100]


def _calls_what_acts(world: World, item: Item, refs: list[Ref], seen: dict[Entity, None], depth: int) -> str | None:
    for ref in refs:
        if not ref.call or depth > _DEEPEST:
            continue
        trace = world.follow(ref, item)
        called = [trace.end] if trace.kind == "function" else []
        if trace.kind == "class":
            called = [m for name in _MADE_BY if (m := world.member(trace.end, name)) is not None]
            called += world.factories(trace.end)
        for entity in called:
            if entity in seen:
                continue
            seen[entity] = None
            for one in world.items(entity):
                if one.kind == "function":
                    refs_of_one = [*world.refs(one).body, *world.asked(one, later=True)]
                    inner = [each for each in refs_of_one if each.level < ref.call]
                    found = _acts_in_body(one) or _calls_what_acts(world, one, inner, seen, depth + 1)
                    if found is not None:
                        return found if found.startswith("by ") else f"by {entity[1]}() it {found}"
    return None


def _acts_in_body(item: Item) -> str | None:
    body: list[ast.stmt] = getattr(item.node, "body", [])
    return next((said for node in body if (said := _acts(item, node))), None)


def _acts(item: Item, node: ast.AST) -> str | None:
    """What the calls in a piece of code do outside of the process, in words."""
    for one in _run(node):
        if not isinstance(one, ast.Call):
            continue
        chain = chain_of(one.func)
        name = full_name(item, chain)
        said = _CALLS.get(name) or _MODULES.get(name.partition(".")[0] if "." in name and name not in _READ else "")
        if said:
            return f"{said} ({name})"
        method = one.func.attr if isinstance(one.func, ast.Attribute) else ""
        if method in _METHODS:
            return f"{_WRITES} ({method})"
        if (name in _OPEN or method == "open") and _to_write(one, 1 if name in _OPEN else 0):
            return f"{_WRITES} (open)"
    return None


_LATER = frozenset({ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda})


def _run(node: ast.AST) -> Iterator[ast.AST]:
    """What runs with a piece of code: not what is in functions and lambdas that it makes."""
    left = [node]
    while left:
        one = left.pop()
        yield one
        left += [child for child in reversed(children(one)) if type(child) not in _LATER]


def _to_write(call: ast.Call, place: int) -> bool:
    """Whether a file is opened with a mode, told in the source, that lets it be written."""
    given = [k.value for k in call.keywords if k.arg == "mode"] + call.args[place : place + 1]
    modes = [g.value for g in given if isinstance(g, ast.Constant) and isinstance(g.value, str)]
    return any(set(mode) <= set("rwaxbtU+") and set(mode) & set("wax+") for mode in modes)
