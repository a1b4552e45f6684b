-- A day's spend, how far a day's cap keeps a campaign off the screens, and what plays that are kept no longer came to.

-- Written under the campaign's lock, for campaigns with a cap alone; dates are local to the campaign.
CREATE TABLE daily_spends (
    campaign_id  uuid NOT NULL REFERENCES campaigns,
    spent_on     date NOT NULL,
    spent_micros bigint NOT NULL CHECK (spent_micros > 0),
    PRIMARY KEY (campaign_id, spent_on)
);

ALTER TABLE campaigns ADD COLUMN capped_until timestamptz; -- today's cap is used up: in playlists from here on again

-- the date that an impression counts towards, where its campaign has a cap: as its zone's rules said when it came
ALTER TABLE plays ADD COLUMN counted_on date;
CREATE INDEX plays_by_age ON plays (received_at);

-- Money is proved against plays for ever, also those that went by retention.
CREATE TABLE purged_plays (
    campaign_id    uuid NOT NULL REFERENCES campaigns,
    counted_on     date, -- null: its campaign had no cap
    impressions    bigint NOT NULL CHECK (impressions > 0),
    charged_micros bigint NOT NULL CHECK (charged_micros >= 0),
    CONSTRAINT purged_plays_once UNIQUE NULLS NOT DISTINCT (campaign_id, counted_on)
);

ALTER TABLE ledger ADD COLUMN actor text; -- who corrected a wallet; other movements have theirs in the log
ALTER TABLE ledger ADD CONSTRAINT ledger_adjusted_for_a_reason
    CHECK (kind <> 'adjustment' OR (reference IS NOT NULL AND actor IS NOT NULL));

GRANT SELECT, INSERT, UPDATE ON daily_spends, purged_plays TO :app_role;
