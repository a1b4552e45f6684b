"""Emergency stops on their way to the screens: who still holds what was stopped is told so (SPEC 7)."""

from daemon.database import Database
from devices.contents import Library
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
    async with database.transaction() as tx:
        held = {digest} if digest else await shown(tx, device_id)
        contents = await library.contents(tx, held)
    return any(not stopped.isdisjoint(one.campaigns) for one in contents.values())
