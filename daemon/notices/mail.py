"""The mail about one change, from facts alone; pure (SPEC 10)."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from email.message import EmailMessage
from typing import Any, NamedTuple

from daemon.notices.kinds import Kind
from daemon.notices.letter import (
    Column,
    Contents,
    Envelope,
    Table,
    amount,
    lateness,
    local_time,
    one_line,
    written,
)
from daemon.notices.wording import SENTENCES, SUBJECTS, reason_in_words
from playlists.ids import CampaignId

STORES = 50  # that a summary lists one by one
_MILLISECOND = timedelta(milliseconds=1)


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
    """All that a mail says: what happened, of which campaign, to whom; `changes` and `moved` are the log's."""

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
    changes: Sequence[Mapping[str, Any]]
    moved: Mapping[str, Any]
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

    @property
    def late_ms(self) -> int:
        """Whole milliseconds between when the change was due and when it was done."""
        return (self.executed_at - self.due_at) // _MILLISECOND

    def at(self, instant: datetime) -> str:
        """An instant in the advertiser's zone."""
        return local_time(instant, self.timezone)

    def money(self, micros: int) -> str:
        """An amount in the advertiser's currency."""
        return amount(micros, self.currency)


def message(notice: Notice, sender: str, now: datetime) -> EmailMessage:
    """Make the mail of a notice, dated `now`; the same notice always has the same Message-ID.

    Raises ValueError when the recipient's address is none.
    """
    name = one_line(notice.campaign_name)
    subject = SUBJECTS[notice.kind].format(name=name, impressions=notice.impressions)
    mail_id = f"{notice.campaign_id.hex}.{notice.sequence}"  # short: a header that must be folded confuses some
    if notice.kind is Kind.BUDGET_USED:  # beside the change before it
        mail_id += ".budget"
    envelope = Envelope(notice.recipient, notice.tenant_name, subject, mail_id, str(notice.kind))
    contents = Contents(
        name, SENTENCES[notice.kind], list(_facts(notice)), _table(notice), one_line(notice.tenant_name)
    )
    mail = written(envelope, contents, sender, now)
    mail["X-Signaged-Campaign"] = str(notice.campaign_id)
    return mail


def _facts(notice: Notice) -> Iterator[tuple[str, str]]:
    """The lines below the sentence: label and value."""
    if notice.reason is not None and notice.kind is not Kind.RESUMED:  # a resumption's is what has ended
        yield "Reason", reason_in_words(notice.reason)
    if notice.note:
        yield "Note", one_line(notice.note)
    if notice.kind is Kind.COMPLETED:
        yield from _outcome(notice)
        return
    yield "When", notice.at(notice.executed_at)
    if notice.kind is Kind.STARTED and notice.executed_at > notice.due_at:
        yield "Late by", lateness(notice.late_ms)
    if notice.kind is Kind.RESCHEDULED:
        yield from _moved_times(notice)
    if notice.start_at and notice.end_at:
        yield "Booked from", notice.at(notice.start_at)
        yield "Booked to", notice.at(notice.end_at)
    yield from _screens(notice)
    if notice.budget_micros is not None:
        yield "Budget", notice.money(notice.budget_micros)
        if notice.kind is Kind.BUDGET_USED:
            yield "Spent", notice.money(notice.spent_micros)


def _screens(notice: Notice) -> Iterator[tuple[str, str]]:
    if notice.kind is not Kind.AT_RISK:
        yield "Screens", str(notice.screens)
        return
    yield "Screens ready", f"{notice.moved.get('ready', 0)} of {notice.moved.get('recipients', notice.screens)}"
    yield "Stores concerned", str(notice.moved.get("stores_at_risk", 0))


def _moved_times(notice: Notice) -> Iterator[tuple[str, str]]:
    """What a newer time zone version did: old instants, and the version; the new instants are the booked ones."""
    labels = {"start_at": "Was booked from", "end_at": "Was booked to", "tzdata_version": "Time zone data"}
    for change in notice.changes:
        old, label = change.get("old"), labels.get(str(change.get("field")))
        if label is None or old is None:
            continue
        if str(change["field"]).endswith("_at"):
            yield label, notice.at(datetime.fromisoformat(str(old)))
        else:
            yield label, one_line(f"{change.get('new')} (before: {old})")


def _outcome(notice: Notice) -> Iterator[tuple[str, str]]:
    yield "Impressions", str(notice.impressions)
    yield "Spent", notice.money(notice.spent_micros)
    yield "Released to your wallet", notice.money(notice.released_micros)
    if notice.budget_micros is not None:
        yield "Budget", notice.money(notice.budget_micros)
    summary = notice.summary
    if notice.activated_at:
        yield "Started", notice.at(notice.activated_at)
    if summary and summary.start_late_ms is not None:
        yield "Start late by", lateness(summary.start_late_ms)
    if notice.completed_at:
        yield "Ended", notice.at(notice.completed_at)
    if summary and summary.end_late_ms is not None:
        yield "End late by", lateness(summary.end_late_ms)
    yield "Screens", str(notice.screens)


def _table(notice: Notice) -> Table | None:
    """Store by store: what was played, or what is not ready."""
    if notice.summary and notice.summary.stores:
        columns = Column("Store"), Column("City"), Column("Impressions", number=True), Column("Spent", number=True)
        return Table(columns, list(_played(notice, notice.summary)))
    if notice.kind is Kind.AT_RISK and notice.moved.get("stores"):
        columns = Column("Store"), Column("City"), Column("Screens", number=True), Column("Ready", number=True)
        return Table(columns, list(_lacking(notice.moved)))
    return None


def _played(notice: Notice, summary: Summary) -> Iterator[tuple[str, str, str, str]]:
    lines = list(summary.stores)
    if summary.further is not None:
        lines.append(summary.further._replace(name=_more(summary.further_stores)))
    for line in lines:
        spent = notice.money(line.spent_micros)
        yield one_line(line.name), one_line(line.city or ""), str(line.impressions), spent


def _lacking(moved: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    for store in moved["stores"]:
        yield one_line(store["name"]), one_line(store["city"] or ""), str(store["devices"]), str(store["ready"])
    if (further := moved["stores_at_risk"] - len(moved["stores"])) > 0:
        yield _more(further), "", "", ""


def _more(stores: int) -> str:
    return f"{stores} more {'store' if stores == 1 else 'stores'}"
