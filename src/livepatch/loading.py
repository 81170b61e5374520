"""The first use of the machinery in a process: loaded part by part, at the pace of preparation.

To import all of it at once would take 100 ms, in which threads that serve requests get the interpreter only by force.
"""

from __future__ import annotations

from importlib import import_module

from livepatch.engine.pace import breathe, courteous

__all__ = ["load_in_steps"]

# What needs nothing first.  A part that is not named comes with the first that needs it.
_OTHERS = """
ast dis tokenize inspect hashlib threading queue bytecode.instr bytecode.flags bytecode.bytecode bytecode.concrete
bytecode.cfg bytecode zipfile email.utils email.message importlib.metadata
"""
_ENGINE = """
namespaces modes stack places commit functions stacks heap tasks frozen endless frames code dispatch comparing lane
shadowing units gauge standins choosing refusal sweep closures aliases locate wrapping latecomers plan environment
caches facts holders transition outline source sides expand attributes disk names compiling differing default_values
matching ondisk anatomy graph relink bases following reconcile scratch effects defaults instances remnants memos keepers
leaving computed sourced surveyor survey readers
"""
_ABOVE = """
screen report standing arguments compat.rows compat.versions compat.relatives compat.signature compat.checks
compat.patterns compat.policy compat.reach compat.protected compat.contracts policies distribution events switching
draining records fitting guarding left_behind live proving process
"""
_BENEATH = "errors edits claims identity written patch engine.pace engine.refusal"
_PARTS = (
    *_OTHERS.split(),
    *(f"livepatch.{name}" for name in _BENEATH.split()),
    *(f"livepatch.engine.{name}" for name in _ENGINE.split()),
    *(f"livepatch.{name}" for name in _ABOVE.split()),
)


def load_in_steps() -> None:
    """Import what `livepatch.process` needs."""
    with courteous():
        for part in _PARTS:
            import_module(part)
            breathe(now=True)
