"""The mails themselves, text and HTML, from facts alone; pure (SPEC 10)."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from email.utils import format_datetime
from functools import cache
from typing import NamedTuple

import css_inline
import jinja2

from daemon.campaigns.money import decimal
from daemon.notices.kinds import Kind
from playlists.ids import CampaignId
from playlists.localtime import with_offset

STORES = 50  # that a summary lists one by one


class StoreLine(NamedTuple):
    """What one store, or all that are not listed, showed of a campaign."""

    name: str
    city: str | None
    impressions: int
    spent_micros: int


class Summary(NamedTuple):
    """What only the mail after the end tells: lateness, and the stores with the most impressions."""

    start_late_ms: int | None
    end_late_ms: int | None
    stores: list[StoreLine]
    further_stores: int
    further: StoreLine | None  # their sum


class Notice(NamedTuple):
    """All that a mail says: what happened, of which campaign, to whom."""

    kind: Kind
    campaign_id: CampaignId
    sequence: int
    recipient: str
    tenant_name: str
    timezone: str
    currency: str
    campaign_name: str
    reason: str | None
    note: str | None
    due_at: datetime
    executed_at: datetime
    start_at: datetime | None
    end_at: datetime | None
    activated_at: datetime | None
    completed_at: datetime | None
    budget_micros: int | None
    spent_micros: int
    released_micros: int
    impressions: int
    screens: int
    summary: Summary | None


SUBJECTS = {
    Kind.STARTED: "{name} has started",
    Kind.COMPLETED: "{name} is completed: {impressions} impressions",
    Kind.REJECTED: "{name} was rejected",
    Kind.FAILED: "{name} has failed",
    Kind.MISSED: "{name} was missed",
    Kind.EXPIRED: "{name} has expired",
    Kind.PAUSED: "{name} is paused",
    Kind.RESUMED: "{name} goes on",
}
SENTENCES = {
    Kind.STARTED: "Your campaign has started.",
    Kind.COMPLETED: "Your campaign is completed and settled. These numbers are final.",
    Kind.REJECTED: "Your campaign was not approved. Its budget is back in your wallet; edit it to submit it again.",
    Kind.FAILED: "Your campaign cannot be carried out. What is left of its budget goes back to your wallet.",
    Kind.MISSED: "Your campaign's time has passed before it was on any screen. Its budget is back in your wallet.",
    Kind.EXPIRED: "Your campaign was not approved in time. Its budget is back in your wallet.",
    Kind.PAUSED: "Your campaign is paused and off the screens.",
    Kind.RESUMED: "Your campaign goes on.",
}
REASONS = {
    "BUDGET_EXHAUSTED": "its budget is used up; a top-up lets it go on",
    "NO_ELIGIBLE_DEVICES": "no screen is eligible for it",
    "TENANT_SUSPENDED": "your account is suspended",
    "EMERGENCY_STOP": "it was stopped by an operator of the network",
    "NEVER_DISTRIBUTED": "it was never distributed to screens",
    "DEVICES_FAILED": "none of its screens could take its content",
    "TRANSITION_FAILED": "a technical fault of ours",
}


def message(notice: Notice, sender: str, now: datetime) -> EmailMessage:
    """Make the mail of a notice, dated `now`; the same notice always has the same Message-ID.

    Raises ValueError when the recipient's address is none.
    """
    recipient = _address(notice.recipient, notice.tenant_name)
    mail = EmailMessage(policy=SMTP if recipient.username.isascii() else SMTPUTF8)
    name = one_line(notice.campaign_name)
    mail["From"] = Address("signaged", addr_spec=sender)
    mail["To"] = recipient
    mail["Subject"] = SUBJECTS[notice.kind].format(name=name, impressions=notice.impressions)
    mail["Date"] = format_datetime(now)
    domain = sender.rpartition("@")[2]
    mail["Message-ID"] = f"<{notice.campaign_id}.{notice.sequence}.{notice.kind}@{domain}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail["X-Signaged-Kind"] = str(notice.kind)
    mail["X-Signaged-Campaign"] = str(notice.campaign_id)
    contents = {
        "title": name,
        "sentence": SENTENCES[notice.kind],
        "facts": list(_facts(notice)),
        "stores": list(_stores(notice)),
        "tenant": one_line(notice.tenant_name),
    }
    text, html = _templates()
    mail.set_content(text.render(contents))
    mail.add_alternative(_inliner().inline(html.render(contents)), subtype="html")
    return mail


def one_line(text: str) -> str:
    """A name fit for a header and a heading: no line breaks, no control characters, no outer blanks."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def _address(text: str, name: str) -> Address:
    """An address whose domain is written in ASCII, so that only a local part may need SMTPUTF8."""
    user, _, domain = text.rpartition("@")
    if not user or not domain or not text.isprintable() or " " in text:
        raise ValueError(f"not an address: {text!r}")
    if not domain.isascii():
        domain = domain.encode("idna").decode("ascii")
    return Address(one_line(name), username=user, domain=domain)


def _facts(notice: Notice) -> Iterator[tuple[str, str]]:
    """The lines below the sentence: label and value."""

    def at(instant: datetime) -> str:
        local = with_offset(instant, notice.timezone)
        return f"{local:%Y-%m-%d %H:%M:%S} {notice.timezone} (UTC{local.isoformat()[-6:]})"

    def money(micros: int) -> str:
        return f"{decimal(micros)} {notice.currency}"

    if notice.reason is not None and notice.kind is not Kind.RESUMED:  # a resumption's is what has ended
        yield "Reason", REASONS.get(notice.reason, notice.reason)
    if notice.note:
        yield "Note", notice.note
    if notice.kind is Kind.COMPLETED:
        yield from _outcome(notice, at, money)
        return
    yield "When", at(notice.executed_at)
    if notice.kind is Kind.STARTED and notice.executed_at > notice.due_at:
        yield "Late by", lateness(int((notice.executed_at - notice.due_at) / timedelta(milliseconds=1)))
    if notice.start_at and notice.end_at:
        yield "Booked from", at(notice.start_at)
        yield "Booked to", at(notice.end_at)
    yield "Screens", str(notice.screens)
    if notice.budget_micros is not None:
        yield "Budget", money(notice.budget_micros)


def _outcome(notice: Notice, at: Callable[[datetime], str], money: Callable[[int], str]) -> Iterator[tuple[str, str]]:
    yield "Impressions", str(notice.impressions)
    yield "Spent", money(notice.spent_micros)
    yield "Released to your wallet", money(notice.released_micros)
    if notice.budget_micros is not None:
        yield "Budget", money(notice.budget_micros)
    summary = notice.summary
    if notice.activated_at:
        yield "Started", at(notice.activated_at)
    if summary and summary.start_late_ms is not None:
        yield "Start late by", lateness(summary.start_late_ms)
    if notice.completed_at:
        yield "Ended", at(notice.completed_at)
    if summary and summary.end_late_ms is not None:
        yield "End late by", lateness(summary.end_late_ms)
    yield "Screens", str(notice.screens)


def lateness(milliseconds: int) -> str:
    """A delay as people say it: `12 ms`, `1.4 s`, `2:05:00 h`."""
    if milliseconds < 1000:
        return f"{milliseconds} ms"
    if milliseconds < 60_000:
        return f"{milliseconds / 1000:.1f} s"
    return f"{timedelta(seconds=milliseconds // 1000)} h"


def _stores(notice: Notice) -> Iterator[tuple[str, str, str, str]]:
    """The rows of the table: store, city, impressions, spent."""
    if notice.summary is None:
        return
    lines = list(notice.summary.stores)
    if notice.summary.further is not None:
        lines.append(notice.summary.further._replace(name=f"{notice.summary.further_stores} more stores"))
    for line in lines:
        spent = f"{decimal(line.spent_micros)} {notice.currency}"
        yield one_line(line.name), one_line(line.city or ""), str(line.impressions), spent


@cache
def _templates() -> tuple[jinja2.Template, jinja2.Template]:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("daemon.notices"),
        autoescape=jinja2.select_autoescape(("html",), default_for_string=False),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("mail.txt"), environment.get_template("mail.html")


@cache
def _inliner() -> css_inline.CSSInliner:
    return css_inline.CSSInliner(load_remote_stylesheets=False)
