"""The commands of `signaged`, a file a subject; each imports what it works with only when it is called."""
