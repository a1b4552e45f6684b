"""What of a file was seen to reach a device: bytes that its end of the connection has acknowledged, no others."""

import asyncio
import fcntl
import os
import socket
import struct
import termios
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from daemon.sightings import Sightings
from devices.readiness import Fetched
from playlists.ids import DeviceId, Sha256

TAIL: Final = 64 * 1024  # the last bytes count only when the device has not broken the connection off over them
LOOK_EVERY: Final = 0.05  # seconds between looks at what was sent and not yet acknowledged
QUIET: Final = 0.4  # seconds that a connection must survive the last byte
GIVE_UP: Final = 60.0  # seconds without a further byte
SETTLE: Final = 0.5  # seconds that a report waits for the last acknowledgements

_COUNT: Final = struct.Struct("i")
_TCP_CLOSE: Final = 7  # what Linux calls a connection that was reset


@dataclass(slots=True, eq=False)
class Transfer:
    """Bytes [begin, end) of a file on their way: those before `position` are with the transport."""

    device_id: DeviceId
    sha256: Sha256
    size: int
    end: int
    began_at: datetime
    transport: asyncio.Transport
    position: int
    credited: int
    handed: int
    socket: int  # a descriptor of our own: it tells more than the transport, and after it
    sent: bool = False
    seen: int = 0
    moved_at: float = 0.0

    def arrived(self) -> int:
        """The byte up to which the device's end has acknowledged everything."""
        if not self.transport.is_closing():
            self.handed = max(self.handed, self.position - self.transport.get_write_buffer_size())
        return max(self.credited, self.handed - _unacknowledged(self.socket))


class Deliveries:
    """The transfers of one instance; what arrives is noted in `sightings`."""

    def __init__(self, sightings: Sightings) -> None:
        self._sightings = sightings
        self._open: dict[DeviceId, set[Transfer]] = defaultdict(set)

    def begin(
        self, device_id: DeviceId, sha256: Sha256, size: int, span: range, transport: asyncio.Transport, now: datetime
    ) -> Transfer:
        """Watch bytes `span` of a file go to a device; what went before on the same connection is settled first.

        Raises ConnectionResetError when the device has gone.
        """
        self._look(
            [transfer for transfer in self._open[device_id] if transfer.transport is transport and transfer.sent]
        )
        try:
            opened = os.dup(transport.get_extra_info("socket").fileno())
        except OSError as error:
            raise ConnectionResetError("the device has gone") from error
        begin = span.start
        transfer = Transfer(device_id, sha256, size, span.stop, now, transport, begin, begin, begin, opened)
        self._open[device_id].add(transfer)
        return transfer

    def progress(self, transfer: Transfer, position: int) -> None:
        """Note that all before `position` was given to the transport, and what of it has arrived."""
        transfer.position = position
        self._credit(transfer, min(transfer.arrived(), transfer.end - TAIL))

    def all_sent(self, transfer: Transfer) -> None:
        """Note that nothing more will be written; the last bytes are watched until they have arrived or are lost."""
        transfer.sent = True
        transfer.moved_at = _clock()
        asyncio.get_running_loop().call_later(LOOK_EVERY, self._look_again, transfer)

    def broken_off(self, transfer: Transfer) -> None:
        """Note that the response ended before its last byte."""
        self._credit(transfer, min(transfer.arrived(), transfer.end - TAIL))
        self._close(transfer)

    async def settled(self, device_id: DeviceId) -> None:
        """Return when what was sent to the device has arrived, half a second later at most; it is noted by then."""
        for _ in range(round(SETTLE / LOOK_EVERY)):
            sent = [transfer for transfer in self._open.get(device_id, ()) if transfer.sent]
            self._look(sent)
            if not any(transfer in self._open.get(device_id, ()) for transfer in sent):
                return
            await asyncio.sleep(LOOK_EVERY)

    def _look_again(self, transfer: Transfer) -> None:
        if transfer not in self._open.get(transfer.device_id, ()):
            return
        arrived, at = transfer.arrived(), _clock()
        if arrived > transfer.seen:
            transfer.seen, transfer.moved_at = arrived, at
        still = at - transfer.moved_at
        if (still > QUIET and arrived >= transfer.end) or _reset(transfer.socket):
            self._look([transfer])
        elif still > GIVE_UP:
            self.broken_off(transfer)
        else:
            asyncio.get_running_loop().call_later(LOOK_EVERY, self._look_again, transfer)

    def _look(self, transfers: Iterable[Transfer]) -> None:
        """Credit those that have arrived whole; of one that was reset, all but the tail that nobody may have read."""
        for transfer in list(transfers):
            if _reset(transfer.socket):
                self.broken_off(transfer)
            elif transfer.arrived() >= transfer.end:
                self._credit(transfer, transfer.end)
                self._close(transfer)

    def _credit(self, transfer: Transfer, arrived: int) -> None:
        if arrived > transfer.credited:
            span = (transfer.credited, arrived)
            transfer.credited = arrived
            self._sightings.delivered(
                Fetched(transfer.device_id, transfer.sha256, [span], transfer.size, transfer.began_at)
            )

    def _close(self, transfer: Transfer) -> None:
        known = self._open.get(transfer.device_id)
        if known and transfer in known:
            known.discard(transfer)
            os.close(transfer.socket)
            if not known:
                del self._open[transfer.device_id]


def _unacknowledged(descriptor: int) -> int:
    """Bytes that the kernel has sent or will send and that the other end has not acknowledged."""
    with suppress(OSError):
        (count,) = _COUNT.unpack(fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(_COUNT.size)))
        return int(count)
    return 0


def _reset(descriptor: int) -> bool:
    """Whether the other end broke the connection off, as it does when it closes with bytes unread."""
    with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as link:
        return link.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _TCP_CLOSE
    return False


def _clock() -> float:
    return asyncio.get_running_loop().time()
