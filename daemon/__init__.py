"""signaged: starts and completes advertising campaigns on digital signage screens, on the instant."""
