"""Emergency stops on their way to the screens: who still holds what was stopped is told so (SPEC 7)."""

from daemon.database import Database
from devices.contents import Contents, Library
from devices.queries.holding import shown
from playlists.ids import CampaignId, DeviceId, Digest


async def concerned(
    database: Database, library: Library, stopped: frozenset[CampaignId], device_id: DeviceId, digest: Digest | None
) -> bool:
    """Whether a device that plays by this digest (None: it does not say) has one of the stopped campaigns.

    Raises DatabaseUnavailable.
    """
    if not stopped:
        return False
    known = library.kept(digest) if digest else None
    if known is not None:
        return _has(known, stopped)
    async with database.transaction() as tx:
        held = {digest} if digest else await shown(tx, device_id)
        contents = await library.contents(tx, held)
    return any(_has(one, stopped) for one in contents.values())


def _has(contents: Contents, stopped: frozenset[CampaignId]) -> bool:
    return any(campaign in contents.campaigns for campaign in stopped)
