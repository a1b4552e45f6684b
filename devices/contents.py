"""What a playlist's body holds for campaigns: whose creatives, how long, in which files."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from uuid import UUID

import orjson

from playlists.ids import CampaignId, CreativeId, Digest, Sha256
from playlists.queries import Tx

MOST_KEPT = 2_000  # playlists; a network has about as many distinct ones

_BODIES = "SELECT digest, body FROM playlists WHERE digest = ANY ($1::text[])"


@dataclass(frozen=True, slots=True)
class Contents:
    """The campaigns' part of a playlist: durations in milliseconds by (campaign, creative), files by campaign.

    `files` has house content too: all that a screen must hold.
    """

    durations: Mapping[tuple[UUID, UUID], int]
    campaigns: Mapping[CampaignId, tuple[Sha256, ...]]
    files: frozenset[Sha256]


def read(body: bytes) -> Contents:
    """The contents of a playlist's canonical bytes, which only the compiler writes."""
    durations: dict[tuple[UUID, UUID], int] = {}
    campaigns: dict[CampaignId, tuple[Sha256, ...]] = {}
    entries = orjson.loads(body)["creatives"]
    for entry in entries:
        if entry["campaign_id"] is not None:
            campaign = CampaignId(UUID(entry["campaign_id"]))
            durations[campaign, CreativeId(UUID(entry["id"]))] = entry["duration_ms"]
            campaigns[campaign] = (*campaigns.get(campaign, ()), Sha256(entry["sha256"]))
    return Contents(durations, campaigns, frozenset(Sha256(entry["sha256"]) for entry in entries))


class Library:
    """The contents of the playlists that reports spoke of lately; a digest always means the same."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Digest, Contents] = OrderedDict()

    def kept(self, digest: Digest) -> Contents | None:
        """The contents of a playlist that somebody spoke of lately; None does not mean that there is none."""
        return self._kept.get(digest)

    async def contents(self, tx: Tx, digests: Iterable[Digest]) -> dict[Digest, Contents]:
        """The contents of those of the playlists that are kept here or in the database."""
        wanted = set(digests)
        unread = [digest for digest in wanted if digest not in self._kept]
        found = {digest: self._kept[digest] for digest in wanted if digest in self._kept}
        if unread:
            for row in await tx.fetch(_BODIES, unread):
                found[Digest(row["digest"])] = self._kept[Digest(row["digest"])] = read(row["body"])
        for digest in found:
            self._kept.move_to_end(digest)
        while len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)
        return found
