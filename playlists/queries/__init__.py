"""Statements over creatives, marks and playlists, a module a subject; each takes the transaction first."""

from playlists.queries.creatives import (
    create_creative,
    creative_row,
    creative_rows,
    hold_creatives,
    house_fallback,
    list_creatives,
    mark_stored,
    patch_creative,
    set_house_fallback,
)
from playlists.queries.marks import mark_campaigns, mark_device, mark_network, mark_store, mark_stores
from playlists.queries.transaction import Row, Tx

__all__ = [
    "Row",
    "Tx",
    "create_creative",
    "creative_row",
    "creative_rows",
    "hold_creatives",
    "house_fallback",
    "list_creatives",
    "mark_campaigns",
    "mark_device",
    "mark_network",
    "mark_store",
    "mark_stored",
    "mark_stores",
    "patch_creative",
    "set_house_fallback",
]
