"""HTTP: the platform's API, the screens' API, and the operators' own listener."""
