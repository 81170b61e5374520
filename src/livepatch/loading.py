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
bytecode.cfg bytecode zipfile calendar email.errors email.charset email.utils email.message csv importlib.resources
importlib.metadata sysconfig packaging packaging.version packaging.tags packaging.utils packaging.specifiers
packaging.markers packaging.requirements tomllib
"""
# Each needs only what stands before it.
_ABOVE = """
engine.code engine.functions engine.measuring engine.modes process process.arguments compat compat.screen compat.report
bundle bundle.trust compat.calls compat.calls.model compat.rows compat.signature engine.namespaces engine.stacks
engine.heap engine.syntax engine.source engine.outline engine.locate engine.caches engine.differing
engine.default_values engine.callees engine.stack
engine.places engine.commit engine.units engine.gauge engine.keepers engine.outliving engine.relatives
engine.tasks engine.frozen engine.sweep engine.sides engine.expand engine.attached
engine.shadow_attributes engine.shadow_variables engine.facts compat.callsites compat.drift compat.relatives
compat.versions engine.environment compat.checks compat.patterns compat.windows compat.carried compat.tables
compat.approvals compat.policy compat.reach compat.protected compat.contracts process.distribution
engine.endless engine.frames engine.dispatch engine.comparing engine.lane engine.shadowing engine.standins
engine.choosing engine.closures engine.aliases engine.wrapping engine.latecomers engine.plan engine.holders
engine.transition events govern govern.tripwires govern.recording process.standing process.switching
state.digests state.driving state.saved state.ways state.once state.run state.lazies state.states
process.records process.announcing process.draining engine.anatomy engine.bases engine.abstract
engine.attributes engine.compiling engine.generated engine.counterparts engine.graph engine.instances
engine.leaving engine.matching engine.memos engine.relink engine.containers engine.following engine.reconcile
engine.retaken engine.rewriting engine.scratch engine.existing engine.computed engine.disk engine.texts
engine.ondisk engine.declared engine.effects engine.names engine.readers engine.remnants engine.sourced
engine.nested engine.two_sides engine.surveyor engine.survey state.trial process.fitting govern.data
govern.guarding process.left_behind process.transaction process.live process.examining
process.applied govern.rulefiles govern.policies govern.approving process.proving process.public
"""
_BENEATH = """
errors contents contents.changes contents.words contents.edits contents.claims contents.identity contents.release
contents.embargo contents.ownership contents.parsing contents.probes contents.written state state.files state.checkpoint
state.touches state.migration patch engine.pace engine.refusal
"""
_PARTS = (
    *_OTHERS.split(),
    *(f"livepatch.{name}" for name in _BENEATH.split()),
    *(f"livepatch.{name}" for name in _ABOVE.split()),
)


def load_in_steps() -> None:
    """Import what `livepatch.process.public` needs."""
    with courteous():
        for part in _PARTS:
            import_module(part)
            breathe(now=True)
