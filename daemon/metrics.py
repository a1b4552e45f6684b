"""Every metric of the daemon by its fixed name (SPEC 13), and whether the components it leans on are there."""
# ruff: noqa: RUF009 - _metric() is dataclasses.field() with a shorter name

from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any, Self

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

PREFIX = "signaged"
COMPONENTS = ("database", "kafka", "smtp")
# a start is due to the millisecond, after an outage it may be hours late
LATENESS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600)
REQUEST = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
COMPILE = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)


def _metric(text: str, *labels: str, buckets: tuple[float, ...] = ()) -> Any:
    return field(metadata={"text": text, "labels": labels, "buckets": buckets})


@dataclass(frozen=True, slots=True)
class Metrics:
    """All metrics on one registry. No label carries a tenant, campaign, device, user, address or raw path."""

    ticks_total: Counter = _metric("Ticks run, by result", "result")
    last_tick_timestamp_seconds: Gauge = _metric("Unix time of the last tick that succeeded")
    step_failures_total: Counter = _metric("Steps of a tick that failed", "step")
    transitions_total: Counter = _metric("Transitions of campaigns, by type", "type")
    transition_lateness_seconds: Histogram = _metric(
        "Executed minus due of timed transitions", "type", buckets=LATENESS
    )
    transitions_missed_total: Counter = _metric("Campaigns that never started, by reason", "reason")
    transitions_oldest_due_seconds: Gauge = _metric("Age of the oldest transition still due")
    campaigns_quarantined: Gauge = _metric("Campaigns that no transition gets through, tried ever more rarely")
    campaigns: Gauge = _metric("Campaigns, by status", "status")
    deliveries: Gauge = _metric("Deliveries that have a row, by status", "status")
    devices: Gauge = _metric("Devices, by status", "status")
    polls_total: Counter = _metric("Playlist polls, by outcome", "outcome")
    plays_total: Counter = _metric("Reported plays, by verdict", "verdict")
    compiles_total: Counter = _metric("Playlists compiled, by result", "result")
    compile_seconds: Histogram = _metric("Time to compile one playlist", buckets=COMPILE)
    outbox_pending: Gauge = _metric("Messages waiting for Kafka")
    outbox_oldest_seconds: Gauge = _metric("Age of the oldest message waiting for Kafka")
    outbox_published_total: Counter = _metric("Messages acknowledged by Kafka")
    outbox_parked: Gauge = _metric("Messages put aside because Kafka refuses them")
    mails_unsent: Gauge = _metric("Mails owed and not sent, by state", "state")
    mails_total: Counter = _metric("Mails, by kind and result", "kind", "result")
    clock_offset_seconds: Gauge = _metric("This host's clock minus the database's")
    clock_held: Gauge = _metric("1 while completions are held because the database's clock jumped")
    http_requests_total: Counter = _metric("HTTP requests", "listener", "route", "method", "code")
    http_request_seconds: Histogram = _metric("Time to answer", "listener", buckets=REQUEST)
    loop_lag_seconds: Gauge = _metric("The longest the event loop was held up in the last seconds")
    component_up: Gauge = _metric("1 while the component answers", "component")
    build_info: Gauge = _metric("The running version", "version")
    tzdata_info: Gauge = _metric("The time zone data in use", "version")
    components: dict[str, bool | None] = field(default_factory=lambda: dict.fromkeys(COMPONENTS))  # None: not tried yet

    @classmethod
    def create(cls, registry: CollectorRegistry) -> Self:
        """Register everything; who owns the values of a label calls `precreate` with them."""
        made: dict[str, Any] = {}
        for each in fields(cls):
            if each.metadata:
                buckets = {"buckets": each.metadata["buckets"]} if each.metadata["buckets"] else {}
                make: Any = each.type
                made[each.name] = make(
                    each.name,
                    each.metadata["text"],
                    each.metadata["labels"],
                    namespace=PREFIX,
                    registry=registry,
                    **buckets,
                )
        metrics = cls(**made)
        metrics._enumerate_own()
        return metrics

    def _enumerate_own(self) -> None:
        precreate(self.ticks_total, ("ok", "failed"))
        precreate(self.compiles_total, ("ok", "failed"))
        precreate(self.component_up, COMPONENTS)
        precreate(self.http_request_seconds, ("api", "ops"))

    def note(self, component: str, *, up: bool) -> None:
        """Record whether a component answers; `readyz` and `component_up` say so."""
        self.components[component] = up
        self.component_up.labels(component).set(up)


def precreate(metric: Counter | Gauge | Histogram, values: Iterable[str]) -> None:
    """Let the children of a metric with one label exist from the first scrape."""
    for value in values:
        metric.labels(value)
