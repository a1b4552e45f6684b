"""What the settings say, in the words of the parts that know no settings."""

from config.settings import Settings
from daemon.campaigns.draft import BookingLimits
from daemon.campaigns.rates import Prices, Rate
from daemon.tenants import TenantDefaults
from playlists.daypart import parse


def booking_limits(settings: Settings) -> BookingLimits:
    """What may be booked (SPEC 3)."""
    booking = settings.booking
    return BookingLimits(
        min_lead=booking.min_lead,
        max_lead=booking.max_lead,
        max_duration=booking.max_duration,
        min_budget=booking.min_budget_micros,
        max_budget=booking.max_budget_micros,
        min_topup=booking.min_topup_micros,
        max_creatives=booking.max_creatives,
        max_audience=booking.max_audience,
        settle_after=settings.plays.settle_after,
        distribution_lead=settings.distribution.lead,
        approval_wait=booking.approval_wait,
    )


def tenant_defaults(settings: Settings) -> TenantDefaults:
    """What a tenant is given that says nothing else."""
    return TenantDefaults(
        settings.money.currency, settings.booking.running_limit, settings.booking.approval_limit_micros
    )


def prices(settings: Settings) -> Prices:
    """What plays cost (SPEC 5)."""
    card = tuple(
        Rate(rate.cpm_micros, rate.category, None if rate.hours is None else parse(rate.hours))
        for rate in settings.money.rates
    )
    return Prices(settings.money.default_cpm_micros, card)
