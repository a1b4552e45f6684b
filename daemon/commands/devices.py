"""`signaged device`: the screens of the network, from the machine the daemon runs on."""

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

from cyclopts import App, Parameter

from daemon.commands.options import ConfigFile, Json, UsageError, as_json, settings_of, transaction

if TYPE_CHECKING:
    from config.settings import Settings
    from devices.device import Device
    from playlists.queries import Tx

app = App(name="device", help="See the screens of the network, give them activation codes, lock them out.")

Id = Annotated[UUID, Parameter(help="A device's id, as `signaged device list` shows it.")]


@app.command(name="list")
async def list_known(
    *,
    tag: Annotated[str | None, Parameter(help="Only those with this tag.")] = None,
    store: Annotated[UUID | None, Parameter(help="Only those of this store.")] = None,
    after: Annotated[UUID | None, Parameter(help="Go on behind this device.")] = None,
    limit: Annotated[int, Parameter(help="How many at most.")] = 100,
    config: ConfigFile = None,
    json: Json = False,
) -> int:
    """List devices with their status and when they were last seen.

    Example: `signaged device list --tag entrance --config signaged.toml`
    """
    from devices.queries.devices import list_devices
    from playlists.ids import DeviceId, StoreId

    settings = settings_of(config)
    first = DeviceId(after) if after else None
    place = StoreId(store) if store else None
    async with transaction(settings) as (tx, _):
        found = await list_devices(tx, first, limit, _patience(settings), place, tag)
    if json:
        print(as_json([_plain(device) for device in found]))
    else:
        for device in found:
            seen = f"{device.last_seen_at:%Y-%m-%dT%H:%M:%SZ}" if device.last_seen_at else "never seen"
            print(f"{device.id}  {device.status:<8}  {seen:<20}  {device.fields.name}")
    return 0


@app.command
async def activate(device: Id, /, *, config: ConfigFile = None, json: Json = False) -> int:
    """Print a new activation code for a device, to be typed in at its player; earlier codes stay good.

    Example: `signaged device activate 01931f2e-7a7c-7c4e-8d5f-0c8f3c0a9b11`
    """
    from devices.enrolment import issue_code

    settings = settings_of(config)
    async with transaction(settings) as (tx, now):
        known = await _known(tx, device, settings)
        code, until = await issue_code(tx, known.id, now, timedelta(days=settings.devices.activation_days))
    print(as_json({"code": code, "expires_at": until}) if json else code)
    return 0


@app.command
async def revoke(device: Id, /, *, config: ConfigFile = None, json: Json = False) -> int:
    """Void all tokens and codes of a device: within seconds no instance answers its player any more.

    Example: `signaged device revoke 01931f2e-7a7c-7c4e-8d5f-0c8f3c0a9b11`
    """
    from devices import enrolment

    settings = settings_of(config)
    async with transaction(settings) as (tx, now):
        number = await enrolment.revoke(tx, (await _known(tx, device, settings)).id, now)
    print(as_json({"revoked": number}) if json else f"revoked {number}")
    return 0


async def _known(tx: "Tx", device: UUID, settings: "Settings") -> "Device":
    from devices.queries.devices import device_row
    from playlists.ids import DeviceId

    known = await device_row(tx, DeviceId(device), _patience(settings))
    if known is None:
        raise UsageError(f"there is no device {device}")
    return known


def _plain(device: "Device") -> dict[str, object]:
    fields = device.fields
    return {
        "id": device.id,
        "store_id": fields.store_id,
        "name": fields.name,
        "tags": fields.tags,
        "status": device.status,
        "last_seen_at": device.last_seen_at,
        "digest": device.digest,
    }


def _patience(settings: "Settings") -> timedelta:
    from devices.presence import patience

    return patience(settings.devices.poll_after, settings.devices.heartbeat)
