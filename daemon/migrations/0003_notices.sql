-- Mails sorted into those that go alone and those that an hour's digest tells; what an advertiser was warned of.

-- A digest is a mail of its own that no single change owes.
ALTER TABLE mails
    ALTER COLUMN campaign_id DROP NOT NULL,
    ALTER COLUMN sequence DROP NOT NULL,
    ADD COLUMN hour timestamptz, -- the UTC hour it counts in; null until it is sorted
    ADD COLUMN digest_id bigint, -- the digest that tells it; no foreign key: each is forgotten by its own age
    ADD CONSTRAINT mails_of_a_change CHECK ((kind = 'digest') = (campaign_id IS NULL)
                                            AND (campaign_id IS NULL) = (sequence IS NULL)),
    ADD CONSTRAINT mails_digest_hour CHECK (kind <> 'digest' OR (hour IS NOT NULL AND digest_id IS NULL));
DROP INDEX mails_to_send;
CREATE INDEX mails_to_sort ON mails (id) WHERE hour IS NULL AND sent_at IS NULL AND parked_at IS NULL;
CREATE INDEX mails_to_send ON mails (next_attempt_at, id)
    WHERE hour IS NOT NULL AND digest_id IS NULL AND sent_at IS NULL AND parked_at IS NULL;
CREATE INDEX mails_alone ON mails (tenant_id, hour) WHERE hour IS NOT NULL AND digest_id IS NULL AND kind <> 'digest';
CREATE INDEX mails_to_digest ON mails (digest_id) WHERE digest_id IS NOT NULL AND sent_at IS NULL AND parked_at IS NULL;
CREATE INDEX mails_parked ON mails (id) WHERE parked_at IS NOT NULL;
CREATE UNIQUE INDEX mails_one_digest ON mails (tenant_id, hour) WHERE kind = 'digest';

ALTER TABLE campaigns
    ADD COLUMN risk_checked_at timestamptz, -- when its screens were last looked at for a risk
    ADD COLUMN budget_told_micros bigint; -- the budget whose nine tenths its tenant was told are used
