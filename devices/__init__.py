"""The network: stores, devices, who is meant by a campaign, and what screens are given, hold and play."""
