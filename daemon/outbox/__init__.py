"""The way out to Kafka: what changed becomes a message in the same transaction, and a relay brings it away (SPEC 9)."""
