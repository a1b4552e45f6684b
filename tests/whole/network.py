"""What a test booked, and who should show what by it: SPEC 3 and 6 read a second time, one slot at a time."""

import hashlib
import io
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from PIL import Image

from tests.whole.daemons import Api

Json = dict[str, Any]
EVERY_DAY = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
MICROS = 1_000_000


def micros(text: str) -> int:
    whole, _, fraction = text.partition(".")
    return int(whole) * MICROS + int((fraction + "000000")[:6])


def price(cpm_micros: int, ms: int, priority: int) -> int:
    factor = 110 if priority >= 9 else 90 if priority <= 3 else 100
    return cpm_micros * min(ms, 15000) * factor // (1000 * 15000 * 100)


def picture(number: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (64 + number, 36), (number * 37 % 256, number * 91 % 256, number * 13 % 256)).save(out, "PNG")
    return out.getvalue()


def within(parts: list[Json], zone: str, begin: float, seconds: float) -> bool:
    """Whether a stretch lies inside the union of parts of a day; for nights without a change of the clock."""
    if not parts:
        return True
    local = datetime.fromtimestamp(begin, ZoneInfo(zone))
    at = local.hour * 3600 + local.minute * 60 + local.second + local.microsecond / 1e6
    until = at + seconds
    for part in sorted(parts, key=lambda p: str(p["from"])):  # parts that touch are one
        opens, closes = (int(edge[:2]) * 3600 + int(edge[3:]) * 60 for edge in (part["from"], part["to"]))
        if opens <= at < closes:
            if until <= closes:
                return True
            at = closes
    return until > 86400 and at == 86400 and any(part["from"] == "00:00" for part in parts)


class Network:
    """Stores, devices, creatives and campaigns by id, as they were sent."""

    def __init__(self) -> None:
        self.stores: dict[str, Json] = {}
        self.devices: dict[str, Json] = {}
        self.creatives: dict[str, Json] = {}
        self.campaigns: dict[str, Json] = {}

    def store_of(self, device: Json) -> Json:
        return self.stores[device["store_id"]]

    def longest(self, campaign: Json) -> float:
        """The seconds that its longest creative takes."""
        return max(float(self.creatives[one]["duration_ms"]) for one in campaign["creatives"]) / 1000

    def targeted(self, campaign: Json, device: Json) -> bool:
        store, target = self.store_of(device), campaign["target"]
        tags = {*store["tags"], *device["tags"]}
        listed = {*target.get("stores", []), *target.get("devices", [])}
        include, exclude = set(target.get("include_tags", [])), set(target.get("exclude_tags", []))
        inside = not (listed or include) or bool({store["id"], device["id"]} & listed) or bool(tags & include)
        excluded = {*target.get("exclude_stores", []), *target.get("exclude_devices", [])}
        return inside and not (tags & exclude) and not ({store["id"], device["id"]} & excluded)

    def blocked(self, campaign: Json, store: Json) -> bool:
        blocked = store["blocked"]
        keywords = {word for one in campaign["creatives"] for word in self.creatives[one]["keywords"]}
        return (
            campaign.get("brand") in blocked.get("brands", [])
            or campaign.get("category") in blocked.get("categories", [])
            or bool(keywords & set(blocked.get("keywords", [])))
        )

    def audience(self, campaign: Json) -> set[str]:
        longest = self.longest(campaign)
        return {
            device["id"]
            for device in self.devices.values()
            if self.targeted(campaign, device)
            and not self.blocked(campaign, self.store_of(device))
            and longest * device["slots_per_hour"] <= 3600
        }

    def is_open(self, device: Json, t: float) -> bool:
        store = self.store_of(device)
        return within(store["opening_hours"], store["timezone"], t, 0.001)

    def eligible(self, device: Json, begin: float) -> set[str]:
        """The campaigns that may take the slot that begins then."""
        store = self.store_of(device)
        found = set()
        for campaign in self.campaigns.values():
            longest = self.longest(campaign)
            if (
                campaign["starts"] <= begin
                and begin + longest <= campaign["ends"]
                and device["id"] in campaign["audience"]
                and within(store["opening_hours"], store["timezone"], begin, longest)
                and within(campaign["dayparts"], store["timezone"], begin, longest)
            ):
                found.add(str(campaign["id"]))
        return found

    async def add_tenant(self, admin: Api, name: str, timezone: str, deposit: str) -> Json:
        """A tenant with money and a token of its own."""
        email = f"{name.partition(' ')[0].lower()}@example.com"
        body = {"name": name, "currency": "EUR", "timezone": timezone, "email": email, "running_limit": 50}
        tenant = await admin("POST", "/v1/tenants", body)
        path = f"/v1/tenants/{tenant['id']}"
        wallet = await admin("POST", f"{path}/deposits", {"amount": deposit, "reference": f"wire {name}"})
        assert wallet["available"] == wallet["funded"] == deposit
        token = await admin("POST", f"{path}/tokens", {"role": "advertiser", "name": "test"})
        return {**tenant, "token": token["token"]}

    async def add_store(self, admin: Api, body: Json) -> str:
        body = {"country": "DE", "tags": [], "opening_hours": [], "blocked": {}, **body}
        made = await admin("POST", "/v1/stores", body)
        self.stores[made["id"]] = {**body, "id": made["id"]}
        return str(made["id"])

    async def add_device(self, admin: Api, body: Json) -> tuple[str, str]:
        """The device's id and its activation code."""
        made = await admin("POST", "/v1/devices", body)
        self.devices[made["id"]] = {"tags": [], **body, "id": made["id"]}
        return str(made["id"]), (await admin("POST", f"/v1/devices/{made['id']}/activation"))["code"]

    async def add_creative(self, api: Api, name: str, duration_ms: int, **more: Any) -> str:
        raw = picture(len(self.creatives))
        sha256 = hashlib.sha256(raw).hexdigest()
        body = {
            "name": name,
            "sha256": sha256,
            "size": len(raw),
            "mime": "image/png",
            "duration_ms": duration_ms,
            **more,
        }
        made = await api("POST", "/v1/creatives", body)
        assert made["state"] == "MISSING"
        stored = await api("PUT", f"/v1/creatives/{made['id']}/media", data=raw)
        assert stored["state"] == "STORED"
        self.creatives[made["id"]] = {"keywords": [], **body, "id": made["id"]}
        return str(made["id"])

    async def book(self, api: Api, body: Json, starts: float, ends: float) -> Json:
        """Create and submit a campaign; `starts` and `ends` are what its window must turn out to be."""
        made = await api("POST", "/v1/campaigns", {"channel": "signage", "allow_short_lead": True, **body})
        booked: Json = await api("POST", f"/v1/campaigns/{made['id']}/submit")
        assert booked["status"] == "SCHEDULED", booked
        kept = {"dayparts": [], "priority": 5, **body, "id": made["id"], "tenant": made["tenant_id"]}
        kept |= {"starts": starts, "ends": ends, "audience": self.audience({**kept})}
        self.campaigns[made["id"]] = kept
        assert booked["total_recipients"] == len(kept["audience"]), booked
        return booked
