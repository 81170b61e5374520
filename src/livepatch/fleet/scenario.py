"""What a rollout is simulated in: nodes, a network, and what the patch does to them; read strictly from TOML."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from livepatch.compat.tables import Table
from livepatch.errors import spelled
from livepatch.fleet.inventory import Inventory, Node
from livepatch.fleet.rollout import Comparison, Objective, Rollout, Threshold

__all__ = ["NOUN", "Effect", "Metric", "Network", "Partition", "Scenario", "generated", "metrics_for", "scenario_in"]

NOUN = "scenario"
_DAY = 86400.0
_WEEK = 7 * 24 * 60.0  # minutes


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A metric of a node without the patch.

    `usual` is its middle; nodes differ by a factor whose logarithm has the standard deviation `spread`, and one node
    from itself, over the time of a look, by `noise`.  With the patch it is `factor` times as large.
    """

    name: str
    usual: float
    spread: float = 0.2
    noise: float = 0.05
    factor: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """Times in seconds; `loss` is the chance (0 to 1) that a message does not arrive.

    Messages take `delay` in the middle.  Nodes read the directive, and say how they are, every `poll`; nothing for
    `ttl`, and they are taken for gone.  The patch is on or off after `applying`.
    """

    delay: float = 0.2
    loss: float = 0.01
    poll: float = 30.0
    ttl: float = 120.0
    applying: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """A share of the nodes (0 to 1), drawn anew, is cut off from `begin` for `length`, in seconds."""

    begin: float
    length: float
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What the patch does to a node that has it.

    `refused` is the chance that a node cannot take it.  It stops nodes, or is taken back by their own health rules, so
    many times an hour.  `consensus`: nodes with it and without it disagree about what is valid.
    """

    refused: float = 0.0
    stops: float = 0.0
    trips: float = 0.0
    consensus: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A simulated fleet.  `away` is how many times a day a node goes away, `absence` how long, in seconds.

    A `byzantine` share of the nodes says what is wanted and does nothing, and tells metrics that are ten times or a
    tenth of what they are.  `takeovers` a day another controller takes over.  Promoters approve after `approval`
    seconds.
    """

    nodes: int = 200
    versions: tuple[str, ...] = ()
    regions: tuple[str, ...] = ("eu", "us", "asia")
    stake: str = "equal"
    byzantine: float = 0.0
    away: float = 0.2
    absence: float = 300.0
    takeovers: float = 1.0
    approval: float = 600.0
    degradation: float = 0.0
    network: Network = field(default_factory=Network)
    partitions: tuple[Partition, ...] = ()
    metrics: tuple[Metric, ...] = ()
    effect: Effect = field(default_factory=Effect)

    @property
    def harmful(self) -> bool:
        """Whether the patch does harm to the nodes that have it."""
        its = self.effect
        factors = (metric.factor != 1.0 for metric in self.metrics)
        return bool(self.degradation or its.refused or its.stops or its.trips or any(factors))


def generated(scenario: Scenario, rollout: Rollout, seed: int) -> Inventory:
    """Nodes as the scenario has them: the same for the same seed.  Stake is equal, or as uneven as by Pareto's law."""
    chance = random.Random(f"{seed} nodes")  # noqa: S311  # a simulation has to be repeatable
    versions = scenario.versions or (_version_for(rollout),)
    nodes = tuple(
        Node(
            id=f"node-{number}",
            version=chance.choice(versions),
            region=chance.choice(scenario.regions or ("",)),
            weight=1.0 if scenario.stake == "equal" else min(chance.paretovariate(1.5), 50.0),
        )
        for number in range(scenario.nodes)
    )
    activation = rollout.activation
    height = None
    if activation:
        blocks = (rollout.reach + rollout.stages[0].soak) / activation.block_seconds + activation.margin
        height = max(0, int(activation.height - 1.5 * blocks - 1))
    return Inventory(source="the scenario", nodes=nodes, height=height)


def _version_for(rollout: Rollout) -> str:
    """A version that the patch is for: one of those that its specifier names, or next to one."""
    from packaging.specifiers import SpecifierSet
    from packaging.version import Version

    wanted = SpecifierSet(rollout.patch.versions)
    named = [each.version.removesuffix(".*") for each in wanted]
    for version in named + [f"{version}.1" for version in named] + ["1.0"]:
        if wanted.contains(Version(version), prereleases=True):
            return version
    return "1.0"


def metrics_for(rollout: Rollout, scenario: Scenario) -> tuple[Metric, ...]:
    """The metrics that the gates ask for: as the scenario has them, or such that a fleet without the patch is fine.

    `degradation` makes each that is compared worse by that share.
    """
    told = {metric.name: metric for metric in scenario.metrics}
    found: dict[str, Metric] = {}
    for gate in rollout.gates:
        metric = found.get(gate.metric) or told.get(gate.metric) or _usual(gate)
        if isinstance(gate, Comparison) and scenario.degradation:
            worse = 1 + scenario.degradation
            metric = replace(metric, factor=metric.factor * (worse if gate.worse == "higher" else 1 / worse))
        found[gate.metric] = metric
    return tuple(found.values())


def _usual(gate: Threshold | Objective | Comparison) -> Metric:
    if isinstance(gate, Objective):
        return Metric(name=gate.metric, usual=1 - (1 - gate.objective) * (1 - gate.budget_left) / 3, spread=0, noise=0)
    if isinstance(gate, Threshold):
        if gate.least is not None and gate.most is not None:
            return Metric(name=gate.metric, usual=(gate.least + gate.most) / 2, spread=0, noise=0)
        bound = gate.most if gate.most is not None else gate.least or 0.0
        better = 0.5 if (gate.most is not None) == (bound > 0) else 2.0
        return Metric(name=gate.metric, usual=bound * better)
    return Metric(name=gate.metric, usual=1.0)


def scenario_in(data: bytes, source: str) -> Scenario:
    """The scenario in the bytes of a TOML file.  Raises :class:`PolicyError`, which says where in it what is wrong."""
    table = Table.read(data, source, NOUN)
    usual = Scenario()
    stake = table.text("stake") or usual.stake
    if stake not in ("equal", "pareto"):
        table.fail("stake", spelled(stake), "one of equal, pareto")
    made = Scenario(
        nodes=table.count("nodes", 1_000_000) or usual.nodes,
        versions=table.texts("versions"),
        regions=table.texts("regions") or usual.regions,
        stake=stake,
        byzantine=_number(table, "byzantine", usual.byzantine, 0.5),
        away=_number(table, "away-per-day", usual.away, 1000),
        absence=60 * _number(table, "away-minutes", usual.absence / 60, _WEEK),
        takeovers=_number(table, "takeovers-per-day", usual.takeovers, 10000),
        approval=60 * _number(table, "approval-minutes", usual.approval / 60, _WEEK),
        degradation=_number(table, "degradation", usual.degradation, 1000),
        network=table.table("network", _network) or usual.network,
        partitions=table.tables("partition", _partition),
        metrics=table.tables("metric", _metric),
        effect=table.table("effect", _effect) or usual.effect,
    )
    table.end()
    _once(table, (metric.name for metric in made.metrics))
    return made


def _once(table: Table, names: Iterable[str]) -> None:
    known: set[str] = set()
    for index, name in enumerate(names):
        if name in known:
            table.fail(f"metric[{index}].name", f"{spelled(name)} twice", "each name once")
        known.add(name)


def _number(table: Table, key: str, usual: float, most: float, least: float = 0.0) -> float:
    value = table.number(key, least, most)
    return usual if value is None else value


def _network(table: Table) -> Network:
    usual = Network()
    return Network(
        delay=_number(table, "delay-seconds", usual.delay, 3600, 0.001),
        loss=_number(table, "loss", usual.loss, 0.99),
        poll=_number(table, "poll-seconds", usual.poll, _DAY, 1),
        ttl=_number(table, "ttl-seconds", usual.ttl, _DAY, 1),
        applying=_number(table, "applying-seconds", usual.applying, 3600),
    )


def _partition(table: Table) -> Partition:
    return Partition(
        begin=60 * _number(table, "from-minutes", 0.0, _WEEK),
        length=60 * _number(table, "minutes", 10.0, _WEEK),
        share=_number(table, "share", 0.1, 1),
    )


def _metric(table: Table) -> Metric:
    name = table.text("name")
    if not name:
        table.fail("name", "nothing", "the name of a metric that a gate of the plan asks for")
    usual = Metric(name=name, usual=1.0)
    return Metric(
        name=name,
        usual=_number(table, "usual", usual.usual, 1e15),
        spread=_number(table, "spread", usual.spread, 5),
        noise=_number(table, "noise", usual.noise, 5),
        factor=_number(table, "factor", usual.factor, 1e6),
    )


def _effect(table: Table) -> Effect:
    return Effect(
        refused=_number(table, "refused", 0.0, 1),
        stops=_number(table, "stops-per-hour", 0.0, 1000),
        trips=_number(table, "trips-per-hour", 0.0, 1000),
        consensus=bool(table.flag("consensus")),
    )
