"""A campaign's life, its money and what became of it (SPEC 3, 5).

    DRAFT -> PENDING_APPROVAL -> SCHEDULED -> ACTIVE <-> PAUSED -> COMPLETED
       \\________________________/     \\          \\__________\\____-> CANCELLED
     PENDING_APPROVAL -> REJECTED -> DRAFT        SCHEDULED, ACTIVE, PAUSED -> FAILED
     PENDING_APPROVAL -> EXPIRED, CANCELLED       SCHEDULED -> MISSED

`campaign` holds the tables of what may follow what, `draft` what a booking may say, `booking` what people do,
`lifecycle` what time does, `ledger` what it costs. Nothing here sends anything: every writer returns the
transitions that it logged, and its caller announces them in the same transaction.
"""
