"""Metrics: the names that dashboards and rules are written against, there from the first scrape."""

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from daemon import announce
from daemon.metrics import Metrics

# SPEC 13, word for word
NAMES = [
    "ticks_total{result}",
    "last_tick_timestamp_seconds",
    "step_failures_total{step}",
    "transitions_total{type}",
    "transition_lateness_seconds{type}",
    "transitions_missed_total{reason}",
    "transitions_oldest_due_seconds",
    "campaigns{status}",
    "deliveries{status}",
    "devices{status}",
    "polls_total{outcome}",
    "plays_total{verdict}",
    "compiles_total{result}",
    "compile_seconds",
    "outbox_pending",
    "outbox_oldest_seconds",
    "outbox_published_total",
    "outbox_parked",
    "mails_total{kind,result}",
    "clock_offset_seconds",
    "clock_held",
    "http_requests_total{listener,route,method,code}",
    "http_request_seconds",
    "loop_lag_seconds",
    "component_up{component}",
    "build_info",
    "tzdata_info{version}",
]
PRIVATE = {"tenant", "tenant_id", "campaign", "campaign_id", "device", "device_id", "user", "address", "path"}


def test_every_name_of_the_contract_is_there_with_its_labels() -> None:
    registry = CollectorRegistry()
    metrics = Metrics.create(registry)
    there = {family.name: family for family in registry.collect()}
    for written in NAMES:
        name, _, labels = written.rstrip("}").partition("{")
        assert f"signaged_{name}".removesuffix("_total") in there
        known = getattr(metrics, name)._labelnames
        assert not labels or known == tuple(labels.split(","))
        assert not set(known) & {
            "tenant",
            "tenant_id",
            "campaign",
            "campaign_id",
            "device",
            "device_id",
            "path",
            "user",
        }


def test_enumerated_children_exist_before_anything_happens() -> None:
    registry = CollectorRegistry()
    announce.enumerate_children(Metrics.create(registry))
    text = generate_latest(registry).decode()
    for child in (
        'ticks_total{result="failed"} 0.0',
        'transitions_total{type="budget.increased"} 0.0',
        'transition_lateness_seconds_count{type="started"} 0.0',
        'component_up{component="kafka"} 0.0',
    ):
        assert f"signaged_{child}\n" in text
    assert all(family.name.startswith("signaged_") for family in text_string_to_metric_families(text))


def test_component_is_unknown_until_it_was_tried() -> None:
    metrics = Metrics.create(CollectorRegistry())
    assert metrics.components == {"database": None, "kafka": None, "smtp": None}
    metrics.note("kafka", up=True)
    assert metrics.components["kafka"] is True
    assert metrics.component_up.labels("kafka")._value.get() == 1
