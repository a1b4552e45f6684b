"""The SQL of campaigns, a file a subject; what replies are made of can be had from here."""

from daemon.campaigns.queries.campaigns import campaign_row, list_campaigns, transitions
from daemon.campaigns.queries.schedule import KINDS, After, executions, upcoming
from daemon.campaigns.queries.wallets import ledger_entries

__all__ = [
    "KINDS",
    "After",
    "campaign_row",
    "executions",
    "ledger_entries",
    "list_campaigns",
    "transitions",
    "upcoming",
]
