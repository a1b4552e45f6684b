"""The composition root: what the daemon is made of, opened in order, run together and closed in reverse."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from importlib.metadata import version
from types import MappingProxyType

import anyio
import prometheus_client
import structlog
from aiohttp import web

from config.settings import Address, HttpSettings, Settings
from daemon import announce, chores, logs, planner, ticker, warning
from daemon.campaigns.events import Transition
from daemon.clock import Clock, DatabaseClock
from daemon.compiling import Reach
from daemon.database import Database
from daemon.feed import Feed
from daemon.feed import run as follow
from daemon.ground import Rules
from daemon.limits import booking_limits, prices, tenant_defaults
from daemon.media import MediaFolder
from daemon.metrics import Metrics
from daemon.migrate import MigrationError
from daemon.notices import mailer
from daemon.outbox import relay
from daemon.reloading import Live
from daemon.rush import Rush
from daemon.sightings import Sightings
from daemon.sightings import run as write_sightings
from daemon.tick import LIFE
from daemon.upkeep import count, keep_time, prepare
from daemon.watchdog import Heartbeats, Systemd, measure_lag
from daemon.watchdog import feed as feed_watchdog
from daemon.web import guard, ops, server
from daemon.web.delivered import Deliveries
from daemon.web.keys import Keys
from daemon.web.operations import Platform
from daemon.web.screens import Rhythm, Screens
from daemon.web.screens import register as register_screens
from devices import presence
from devices.contents import Library
from playlists.localtime import tzdata_version

log = structlog.get_logger("daemon.app")

FRESH = 60.0  # seconds within which every loop must come round; a million due at once take 40
DRAIN = 8.0  # seconds for requests under way

Loop = Callable[..., Awaitable[None]]  # runs until cancelled

NONE_INHERITED: Mapping[str, socket.socket] = MappingProxyType({})

OK, INTERNAL, CONFIGURATION = 0, 70, 78  # exit codes (SPEC 12)


class ListenError(Exception):
    """An address cannot be listened on."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the daemon answers, once it does."""

    http: Address
    ops: Address


@dataclass(frozen=True, slots=True)
class Wakes:
    """What loops wait on beside their timers: something was committed that may be theirs."""

    ticker: asyncio.Event = field(default_factory=asyncio.Event)
    planner: asyncio.Event = field(default_factory=asyncio.Event)
    relay: asyncio.Event = field(default_factory=asyncio.Event)
    mailer: asyncio.Event = field(default_factory=asyncio.Event)

    def all(self) -> None:
        """Wake them: to look costs a statement each."""
        for event in (self.ticker, self.planner, self.relay, self.mailer):
            event.set()


@dataclass(slots=True)
class Life:
    """What the loops share: the wish to stop, the schema to wait for, and the exit code of the first that died."""

    stop: asyncio.Event
    prepared: asyncio.Event = field(default_factory=asyncio.Event)
    code: int = OK


async def run(  # noqa: PLR0915 - the composition root is one straight line
    settings: Settings,
    stop: asyncio.Event,
    answering: Callable[[Addresses], None] | None = None,
    live: Live | None = None,
    inherited: Mapping[str, socket.socket] = NONE_INHERITED,
) -> int:
    """Run the daemon until `stop` is set and return the exit code: 0, 70 when a loop died, 78 for a foreign schema.

    PostgreSQL, Kafka and SMTP may be absent at any time. `answering` is told the addresses as soon as they answer;
    `live` reads the settings again when asked to; `inherited` are sockets by listener, where no address is to be
    bound. Raises ListenError.
    """
    life, live = Life(stop), live or Live(settings, lambda: settings)
    log.info("starting", version=version("signaged"), tzdata=tzdata_version())
    registry, metrics = _metrics()
    systemd, heartbeats = Systemd.of(os.environ), Heartbeats()
    clock = DatabaseClock()
    wakes = Wakes()
    sightings, rush = Sightings(), Rush()
    patience = presence.patience(settings.devices.poll_after, settings.devices.heartbeat)
    listen = partial(serve, limits=_limits(settings.http), inherited=inherited)
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(Database.open(settings.database))
        feed = Feed(database)
        probes = ops.Probes(registry, metrics, heartbeats, _conditions(database, clock, feed))
        ops_at = await stack.enter_async_context(listen("ops", ops.application(probes), settings.ops.listen))
        callers = await stack.enter_async_context(AsyncExitStack())
        platform = _platform(settings, database, clock, metrics, wakes.all)
        screens = _screens(settings, platform, feed, sightings)
        api = server.application(platform, [partial(register_screens, screens=screens, folder=platform.media)])
        http_at = await callers.enter_async_context(listen("http", api, settings.http.listen))
        async with anyio.create_task_group() as loops:

            def loop(name: str, function: Loop, *arguments: object) -> None:
                loops.start_soon(_live, life, name, function, *arguments)

            def loop_when_prepared(name: str, function: Loop, *arguments: object) -> None:
                loops.start_soon(_live_when_prepared, life, name, function, *arguments)

            def beat(name: str) -> Callable[[], None]:
                return heartbeats.register(name, FRESH)

            def committed(transitions: Sequence[Transition]) -> None:
                announce.report(transitions, metrics, log)
                wakes.all()

            ground = database, clock, metrics

            def by_settings(settings: Settings, loop: Callable[..., None]) -> None:
                recheck, ready_percent = settings.ticker.recheck, settings.distribution.ready_threshold
                kept, settle_after = settings.retention, settings.plays.settle_after
                steps = (
                    *LIFE,
                    *chores.steps(ready_percent, settle_after, patience, kept.idempotency, kept.mails),
                    *warning.steps(ready_percent, patience),
                    chores.forgetting(kept.plays),
                )
                rules = _rules(settings)
                ticked = recheck, committed, wakes.ticker, beat("ticker"), steps, rush
                loop("ticker", ticker.run, *ground, rules, *ticked)
                reach = Reach.of(settings.playlist.horizon, settings.playlist.renew)
                loop("planner", planner.run, *ground, beat("planner"), wakes.planner, reach)
                loop("sightings", write_sightings, sightings, *ground, ready_percent, beat("sightings"))
                loop("relay", relay.run, *ground, settings.kafka, wakes.relay, beat("relay"), rush)
                if settings.notices.enabled:
                    above = settings.notices.digest_above
                    loop("mailer", mailer.run, *ground, settings.smtp, above, wakes.mailer, beat("mailer"), rush)

            loop("prepare", _prepare, life, database, clock)
            loop("clock", keep_time, *ground, beat("clock"))
            loop("lag", measure_lag, metrics.loop_lag_seconds)
            loop("watchdog", feed_watchdog, systemd, heartbeats)
            loop("settings", _follow_settings, live, systemd, partial(_adopt, platform=platform, screens=screens))
            loop_when_prepared("count", count, database, metrics)
            loop_when_prepared("feed", follow, feed, database, clock, beat("feed"))
            loop_when_prepared("by settings", _by_settings, life, live, heartbeats, by_settings)

            if answering:
                answering(Addresses(http_at, ops_at))
            systemd.notify("READY=1")
            await stop.wait()
            systemd.notify("STOPPING=1")
            log.info("stopping")
            await callers.aclose()  # requests under way end while the loops still serve them
            loops.cancel_scope.cancel()
    log.info("stopped", code=life.code)
    return life.code


def _platform(
    settings: Settings, database: Database, clock: Clock, metrics: Metrics, woken: Callable[[], None]
) -> Platform:
    return Platform(
        database=database,
        clock=clock,
        metrics=metrics,
        media=MediaFolder(settings.media.folder),
        limits=booking_limits(settings),
        defaults=tenant_defaults(settings),
        patience=presence.patience(settings.devices.poll_after, settings.devices.heartbeat),
        lead=settings.distribution.lead,
        activation_life=timedelta(days=settings.devices.activation_days),
        rotation_overlap=settings.devices.rotation_overlap,
        max_media_bytes=settings.media.max_bytes,
        max_body_bytes=settings.http.max_body_bytes,
        version=version("signaged"),
        woken=woken,
        keys_kept=settings.retention.idempotency,
    )


def _screens(settings: Settings, platform: Platform, feed: Feed, sightings: Sightings) -> Screens:
    return Screens(
        database=platform.database,
        clock=platform.clock,
        metrics=platform.metrics,
        feed=feed,
        sightings=sightings,
        library=Library(),
        deliveries=Deliveries(sightings),
        keys=Keys(feed, platform.database, platform.clock),
        rhythm=Rhythm(
            settings.devices.poll_after,
            settings.devices.heartbeat,
            prices(settings),
            settings.http.max_body_bytes,
        ),
        woken=platform.woken,
    )


def _limits(http: HttpSettings) -> guard.Limits:
    return guard.Limits(http.header_timeout, http.body_timeout, http.idle_timeout, http.max_connections)


def _rules(settings: Settings) -> Rules:
    return Rules(
        batch=settings.ticker.batch,
        retries=settings.ticker.retries,
        settle_after=settings.plays.settle_after,
        lead=settings.distribution.lead,
    )


def _metrics() -> tuple[prometheus_client.CollectorRegistry, Metrics]:
    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call] # it has no annotations
    registry = prometheus_client.CollectorRegistry()
    prometheus_client.ProcessCollector(registry=registry)
    prometheus_client.GCCollector(registry=registry)
    metrics = Metrics.create(registry)
    metrics.build_info.labels(version("signaged")).set(1)
    metrics.tzdata_info.labels(tzdata_version()).set(1)
    announce.enumerate_children(metrics)
    return registry, metrics


def _conditions(database: Database, clock: DatabaseClock, feed: Feed) -> dict[str, Callable[[], bool]]:
    return {
        "database": lambda: database.available,
        "schema": lambda: database.schema_ready,
        "clock": lambda: clock.known,
        "screens": feed.loaded.is_set,
    }


async def _prepare(life: Life, database: Database, clock: DatabaseClock) -> None:
    await prepare(database, clock)
    life.prepared.set()
    await anyio.sleep_forever()


async def _by_settings(
    life: Life, live: Live, heartbeats: Heartbeats, start: Callable[[Settings, Callable[..., None]], None]
) -> None:
    """Run the loops that go by settings; when others are in force they end, as if killed, and begin anew."""
    names: list[str] = []
    while True:
        async with anyio.create_task_group() as loops:

            def loop(name: str, function: Loop, *arguments: object) -> None:
                names.append(name)
                loops.start_soon(_live, life, name, function, *arguments)

            start(live.settings, loop)
            await live.changed()
            loops.cancel_scope.cancel()
        while names:
            heartbeats.forget(names.pop())


async def _follow_settings(live: Live, systemd: Systemd, adopt: Callable[[Settings], Awaitable[None]]) -> None:
    """Read the settings again whenever that is asked for."""
    while True:
        await live.asked.wait()
        live.asked.clear()
        systemd.reloading()
        if live.reload():
            await adopt(live.settings)
        systemd.notify("READY=1")


async def _adopt(settings: Settings, platform: Platform, screens: Screens) -> None:
    """Let requests go by other settings; what a restart is needed for stays as it is."""
    logs.configure(settings.log.level)
    platform.limits, platform.defaults = booking_limits(settings), tenant_defaults(settings)
    platform.lead, platform.keys_kept = settings.distribution.lead, settings.retention.idempotency
    platform.activation_life = timedelta(days=settings.devices.activation_days)
    platform.rotation_overlap = settings.devices.rotation_overlap
    platform.max_media_bytes = settings.media.max_bytes
    screens.rhythm.prices = prices(settings)
    if platform.database.settings != settings.database:
        await platform.database.renew(settings.database)


async def _live(life: Life, name: str, function: Loop, *arguments: object) -> None:
    """Run a loop that has no end; when it dies all the same, the process ends in order and is started anew."""
    try:
        await function(*arguments)
        log.critical("loop ended", loop=name)
        code = INTERNAL
    except MigrationError as error:
        log.critical("schema refused", reason=str(error))
        code = CONFIGURATION
    except Exception:
        log.critical("loop died", loop=name, exc_info=True)
        code = INTERNAL
    life.code = life.code or code
    life.stop.set()


async def _live_when_prepared(life: Life, name: str, function: Loop, *arguments: object) -> None:
    await life.prepared.wait()
    await _live(life, name, function, *arguments)


@asynccontextmanager
async def serve(
    name: str,
    app: web.Application,
    listen: Address,
    limits: guard.Limits,
    inherited: Mapping[str, socket.socket] = NONE_INHERITED,
) -> AsyncIterator[Address]:
    """Answer on an address, or the socket inherited by that name, and yield it, its port known.

    At the end, requests under way are given some seconds. Raises ListenError.
    """
    held = inherited.get(name)
    runner = web.AppRunner(
        app,
        access_log=None,
        handle_signals=False,
        keepalive_timeout=limits.idle.total_seconds(),
        shutdown_timeout=DRAIN,
    )
    await runner.setup()
    try:
        async with AsyncExitStack() as stack:
            try:
                host, port = await stack.enter_async_context(guard.listening(runner, *listen, limits, held))
            except OSError as error:
                raise ListenError(f"cannot listen on {listen}: {error.strerror or error}") from error
            log.info("listening", listener=name, address=str(Address(host, port)), inherited=held is not None)
            yield Address(host, port)
    finally:
        with anyio.move_on_after(DRAIN + 2, shield=True):
            await runner.cleanup()
