"""Settings: what an operator may decide, where it is read from and what is refused."""
