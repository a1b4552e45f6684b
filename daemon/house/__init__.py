"""The one image that ships with signaged: what screens show between ads where nobody gave other house content."""

from pathlib import Path
from typing import Final
from uuid import UUID

from playlists.ids import CreativeId, Sha256
from playlists.placement import Media

FILE: Final = Path(__file__).with_name("signaged.png")
SHIPPED: Final = Media(
    creative_id=CreativeId(UUID("00000000-0000-7000-8000-000000000001")),
    sha256=Sha256("c40bed1f65d7ec1630ec87658da31231aecf6a5770c2b1ea413114962b061164"),
    size=7469,
    mime="image/png",
    duration_ms=10_000,
)
