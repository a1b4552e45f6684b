"""The one mail that tells an hour of a tenant when single ones were too many; pure (SPEC 10)."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from typing import NamedTuple

from daemon.notices.kinds import Kind
from daemon.notices.letter import Column, Contents, Envelope, Table, lateness, local_time, one_line, written
from daemon.notices.mail import Notice
from daemon.notices.wording import EVENTS, reason_in_words
from playlists.ids import TenantId
from playlists.localtime import with_offset

HOUR = timedelta(hours=1)
LISTED = 300  # lines of one digest: more, and programs cut the mail off; the rest stands in its counts
# what a person may have to act on stands first
ORDER = (
    Kind.FAILED, Kind.MISSED, Kind.EXPIRED, Kind.REJECTED, Kind.PAUSED, Kind.AT_RISK, Kind.BUDGET_USED,
    Kind.RESCHEDULED, Kind.RESUMED, Kind.STARTED, Kind.COMPLETED,
)  # fmt: skip
COLUMNS = Column("Time"), Column("Campaign"), Column("What"), Column("Details")
SENTENCE = (
    "More happened to your campaigns than single mails are sent for in an hour: here is what no other mail told you."
)


class Digest(NamedTuple):
    """What the mails of one tenant and hour say together; `notices` are the first LISTED in ORDER."""

    tenant_id: TenantId
    recipient: str
    tenant_name: str
    timezone: str
    hour: datetime
    counts: Mapping[Kind, int]
    notices: Sequence[Notice]

    @property
    def total(self) -> int:
        """How many changes it tells."""
        return sum(self.counts.values())


def message(digest: Digest, sender: str, now: datetime) -> EmailMessage:
    """Make the mail of a digest, dated `now`; a tenant's hour always has the same Message-ID.

    Raises ValueError when the recipient's address is none.
    """
    begins, ends = (with_offset(at, digest.timezone) for at in (digest.hour, digest.hour + HOUR))
    subject = f"{digest.total} news of your campaigns, {begins:%Y-%m-%d %H:%M} to {ends:%H:%M}"
    mail_id = f"{digest.tenant_id.hex}.{digest.hour.astimezone(UTC):%Y%m%dT%H}"
    envelope = Envelope(digest.recipient, digest.tenant_name, subject, mail_id, str(Kind.DIGEST))
    table = Table(COLUMNS, [*_lines(digest)])
    contents = Contents(subject, SENTENCE, [*_facts(digest)], table, one_line(digest.tenant_name))
    return written(envelope, contents, sender, now)


def _facts(digest: Digest) -> Iterator[tuple[str, str]]:
    yield "From", local_time(digest.hour, digest.timezone)
    yield "To", local_time(digest.hour + HOUR, digest.timezone)
    for kind in ORDER:
        if count := digest.counts.get(kind, 0):
            yield EVENTS[kind].capitalize(), str(count)


def _lines(digest: Digest) -> Iterator[tuple[str, str, str, str]]:
    for notice in digest.notices:
        at = with_offset(notice.executed_at, digest.timezone)
        yield f"{at:%Y-%m-%d %H:%M:%S}", one_line(notice.campaign_name), EVENTS[notice.kind], _detail(notice)
    if (further := digest.total - len(digest.notices)) > 0:
        yield "", f"{further} more", "", "counted above"


def _detail(notice: Notice) -> str:
    """What matters most of a change, in a few words."""
    match notice.kind:
        case Kind.COMPLETED:
            spent, released = notice.money(notice.spent_micros), notice.money(notice.released_micros)
            return f"{notice.impressions} impressions, spent {spent}, released {released}"
        case Kind.STARTED:
            late = f", late by {lateness(notice.late_ms)}" if notice.late_ms >= 1000 else ""
            return f"{notice.screens} screens{late}"
        case Kind.RESUMED:
            return ""
        case Kind.RESCHEDULED if notice.start_at and notice.end_at:
            return f"{notice.at(notice.start_at)} to {notice.at(notice.end_at)}"
        case Kind.BUDGET_USED:
            return f"spent {notice.money(notice.spent_micros)} of {notice.money(notice.budget_micros or 0)}"
    said = reason_in_words(notice.reason) if notice.reason else ""
    return ": ".join(filter(None, (said, one_line(notice.note or ""))))
