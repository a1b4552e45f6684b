"""What screens play and when: local time, day-parts, the slot rule, the compiler and the compiled playlist.

Everything here but `queries` is pure: it imports the standard library only, reads no clock and no
database, and gives equal results for equal arguments on every machine.
"""
