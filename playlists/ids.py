"""The identifiers that every package speaks, told apart by the type checker."""

from typing import NewType
from uuid import UUID

TenantId = NewType("TenantId", UUID)
CampaignId = NewType("CampaignId", UUID)
CreativeId = NewType("CreativeId", UUID)
StoreId = NewType("StoreId", UUID)
DeviceId = NewType("DeviceId", UUID)

# Both are 64 lower-case hex digits of a SHA-256: of a playlist's or an input's canonical bytes, of a media file.
Digest = NewType("Digest", str)
Sha256 = NewType("Sha256", str)
