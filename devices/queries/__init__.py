"""Statements over the network and its screens, a module a subject; each takes the transaction first."""
