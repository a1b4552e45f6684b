"""Money: what a play costs, and every transfer between accounts, append-only, in integer micros (SPEC 5)."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import NamedTuple

from daemon.campaigns.campaign import Campaign
from daemon.campaigns.errors import InsufficientFunds
from playlists.ids import CampaignId, TenantId
from playlists.queries import Tx

LONGEST_PRICED_MS = 15_000


def price_micros(cpm_micros: int, creative_ms: int, priority: int) -> int:
    """What one play costs: cpm x min(duration, 15 s) x factor / 15 s / 1000, floored once (SPEC 5).

    `cpm_micros` is the price of a thousand plays of 15 s, `creative_ms` the creative's duration; priority 9 and 10
    cost 110 %, 1 to 3 cost 90 %.
    """
    factor_pct = 110 if priority >= 9 else 90 if priority <= 3 else 100
    return cpm_micros * min(creative_ms, LONGEST_PRICED_MS) * factor_pct // (1000 * LONGEST_PRICED_MS * 100)


HOLD = """
WITH taken AS (
    UPDATE tenants SET available_micros = available_micros - $4 WHERE id = $1 AND available_micros >= $4 RETURNING id
)
INSERT INTO ledger (tenant_id, campaign_id, sequence, kind, debit, credit, amount_micros, at)
SELECT id, $2, $3, 'hold', 'available', 'held', $4, $5 FROM taken
RETURNING amount_micros"""
AVAILABLE = "SELECT available_micros FROM tenants WHERE id = $1"


async def hold(tx: Tx, campaign: Campaign, sequence: int, amount_micros: int, now: datetime) -> None:
    """Take an amount of the tenant's available money for a campaign; `sequence` is that of its transition.

    Raises InsufficientFunds. The campaign's own `held_micros` are the caller's to write.
    """
    if await tx.fetchval(HOLD, campaign.tenant_id, campaign.id, sequence, amount_micros, now) is None:
        raise InsufficientFunds(await tx.fetchval(AVAILABLE, campaign.tenant_id), amount_micros)


RELEASE = """
WITH given AS (UPDATE tenants SET available_micros = available_micros + $4 WHERE id = $1 RETURNING id)
INSERT INTO ledger (tenant_id, campaign_id, sequence, kind, debit, credit, amount_micros, at)
SELECT id, $2, $3, 'release', 'held', 'available', $4, $5 FROM given"""


async def release(tx: Tx, campaign: Campaign, sequence: int, amount_micros: int, now: datetime) -> None:
    """Give an amount that a campaign held back to its tenant; `sequence` is that of its transition.

    The campaign's own `held_micros` and `released_micros` are the caller's to write.
    """
    if amount_micros:
        await tx.execute(RELEASE, campaign.tenant_id, campaign.id, sequence, amount_micros, now)


DEPOSIT = """
WITH funded AS (
    UPDATE tenants SET funded_micros = funded_micros + $2, available_micros = available_micros + $2
    WHERE id = $1 RETURNING id
)
INSERT INTO ledger (tenant_id, kind, debit, credit, amount_micros, reference, at)
SELECT id, 'deposit', 'cash', 'available', $2, $3, $4 FROM funded"""


async def deposit(tx: Tx, tenant_id: TenantId, amount_micros: int, reference: str, now: datetime) -> None:
    """Put money into a tenant's wallet; the amount is more than zero."""
    await tx.execute(DEPOSIT, tenant_id, amount_micros, reference, now)


ADJUST = """
WITH adjusted AS (
    UPDATE tenants SET funded_micros = funded_micros + $2, available_micros = available_micros + $2
    WHERE id = $1 AND available_micros + $2 >= 0 RETURNING id
)
INSERT INTO ledger (tenant_id, kind, debit, credit, amount_micros, reference, actor, at)
SELECT id, 'adjustment', CASE WHEN $2 > 0 THEN 'cash' ELSE 'available' END,
       CASE WHEN $2 > 0 THEN 'available' ELSE 'cash' END, abs($2), $3, $4, $5
FROM adjusted
RETURNING amount_micros"""


async def adjust(tx: Tx, tenant_id: TenantId, amount_micros: int, reason: str, actor: str, now: datetime) -> None:
    """Correct a tenant's wallet by a signed amount that is not zero; what is held or spent is never touched.

    Raises InsufficientFunds when less is available than is to be taken.
    """
    if await tx.fetchval(ADJUST, tenant_id, amount_micros, reason, actor, now) is None:
        raise InsufficientFunds(await tx.fetchval(AVAILABLE, tenant_id), -amount_micros)


class Charge(NamedTuple):
    """What the plays of one batch come to for one campaign; impressions count unpaid ones too."""

    campaign_id: CampaignId
    charged_micros: int
    impressions: int


class DayCharge(NamedTuple):
    """What of a charge fell on one local date of a campaign with a daily cap; more than zero."""

    campaign_id: CampaignId
    spent_on: date
    charged_micros: int


# The tenant's row is not touched: what it spent is the sum over its campaigns.
_CHARGE = """
WITH charges AS (
    SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::bigint[]) AS c (campaign_id, charged_micros, impressions)
), charged AS (
    UPDATE campaigns c
    SET held_micros = held_micros - x.charged_micros, spent_micros = spent_micros + x.charged_micros,
        impressions = c.impressions + x.impressions
    FROM charges x WHERE c.id = x.campaign_id
    RETURNING c.id, c.tenant_id, x.charged_micros
){days}
INSERT INTO ledger (tenant_id, campaign_id, kind, debit, credit, amount_micros, at)
SELECT tenant_id, id, 'charge', 'held', 'spent', charged_micros, $4 FROM charged WHERE charged_micros > 0"""
CHARGE = _CHARGE.format(days="")
CHARGE_DAYS = _CHARGE.format(
    days=""", days AS (
    INSERT INTO daily_spends AS d (campaign_id, spent_on, spent_micros)
    SELECT * FROM unnest($5::uuid[], $6::date[], $7::bigint[])
    ON CONFLICT (campaign_id, spent_on) DO UPDATE SET spent_micros = d.spent_micros + excluded.spent_micros
)"""
)


async def charge(tx: Tx, charges: Sequence[Charge], now: datetime, days: Sequence[DayCharge] = ()) -> None:
    """Move what plays cost from held to spent and count them, one posting per campaign that paid.

    `days` splits the charges of campaigns with a daily cap, a local date once each. The caller holds the campaigns'
    rows locked, in order of id, and charges no more than each holds.
    """
    if days:
        await tx.execute(CHARGE_DAYS, *zip(*charges, strict=True), now, *zip(*days, strict=True))
    elif charges:
        await tx.execute(CHARGE, *zip(*charges, strict=True), now)
