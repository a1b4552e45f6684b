"""Who advertises in the sample network, and with what: made up, but as a retailer's order book would have them."""

from dataclasses import dataclass

from daemon.dev.pictures import Spot


@dataclass(frozen=True, slots=True)
class Advertiser:
    """A tenant of the sample network: amounts are decimal strings, `spots` its creatives."""

    name: str
    timezone: str
    email: str
    brand: str
    category: str
    deposit: str
    spots: tuple[Spot, ...]


# ruff: noqa: E501 - a table reads best with a row on a line
def _spots(prefix: str, hue: float, *lines: tuple[str, str, str, int]) -> tuple[Spot, ...]:
    return tuple(
        Spot(f"{prefix}-{number}{suffix}", headline, line, hue + 0.03 * number, seconds)
        for number, (suffix, headline, line, seconds) in enumerate(lines, 1)
    )


ADVERTISERS = (
    Advertiser(
        "Nordlicht Dairy", "Europe/Berlin", "media@nordlicht.example", "Nordlicht", "dairy", "60000.00",
        _spots("nordlicht", 0.55, (".mp4", "Nordlicht", "Fresh at seven", 6), (".jpg", "Skyr", "Now with lingonberry", 8)),
    ),
    Advertiser(
        "Hudson Cold Brew", "America/New_York", "ads@hudsonbrew.example", "Hudson", "coffee", "45000.00",
        _spots("hudson", 0.07, (".mp4", "Cold Brew", "Slow made, quickly gone", 8), (".png", "2 for 5", "This week only", 6)),
    ),
    Advertiser(
        "Sakura Home", "Asia/Tokyo", "promo@sakura-home.example", "Sakura", "household", "52000.00",
        _spots("sakura", 0.92, (".webm", "Sakura Home", "A quiet kitchen", 6), (".jpg", "Rice cookers", "Ten years' guarantee", 10)),
    ),
    Advertiser(
        "Banksia Skin", "Australia/Sydney", "hello@banksia.example", "Banksia", "beauty", "30000.00",
        _spots("banksia", 0.12, (".webp", "SPF 50", "Summer is early", 8), (".jpg", "Banksia", "Made for dry air", 8)),
    ),
    Advertiser(
        "Sol Verde Juices", "America/Sao_Paulo", "marca@solverde.example", "Sol Verde", "drinks", "38000.00",
        _spots("solverde", 0.30, (".mp4", "Sol Verde", "Pressed this morning", 5), (".png", "Acerola", "Vitamin C, nothing else", 6)),
    ),
    Advertiser(
        "Thames Snacks", "Europe/London", "trade@thames-snacks.example", "Thames", "snacks", "41000.00",
        _spots("thames", 0.02, (".mp4", "Sea salt", "Crunch", 6), (".jpg", "Thames Snacks", "Meal deal 3.90", 8)),
    ),
    Advertiser(
        "Kaveri Spices", "Asia/Kolkata", "brand@kaveri.example", "Kaveri", "grocery", "27000.00",
        _spots("kaveri", 0.09, (".jpg", "Garam masala", "Roasted whole", 8), (".webp", "Kaveri", "From the hills", 6)),
    ),
    Advertiser(
        "Atlas Telecom", "Africa/Casablanca", "retail@atlas-tel.example", "Atlas", "telecom", "33000.00",
        _spots("atlas", 0.70, (".mp4", "Atlas 5G", "At the till, at once", 8), (".png", "SIM", "Ask at the desk", 5)),
    ),
)  # fmt: skip

HOUSE = (
    Spot("house-welcome.jpg", "Welcome", "Open early, open late", 0.60, 10),
    Spot("house-bakery.jpg", "The bakery", "Warm bread until eight", 0.08, 10),
    Spot("house-app.mp4", "Our app", "Your receipts in one place", 0.45, 6),
)
