"""Settings as TOML: what is written is read back as the same."""

import tomllib

from config.writing import toml


def test_what_is_written_is_read_back() -> None:
    rates = [{"category": 'a "bakery" \\ \N{CROISSANT} \x7f', "cpm": "9.00"}, {"days": ["sat", "sun"], "cpm": "1.50"}]
    sections: dict[str, dict[str, object]] = {
        "money": {"currency": "EUR", "rates": rates},
        "booking": {"min_lead": 5, "ratio": 0.5, "on": True},
    }
    assert tomllib.loads(toml(sections)) == sections
    assert tomllib.loads(toml({"http": {"public_url": None}, "log": {}})) == {"http": {}, "log": {}}
