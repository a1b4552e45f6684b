"""One model per concern; values from the environment, systemd credentials and a TOML file, unknown keys refused."""

import re
import tomllib
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args
from urllib.parse import parse_qs, urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    field_validator,
    model_validator,
)


class Address(NamedTuple):
    """Where to listen; port 0 lets the system choose."""

    host: str
    port: int

    def __str__(self) -> str:
        """Write it as it is configured: IPv6 hosts in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _seconds(value: object) -> object:
    if isinstance(value, timedelta):
        return value
    try:
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            raise ValueError
        return timedelta(seconds=float(value))
    except (ValueError, OverflowError):
        raise ValueError("must be a number of seconds") from None


def _some(value: timedelta) -> timedelta:
    if value <= timedelta(0):
        raise ValueError("must be more than 0")
    return value


def _not_negative(value: timedelta) -> timedelta:
    if value < timedelta(0):
        raise ValueError("must be at least 0")
    return value


def _plain_seconds(value: timedelta) -> int | float:
    seconds = value.total_seconds()
    return int(seconds) if seconds.is_integer() else seconds


def _micros(value: object) -> int:
    try:
        if isinstance(value, bool) or not isinstance(value, (int, str)):
            raise InvalidOperation
        amount = Decimal(value)
        if not amount.is_finite() or amount < 0 or amount != round(amount, 2) or amount > 10**12:
            raise InvalidOperation
    except InvalidOperation:
        raise ValueError('must be an amount in quotes with at most two decimals, like "50.00"') from None
    return int(amount * 1_000_000)


def _plain_amount(value: int) -> str:
    return f"{Decimal(value) / 1_000_000:.2f}"


def _address(value: object) -> Address:
    if isinstance(value, Address):
        return value
    match = re.fullmatch(r"(\[[0-9a-fA-F:.%\w]+\]|[^\[\]:\s]+):(\d{1,5})", value) if isinstance(value, str) else None
    if match is None or int(match[2]) > 65535:
        raise ValueError("must be host:port, like 127.0.0.1:8080 or [::1]:8080")
    return Address(match[1].strip("[]"), int(match[2]))


def _servers(value: str) -> str:
    servers = [server.strip() for server in value.split(",") if server.strip()]
    if not servers:
        raise ValueError("must name at least one server as host:port")
    for server in servers:
        if _address(server).port == 0:
            raise ValueError(f"{server}: the port is missing")
    return ",".join(servers)


_ENCODED = "special characters in a password must be percent-encoded, like %40 for @"


def _url(*schemes: str) -> Any:
    def check(value: str) -> str:
        try:
            parts = urlsplit(value)
            parts.port  # noqa: B018 - raises on a bad port
        except ValueError:  # whose text may hold a piece of a password
            raise ValueError(f"is no URL: {_ENCODED}") from None
        if parts.scheme not in schemes or (parts.scheme.startswith(("http", "smtp")) and not parts.hostname):
            raise ValueError("must be a URL like " + " or ".join(f"{scheme}://..." for scheme in schemes))
        return value

    return AfterValidator(check)


def _postgres_url(value: str) -> str:
    """Take the URLs of PostgreSQL's own clients: several hosts with commas, none with a socket's folder as ?host=."""
    try:
        parts = urlsplit(value)
        if parts.query:
            parse_qs(parts.query, strict_parsing=True)
    except ValueError:  # whose text may hold a piece of a password
        raise ValueError(f"is no URL: {_ENCODED}") from None
    if parts.scheme not in ("postgresql", "postgres"):
        raise ValueError("must be a URL like postgresql://user@host:5432/database")
    credentials, _, hosts = parts.netloc.rpartition("@")
    is_host = re.compile(r"(\[[^\[\]]*\]|[^\[\]:]*)(:\d{1,5})?").fullmatch
    if "@" in credentials or parts.fragment or not all(is_host(host) for host in hosts.split(",")):
        raise ValueError(f"is no URL: {_ENCODED}")
    return value


def _durations(value: object) -> object:
    return [part for part in value.strip("[] ").split(",") if part.strip()] if isinstance(value, str) else value


def _tables(value: object) -> object:
    """A list of tables as TOML writes it in one line, where it comes as text."""
    try:
        return tomllib.loads(f"it = {value}")["it"] if isinstance(value, str) else value
    except tomllib.TOMLDecodeError:
        raise ValueError('must be a list of tables, like [{category = "bakery", cpm = "8.00"}]') from None


Seconds = Annotated[timedelta, BeforeValidator(_seconds), PlainSerializer(_plain_seconds)]
Duration = Annotated[Seconds, AfterValidator(_some)]


def _at_most(seconds: int) -> Callable[[timedelta], timedelta]:
    def check(value: timedelta) -> timedelta:
        if value > timedelta(seconds=seconds):
            raise ValueError(f"must be at most {seconds}")
        return value

    return check


Wait = Annotated[Seconds, AfterValidator(_not_negative)]
Durations = Annotated[tuple[Duration, ...], BeforeValidator(_durations)]
Amount = Annotated[int, BeforeValidator(_micros), PlainSerializer(_plain_amount)]
Listen = Annotated[Address, BeforeValidator(_address), PlainSerializer(str)]
PostgresUrl = Annotated[str, AfterValidator(_postgres_url)]
Count = Annotated[int, Field(ge=1)]
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WEEK: tuple[Day, ...] = get_args(Day)


class Section(BaseModel):
    """What all sections share: unknown keys are refused, values stay as read, and no error repeats a value."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class DatabaseSettings(Section):
    """How to reach PostgreSQL; `owner_url` owns the database and may create roles (default: `url`)."""

    url: PostgresUrl = Field(repr=False)
    owner_url: PostgresUrl | None = Field(default=None, repr=False)
    pool_size: Count = 10
    statement_timeout: Duration = timedelta(seconds=10)
    connect_timeout: Duration = timedelta(seconds=5)
    role: Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_$]{0,62}$")] = "signaged_app"


class KafkaSettings(Section):
    """Where events go."""

    bootstrap_servers: Annotated[str, AfterValidator(_servers)]
    topic: Annotated[str, Field(pattern=r"^[a-zA-Z0-9._-]{1,249}$")] = "signage.campaigns"
    devices_topic: Annotated[str, Field(pattern=r"^[a-zA-Z0-9._-]{1,249}$")] = "signage.devices"
    idempotence: Literal["auto", "on", "off"] = "auto"
    # connecting takes at most twice as long, and the relay's heartbeat waits for it
    request_timeout: Annotated[Duration, AfterValidator(_at_most(20))] = timedelta(seconds=10)


class SmtpSettings(Section):
    """Where mail goes."""

    url: Annotated[str, _url("smtp", "smtps", "smtp+starttls")] = Field(default="smtp://127.0.0.1:25", repr=False)
    sender: Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+$")] = "signaged@localhost"
    # the mailer's heartbeat waits for it
    timeout: Annotated[Duration, AfterValidator(_at_most(45))] = timedelta(seconds=10)


class HttpSettings(Section):
    """The listener of the API and of the screens, and what one client may cost."""

    listen: Listen = Address("127.0.0.1", 8080)
    public_url: Annotated[str, _url("http", "https")] | None = None
    max_body_bytes: Count = 1_048_576
    header_timeout: Duration = timedelta(seconds=10)
    body_timeout: Duration = timedelta(seconds=60)
    idle_timeout: Duration = timedelta(seconds=75)
    max_connections: Count = 20_000


class OpsSettings(Section):
    """The listener of probes and metrics."""

    listen: Listen = Address("127.0.0.1", 9464)


class MediaSettings(Section):
    """Where the bytes of creatives lie."""

    folder: Path = Path("media")
    max_bytes: Count = 2_147_483_648


class RateSettings(Section):
    """One rate of the card: the price of a thousand plays in a kind of store, at hours of its day (SPEC 5)."""

    cpm_micros: Amount = Field(alias="cpm")
    category: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    days: tuple[Day, ...] = WEEK
    from_: Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")] = Field(default="00:00", alias="from")
    to: Annotated[str, Field(pattern=r"^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$")] = "24:00"

    @field_validator("days")
    @classmethod
    def _each_once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value or len(set(value)) < len(value):
            raise ValueError("must name at least one day, and none twice")
        return value

    @property
    def hours(self) -> dict[str, object] | None:
        """The hours as opening hours are written; None means always."""
        if set(self.days) == set(WEEK) and (self.from_, self.to) == ("00:00", "24:00"):
            return None
        return {"days": list(self.days), "from": self.from_, "to": self.to}


class MoneySettings(Section):
    """One currency per network, amounts in micros; the first of `rates` that fits goes before the default."""

    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] = "EUR"
    default_cpm_micros: Amount = Field(default=5_000_000, alias="default_cpm")
    rates: Annotated[tuple[RateSettings, ...], BeforeValidator(_tables)] = ()


class BookingSettings(Section):
    """What a tenant may book (SPEC 3)."""

    min_lead: Wait = timedelta(days=1)
    max_lead: Duration = timedelta(days=365)
    max_duration: Duration = timedelta(days=365)
    min_budget_micros: Amount = Field(default=100_000_000, alias="min_budget")
    max_budget_micros: Amount = Field(default=1_000_000_000_000, alias="max_budget")
    min_topup_micros: Amount = Field(default=50_000_000, alias="min_topup")
    approval_limit_micros: Amount = Field(default=10_000_000_000, alias="approval_limit")
    approval_wait: Duration = timedelta(days=30)
    running_limit: Annotated[int, Field(ge=0)] = 5
    max_creatives: Annotated[int, Field(ge=1, le=100)] = 10
    max_audience: Count = 1_000_000

    @model_validator(mode="after")
    def _ordered(self) -> "BookingSettings":
        if self.min_budget_micros > self.max_budget_micros:
            raise ValueError("min_budget exceeds max_budget")
        if self.min_lead > self.max_lead:
            raise ValueError("min_lead exceeds max_lead")
        return self


class DistributionSettings(Section):
    """How far ahead content goes out, and the readiness (percent) that is reported once."""

    lead: Wait = timedelta(days=1)
    ready_threshold: Annotated[int, Field(ge=1, le=100)] = 90


class PlaysSettings(Section):
    """How long after an end plays still count."""

    settle_after: Annotated[Wait, AfterValidator(_at_most(14400))] = timedelta(minutes=5)


class PlaylistSettings(Section):
    """How much time a playlist covers, and how much of it must remain; whole hours."""

    horizon: Duration = timedelta(hours=48)
    renew: Duration = timedelta(hours=26)

    @model_validator(mode="after")
    def _whole_hours(self) -> "PlaylistSettings":
        if self.horizon % timedelta(hours=1) or self.renew % timedelta(hours=1):
            raise ValueError("horizon and renew must be whole hours (multiples of 3600)")
        if self.renew > self.horizon - timedelta(hours=2):
            raise ValueError("renew must be at least two hours shorter than horizon")
        return self


class DevicesSettings(Section):
    """The rhythm of the screens and the life of their secrets."""

    poll_after: Duration = timedelta(minutes=5)
    heartbeat: Duration = timedelta(minutes=1)
    activation_days: Annotated[int, Field(ge=1, le=365)] = 30
    rotation_overlap: Wait = timedelta(days=1)


class TickerSettings(Section):
    """How due work is claimed and tried again."""

    batch: Annotated[int, Field(ge=1, le=100_000)] = 1000
    retries: Durations = (timedelta(seconds=5), timedelta(seconds=10), timedelta(seconds=20))
    recheck: Duration = timedelta(seconds=1)


class NoticesSettings(Section):
    """Whether mail is sent, and how many single ones a tenant gets in an hour before a digest tells the rest."""

    enabled: bool = True
    digest_above: Annotated[int, Field(ge=0)] = 50


class LogSettings(Section):
    """How much is logged."""

    level: Literal["debug", "info", "warning", "error"] = "info"


class RetentionSettings(Section):
    """How long what is no history is kept; ledger and log are kept for ever (SPEC 13)."""

    idempotency: Duration = timedelta(days=1)
    mails: Duration = timedelta(days=30)
    plays: Duration = timedelta(days=400)

    @field_validator("plays")
    @classmethod
    def _longer_than_a_repeat(cls, value: timedelta) -> timedelta:
        if value < timedelta(days=1):  # a play is known as answered as long as it could be sent again
            raise ValueError("must be at least 86400")
        return value


class Settings(Section):
    """Everything an operator may decide; config/signaged.toml says why one would."""

    database: DatabaseSettings
    kafka: KafkaSettings
    smtp: SmtpSettings = SmtpSettings()
    http: HttpSettings = HttpSettings()
    ops: OpsSettings = OpsSettings()
    media: MediaSettings = MediaSettings()
    money: MoneySettings = MoneySettings()
    booking: BookingSettings = BookingSettings()
    distribution: DistributionSettings = DistributionSettings()
    plays: PlaysSettings = PlaysSettings()
    playlist: PlaylistSettings = PlaylistSettings()
    devices: DevicesSettings = DevicesSettings()
    ticker: TickerSettings = TickerSettings()
    notices: NoticesSettings = NoticesSettings()
    log: LogSettings = LogSettings()
    retention: RetentionSettings = RetentionSettings()
