"""The mail queue's SQL: owed in a change's transaction, claimed when due, settled after the server's answer."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import orjson

from daemon.campaigns.events import Transition
from playlists.ids import CampaignId, TenantId
from playlists.queries import Tx


class Mail(NamedTuple):
    """A mail that is owed; `facts` is JSON of what the log's row of the change does not keep."""

    kind: str
    tenant_id: TenantId
    campaign_id: CampaignId
    sequence: int
    facts: bytes


def owed(kind: str, transition: Transition) -> Mail:
    """The mail of one kind that a transition owes."""
    facts = orjson.dumps({"campaign_name": transition.campaign_name})
    return Mail(kind, transition.tenant_id, transition.campaign_id, transition.sequence, facts)


APPEND = """
INSERT INTO mails (kind, tenant_id, campaign_id, sequence, facts, created_at, next_attempt_at)
SELECT kind, tenant_id, campaign_id, sequence, convert_from(facts, 'UTF8')::jsonb, $6, $6
FROM unnest($1::text[], $2::uuid[], $3::uuid[], $4::integer[], $5::bytea[])
     AS mail (kind, tenant_id, campaign_id, sequence, facts)"""


async def append(tx: Tx, mails: Sequence[Mail], now: datetime) -> None:
    """Owe mails (one or more); they are due at once."""
    await tx.execute(APPEND, *zip(*mails, strict=True), now)
