-- What all instances must know of time: that its clock jumped, what it cannot change, by which zone rules all is made.

-- A jump of the database's clock; while one is open, what cannot be undone is held on every instance.
CREATE TABLE clock_jumps (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    told_at     timestamptz NOT NULL, -- what the clock said
    expected_at timestamptz NOT NULL, -- what it should have said
    witness     text NOT NULL, -- the boot of the host that saw it
    expected    interval NOT NULL, -- that host's monotonic clock was to be this much behind
    ended_at    timestamptz, -- the clocks agree again, or somebody accepted the new time
    ended_by    text,
    CHECK ((ended_at IS NULL) = (ended_by IS NULL))
);
CREATE UNIQUE INDEX clock_jumps_one_open ON clock_jumps ((true)) WHERE ended_at IS NULL;

-- Campaigns whose change fails for good and that cannot be FAILED either: tried ever more rarely, until it works.
CREATE TABLE quarantine (
    campaign_id uuid PRIMARY KEY REFERENCES campaigns,
    change      text NOT NULL,
    attempts    integer NOT NULL CHECK (attempts > 0),
    since       timestamptz NOT NULL,
    retry_at    timestamptz NOT NULL,
    error       text NOT NULL
);
CREATE INDEX campaigns_to_retry ON campaigns (retry_at) WHERE retry_at IS NOT NULL;

-- By which tzdata playlists are made: an instance with an older one leaves them alone while a newer one works.
CREATE TABLE zone_rules (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    version   text NOT NULL DEFAULT '',
    seen_at   timestamptz -- when an instance with that version was last at work
);
INSERT INTO zone_rules DEFAULT VALUES;
-- what is on the screens was made by rules that nobody noted
INSERT INTO marks (kind, marked_at) SELECT 'network', now() WHERE EXISTS (SELECT FROM screens);

-- what a newer tzdata may move
CREATE INDEX campaigns_by_wall_time ON campaigns (tzdata_version, id)
    WHERE (start_local IS NOT NULL OR end_local IS NOT NULL) AND deleted_at IS NULL
      AND status IN ('DRAFT', 'PENDING_APPROVAL', 'SCHEDULED', 'ACTIVE', 'PAUSED');

GRANT SELECT, INSERT, UPDATE ON clock_jumps, zone_rules TO :app_role;
GRANT SELECT, INSERT, UPDATE, DELETE ON quarantine TO :app_role;
