"""What all mails share: headers, a text and an HTML body of the same contents, times and money in words; pure."""

from collections.abc import Sequence
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
from playlists.localtime import with_offset

WIDEST = 40  # letters of a column of the text body


class Column(NamedTuple):
    """The head of a table's column; numbers stand on the right."""

    name: str
    number: bool = False


class Table(NamedTuple):
    """A table below the facts."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]

    @property
    def widths(self) -> list[int]:
        """How wide each column of the text body is; what is longer pushes the rest of its line aside."""
        lines = [[column.name for column in self.columns], *self.rows]
        return [min(WIDEST, max(map(len, cells))) for cells in zip(*lines, strict=True)]


class Contents(NamedTuple):
    """What a mail says: a title, a sentence, labelled facts, perhaps a table, and for whom."""

    title: str
    sentence: str
    facts: Sequence[tuple[str, str]]
    table: Table | None
    tenant: str


class Envelope(NamedTuple):
    """To whom a mail goes and as what; `id` is all before the @ of its Message-ID."""

    recipient: str
    tenant_name: str
    subject: str
    id: str
    kind: str


def written(envelope: Envelope, contents: Contents, sender: str, now: datetime) -> EmailMessage:
    """Make a mail, dated `now`; what is the same in the envelope has the same Message-ID.

    Raises ValueError when the recipient's address is none.
    """
    recipient = _address(envelope.recipient, envelope.tenant_name)
    mail = EmailMessage(policy=SMTP if recipient.username.isascii() else SMTPUTF8)
    mail["From"] = Address("signaged", addr_spec=sender)
    mail["To"] = recipient
    mail["Subject"] = envelope.subject
    mail["Date"] = format_datetime(now)
    mail["Message-ID"] = f"<{envelope.id}@{sender.rpartition('@')[2]}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail["X-Signaged-Kind"] = envelope.kind
    text, html = _templates()
    # never 8-bit and no long lines, whatever the names: some servers still break both
    mail.set_content(text.render(contents._asdict()), cte="quoted-printable")
    page = _inliner().inline(html.render(contents._asdict()))
    mail.add_alternative(page, subtype="html", cte="quoted-printable")
    return mail


def _address(text: str, name: str) -> Address:
    """An address whose domain is written in ASCII, so that only a local part may need SMTPUTF8."""
    user, _, domain = text.rpartition("@")
    if not user or not domain or not text.isprintable() or " " in text:
        raise ValueError(f"not an address: {text!r}")
    if not domain.isascii():
        domain = domain.encode("idna").decode("ascii")
    return Address(one_line(name), username=user, domain=domain)


def one_line(text: str) -> str:
    """A name fit for a header and a heading: no line breaks, no control characters, no outer blanks."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def local_time(instant: datetime, timezone: str) -> str:
    """An instant as an advertiser reads it: wall time, zone and offset."""
    local = with_offset(instant, timezone)
    return f"{local:%Y-%m-%d %H:%M:%S} {timezone} (UTC{local.isoformat()[-6:]})"


def amount(micros: int, currency: str) -> str:
    """Money with its currency."""
    return f"{decimal(micros)} {currency}"


def lateness(milliseconds: int) -> str:
    """A delay as people say it: `12 ms`, `1.4 s`, `2:05:00 h`."""
    if milliseconds < 1000:
        return f"{milliseconds} ms"
    if milliseconds < 60_000:
        return f"{milliseconds / 1000:.1f} s"
    return f"{timedelta(seconds=milliseconds // 1000)} h"


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
    # the rules for dark screens cannot stand inline: they are kept where programs that know them look
    return css_inline.CSSInliner(load_remote_stylesheets=False, keep_at_rules=True)
