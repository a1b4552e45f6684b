"""A device's share of a campaign: what it is now, from what was reported and what time decides (SPEC 7)."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from playlists.ids import DeviceId, Digest, StoreId

PATIENCE = timedelta(minutes=30)  # without an ack since the offer


class Status(StrEnum):
    """How far a campaign has come on one device."""

    PENDING = "PENDING"
    OFFERED = "OFFERED"
    READY = "READY"
    FAILED = "FAILED"
    TIMED_OUT = "TIMED_OUT"
    DEFERRED = "DEFERRED"
    REMOVED = "REMOVED"


class Reason(StrEnum):
    """Why a delivery is what it is."""

    NOT_DISTRIBUTED = "NOT_DISTRIBUTED"
    AWAITING_ACK = "AWAITING_ACK"
    PLAYER_REPLACED = "PLAYER_REPLACED"  # offered again: what the earlier player held is gone
    MISSING = "MISSING"  # the device says that it has not all files yet
    UNVERIFIED = "UNVERIFIED"  # it says that it has, but nobody saw them delivered in full
    CORRUPT = "CORRUPT"
    VERIFIED = "VERIFIED"
    NO_ACK = "NO_ACK"
    NOT_TARGETED = "NOT_TARGETED"


class Delivery(NamedTuple):
    """One row of a campaign's list of deliveries."""

    device_id: DeviceId
    store_id: StoreId
    status: str
    reason: str
    offered_at: datetime | None
    ready_at: datetime | None
    digest: Digest | None
