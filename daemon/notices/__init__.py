"""The way out to people: mails to advertisers, owed in the transaction of the change and sent by a loop (SPEC 10)."""
