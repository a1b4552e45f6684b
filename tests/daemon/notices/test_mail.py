import re
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import default
from typing import Any
from uuid import UUID

import pytest

from daemon.campaigns.campaign import TRANSITIONS, Reason, TransitionType, legal_changes
from daemon.campaigns.events import Transition
from daemon.notices.kinds import Kind, kind
from daemon.notices.mail import Notice, StoreLine, Summary, message
from daemon.notices.wording import REASONS
from playlists.ids import CampaignId, TenantId
from tests.daemon.notices.page import Page

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
CAMPAIGN = CampaignId(UUID("019aab00-0000-7000-8000-000000000001"))
SENDER = "signaged@ads.example"


def notice(of: Kind = Kind.STARTED, **others: Any) -> Notice:
    return Notice(
        kind=of, campaign_id=CAMPAIGN, sequence=4, recipient="ads@acme.example", tenant_name="Acme",
        timezone="Australia/Lord_Howe", currency="EUR", campaign_name="Sale", reason=None, note=None, changes=[],
        moved={}, due_at=NOW, executed_at=NOW + timedelta(milliseconds=12), start_at=NOW,
        end_at=NOW + timedelta(days=1), activated_at=NOW,
        completed_at=NOW + timedelta(days=1), budget_micros=500_000_000, spent_micros=123_456_700,
        released_micros=376_543_300, impressions=25, screens=3, summary=None,
    )._replace(**others)  # fmt: skip


def parsed(mail: EmailMessage) -> Any:
    """The mail as its reader's program parses it."""
    return BytesParser(policy=default).parsebytes(mail.as_bytes().replace(b"\r\n", b"\n"))


def received(of: Notice) -> Any:
    return parsed(message(of, SENDER, NOW))


@pytest.mark.parametrize("of", sorted(set(Kind) - {Kind.DIGEST}))
def test_every_kind_has_its_headers_and_both_bodies(of: Kind) -> None:
    mail = received(notice(of))
    assert mail["From"] == f"signaged <{SENDER}>"
    assert mail["To"] == "Acme <ads@acme.example>"
    assert mail["Message-ID"] == f"<{CAMPAIGN.hex}.4{'.budget' if of is Kind.BUDGET_USED else ''}@ads.example>"
    assert mail["Date"].datetime == NOW
    assert (mail["X-Signaged-Kind"], mail["X-Signaged-Campaign"]) == (of, str(CAMPAIGN))
    assert mail["Auto-Submitted"] == "auto-generated"
    assert "Sale" in mail["Subject"]
    assert [part.get_content_type() for part in mail.iter_parts()] == ["text/plain", "text/html"]
    text, page = (part.get_content() for part in mail.iter_parts())
    assert "Sale\n====\n" in text
    assert 'style="' in page
    assert Page(page).foreign == []
    sent = message(notice(of, campaign_name="Ünïcödé " * 12), SENDER, NOW).as_bytes()
    assert sent.isascii()
    assert max(map(len, sent.split(b"\r\n"))) <= 78
    assert b"\n" not in sent.replace(b"\r\n", b"")


def test_times_are_the_advertisers_and_money_has_its_currency() -> None:
    text = received(notice()).get_body(("plain",)).get_content()
    assert "2026-11-22 23:00:00 Australia/Lord_Howe (UTC+11:00)" in text
    assert re.search(r"^Late by: +12 ms$", text, re.MULTILINE)
    assert re.search(r"^Budget: +500.00 EUR$", text, re.MULTILINE)


def test_the_summary_tells_numbers_lateness_and_stores() -> None:
    summary = Summary(
        12, 90_061_000, [StoreLine("Laden 1", "Köln", 20, 123_000_000)], 7, StoreLine("", None, 5, 456_700)
    )
    mail = received(notice(Kind.COMPLETED, summary=summary))
    assert mail["Subject"] == "Sale is completed: 25 impressions"
    text, page = (part.get_content() for part in mail.iter_parts())
    for line in (
        "Impressions: +25", "Spent: +123.4567 EUR", "Released to your wallet: +376.5433 EUR", "Start late by: +12 ms",
        "End late by: +1 day, 1:01:01 h", "Laden 1 +Köln +20 +123.00 EUR", "7 more stores +5 +0.4567 EUR",
    ):  # fmt: skip
        assert re.search(f"^{line}$", text, re.MULTILINE), line
    assert re.search(r"<td[^>]*>Laden 1</td><td[^>]*>Köln</td><td[^>]*>20</td><td[^>]*>123.00 EUR</td>", page)


def test_names_cannot_add_headers_or_markup() -> None:
    evil = "Sale\r\nBcc: all@acme.example\n\n<script>\x00"
    sent = message(notice(campaign_name=evil, tenant_name=evil, note=evil), SENDER, NOW).as_bytes()
    mail: Any = BytesParser(policy=default).parsebytes(sent)
    assert mail["Bcc"] is None
    assert mail["Subject"] == "Sale Bcc: all@acme.example <script> has started"
    assert [address.addr_spec for address in mail["To"].addresses] == ["ads@acme.example"]
    assert "<script>" not in mail.get_body(("html",)).get_content()


def test_names_and_addresses_of_any_script() -> None:
    mail = received(notice(campaign_name="夏のセール 🌞", tenant_name="Ünsal", recipient="anzeigen@bücher.example"))
    assert mail["Subject"] == "夏のセール 🌞 has started"
    assert mail["To"].addresses[0].display_name == "Ünsal"
    assert mail["To"].addresses[0].addr_spec == "anzeigen@xn--bcher-kva.example"
    local = message(notice(recipient="jürgen@acme.example"), SENDER, NOW)
    assert "jürgen@acme.example".encode() in local.as_bytes()


@pytest.mark.parametrize("address", ["", "nobody", "a b@acme.example", "a@acme.example\r\nBcc: b@acme.example", "@x"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="not an address"):
        message(notice(recipient=address), SENDER, NOW)


def transition(of: tuple[str, str | None, str], reason: str | None, actor: str) -> Transition:
    return Transition(
        CAMPAIGN, TenantId(CAMPAIGN), 1, of[0], "Sale", "signage", of[1], of[2], reason, None, [], {}, NOW, NOW, None,
        None, 0, actor, "c",
    )  # fmt: skip


def test_who_is_written_to_about_what() -> None:
    told = {
        (change, reason): kind(transition(change, reason, "signaged" if reason != "USER" else "token:1"))
        for change in legal_changes()
        for reason in ("USER", "BUDGET_EXHAUSTED")
    }
    mails = {(change[0], change[1], change[2], reason, mail) for (change, reason), mail in told.items() if mail}
    assert {mail for *_, mail in mails} == set(Kind) - {Kind.BUDGET_USED, Kind.DIGEST}
    assert ("settled", "COMPLETED", "COMPLETED", "USER", "completed") in mails
    for quiet in (
        ("settled", "CANCELLED", "CANCELLED"),
        ("settled", "FAILED", "FAILED"),
        ("paused", "PAUSED", "PAUSED"),
    ):
        assert told[quiet, "BUDGET_EXHAUSTED"] is None
    assert told[("paused", "ACTIVE", "PAUSED"), "BUDGET_EXHAUSTED"] is Kind.PAUSED
    assert told[("paused", "ACTIVE", "PAUSED"), "USER"] is None
    assert told[("completed", "ACTIVE", "COMPLETED"), "BUDGET_EXHAUSTED"] is None
    assert set(TRANSITIONS) == set(TransitionType)


def test_every_reason_of_the_systems_has_words() -> None:
    people = {Reason.USER, Reason.OPERATOR, Reason.CREATIVE_FLAGGED, Reason.OVER_APPROVAL_LIMIT}
    assert set(Reason) - people <= set(REASONS)
