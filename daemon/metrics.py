"""Every metric of the daemon by its fixed name (SPEC 13), and whether the components it leans on are there."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Self

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

PREFIX = "signaged"
COMPONENTS = ("database", "kafka", "smtp")
# a start is due to the millisecond, after an outage it may be hours late
LATENESS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600)
REQUEST = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
COMPILE = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)


@dataclass(frozen=True, slots=True)
class Metrics:
    """All metrics on one registry. No label carries a tenant, campaign, device, user, address or raw path."""

    ticks_total: Counter  # result
    last_tick_timestamp_seconds: Gauge
    step_failures_total: Counter  # step
    transitions_total: Counter  # type
    transition_lateness_seconds: Histogram  # type
    transitions_missed_total: Counter  # reason
    transitions_oldest_due_seconds: Gauge
    campaigns: Gauge  # status
    deliveries: Gauge  # status
    devices: Gauge  # status
    polls_total: Counter  # outcome
    plays_total: Counter  # verdict
    compiles_total: Counter  # result
    compile_seconds: Histogram
    outbox_pending: Gauge
    outbox_oldest_seconds: Gauge
    outbox_published_total: Counter
    outbox_parked: Gauge
    mails_total: Counter  # kind, result
    clock_offset_seconds: Gauge
    clock_held: Gauge
    http_requests_total: Counter  # listener, route, method, code
    http_request_seconds: Histogram  # listener
    loop_lag_seconds: Gauge
    component_up: Gauge  # component
    build_info: Gauge  # version
    tzdata_info: Gauge  # version
    components: dict[str, bool] = field(default_factory=lambda: dict.fromkeys(COMPONENTS, False))

    @classmethod
    def create(cls, registry: CollectorRegistry) -> Self:
        """Register everything; who owns the values of a label calls `precreate` with them."""

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(name, text, labels, namespace=PREFIX, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(name, text, labels, namespace=PREFIX, registry=registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(name, text, labels, namespace=PREFIX, registry=registry, buckets=buckets)

        metrics = cls(
            ticks_total=counter("ticks_total", "Ticks run, by result", "result"),
            last_tick_timestamp_seconds=gauge(
                "last_tick_timestamp_seconds", "Unix time of the last tick that succeeded"
            ),
            step_failures_total=counter("step_failures_total", "Steps of a tick that failed", "step"),
            transitions_total=counter("transitions_total", "Transitions of campaigns, by type", "type"),
            transition_lateness_seconds=histogram(
                "transition_lateness_seconds", "Executed minus due of timed transitions", LATENESS, "type"
            ),
            transitions_missed_total=counter(
                "transitions_missed_total", "Campaigns that never started, by reason", "reason"
            ),
            transitions_oldest_due_seconds=gauge(
                "transitions_oldest_due_seconds", "Age of the oldest transition still due"
            ),
            campaigns=gauge("campaigns", "Campaigns, by status", "status"),
            deliveries=gauge("deliveries", "Deliveries that have a row, by status", "status"),
            devices=gauge("devices", "Devices, by status", "status"),
            polls_total=counter("polls_total", "Playlist polls, by outcome", "outcome"),
            plays_total=counter("plays_total", "Reported plays, by verdict", "verdict"),
            compiles_total=counter("compiles_total", "Playlists compiled, by result", "result"),
            compile_seconds=histogram("compile_seconds", "Time to compile one playlist", COMPILE),
            outbox_pending=gauge("outbox_pending", "Messages waiting for Kafka"),
            outbox_oldest_seconds=gauge("outbox_oldest_seconds", "Age of the oldest message waiting for Kafka"),
            outbox_published_total=counter("outbox_published_total", "Messages acknowledged by Kafka"),
            outbox_parked=gauge("outbox_parked", "Messages put aside because Kafka refuses them"),
            mails_total=counter("mails_total", "Mails, by kind and result", "kind", "result"),
            clock_offset_seconds=gauge("clock_offset_seconds", "This host's clock minus the database's"),
            clock_held=gauge("clock_held", "1 while completions are held because the database's clock jumped"),
            http_requests_total=counter("http_requests_total", "HTTP requests", "listener", "route", "method", "code"),
            http_request_seconds=histogram("http_request_seconds", "Time to answer", REQUEST, "listener"),
            loop_lag_seconds=gauge("loop_lag_seconds", "The longest the event loop was held up in the last seconds"),
            component_up=gauge("component_up", "1 while the component answers", "component"),
            build_info=gauge("build_info", "The running version", "version"),
            tzdata_info=gauge("tzdata_info", "The time zone data in use", "version"),
        )
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
