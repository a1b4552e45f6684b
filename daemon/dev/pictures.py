"""Media that a screen really can show: drawn images and short encoded videos, the same bytes for the same wish."""

import colorsys
from dataclasses import dataclass
from fractions import Fraction
from hashlib import sha256
from pathlib import Path

import av
from PIL import Image, ImageDraw, ImageFont

FRAMES_PER_SECOND = 24
_MIMES = {".jpg": "image/jpeg", ".png": "image/png", ".webp": "image/webp", ".mp4": "video/mp4", ".webm": "video/webm"}
_CODECS = {".mp4": ("libx264", {"preset": "veryfast", "crf": "28"}), ".webm": ("libvpx", {"crf": "32", "b": "600k"})}


@dataclass(frozen=True, slots=True)
class Spot:
    """A medium to be drawn: two lines of words, a hue from 0 to 1, and for a video its length in whole seconds."""

    file: str
    headline: str
    line: str
    hue: float
    seconds: int

    @property
    def mime(self) -> str:
        """Its media type, by the file's suffix."""
        return _MIMES[Path(self.file).suffix]


@dataclass(frozen=True, slots=True)
class Drawn:
    """What a drawn medium turned out to be; size in bytes."""

    sha256: str
    size: int


def draw(spot: Spot, folder: Path) -> Drawn:
    """Draw or encode a spot into the folder unless it lies there, whole, from an earlier time. Blocks."""
    path = folder / spot.file
    if not path.exists():
        unfinished = path.with_stem(f"{path.stem}.unfinished")
        if path.suffix in _CODECS:
            _video(spot, unfinished)
        else:
            _frame(spot, 1920, 1080).save(unfinished, quality=82)
        unfinished.replace(path)
    raw = path.read_bytes()
    return Drawn(sha256(raw).hexdigest(), len(raw))


def _frame(spot: Spot, width: int, height: int, progress: float = 0.0) -> Image.Image:
    """One picture of a spot: a vertical fade of its hue, a disc that moves with the progress, its words."""
    fade = Image.new("RGB", (1, 64))
    for y in range(64):
        fade.putpixel((0, y), _colour(spot.hue, 0.75, 0.85 - 0.6 * y / 63))
    picture = fade.resize((width, height), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(picture)
    radius, centre = height // 4, (int(width * (0.62 + 0.3 * progress)), int(height * 0.4))
    left, top, right, bottom = centre[0] - radius, centre[1] - radius, centre[0] + radius, centre[1] + radius
    pen.ellipse((left, top, right, bottom), fill=_colour(spot.hue + 0.08, 0.5, 0.98))
    pen.text((width // 16, height // 3), spot.headline, "white", ImageFont.load_default(height / 8))
    pen.text((width // 16, height // 2), spot.line, "white", ImageFont.load_default(height / 18))
    return picture


def _video(spot: Spot, path: Path) -> None:
    codec, options = _CODECS[path.suffix]
    # bitexact: no random number and no version of the encoder in it
    with av.open(str(path), "w", options={"fflags": "bitexact"}) as container:
        stream = container.add_stream(codec, FRAMES_PER_SECOND, options=options)
        assert isinstance(stream, av.VideoStream)  # noqa: S101 - what a video codec's name asks for
        stream.width, stream.height, stream.pix_fmt = 640, 360, "yuv420p"
        stream.codec_context.time_base = Fraction(1, FRAMES_PER_SECOND)
        stream.codec_context.thread_count = 1  # the same bytes on every machine
        count = spot.seconds * FRAMES_PER_SECOND
        for number in range(0, count, 2):
            picture = _frame(spot, 640, 360, number / count)
            for pts in (number, number + 1):  # drawings cost the most, and nobody sees that each shows twice
                frame = av.VideoFrame.from_image(picture)  # type: ignore[no-untyped-call] # av's own omission
                frame.pts = pts
                container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _colour(hue: float, saturation: float, value: float) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, saturation, value)
    return int(red * 255), int(green * 255), int(blue * 255)
