-- The first shape of the database. Money is bigint micros, instants are timestamptz, ids are UUID version 7.
-- :app_role is replaced by the quoted name of the role the application runs under.

CREATE TABLE tenants (
    id                    uuid PRIMARY KEY DEFAULT uuidv7(),
    name                  text NOT NULL,
    currency              text NOT NULL,
    timezone              text NOT NULL,
    email                 text NOT NULL,
    status                text NOT NULL DEFAULT 'ACTIVE' CHECK (status IN ('ACTIVE', 'SUSPENDED')),
    running_limit         integer NOT NULL CHECK (running_limit >= 0),
    approval_limit_micros bigint NOT NULL CHECK (approval_limit_micros >= 0),
    -- held and spent are sums over the tenant's campaigns: a charge never touches this row (SPEC 5)
    funded_micros         bigint NOT NULL DEFAULT 0 CHECK (funded_micros >= 0),
    available_micros      bigint NOT NULL DEFAULT 0 CONSTRAINT tenants_available_not_negative CHECK (available_micros >= 0),
    created_at            timestamptz NOT NULL,
    updated_at            timestamptz NOT NULL
);

CREATE TABLE api_tokens (
    id           uuid PRIMARY KEY DEFAULT uuidv7(),
    token_sha256 bytea NOT NULL CONSTRAINT api_tokens_unique UNIQUE,
    role         text NOT NULL CHECK (role IN ('platform_admin', 'operator', 'advertiser')),
    tenant_id    uuid REFERENCES tenants,
    name         text,
    created_at   timestamptz NOT NULL,
    revoked_at   timestamptz,
    CHECK ((role = 'advertiser') = (tenant_id IS NOT NULL))
);
CREATE INDEX api_tokens_by_tenant ON api_tokens (tenant_id, id);

CREATE TABLE idempotency_keys (
    token_id       uuid NOT NULL REFERENCES api_tokens,
    method         text NOT NULL,
    path           text NOT NULL,
    key            text NOT NULL,
    request_sha256 bytea NOT NULL,
    status         integer NOT NULL,
    headers        jsonb NOT NULL,
    body           bytea NOT NULL,
    created_at     timestamptz NOT NULL,
    PRIMARY KEY (token_id, method, path, key)
);
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);

-- The network -----------------------------------------------------------------------------------------------------

CREATE TABLE creatives (
    id          uuid PRIMARY KEY DEFAULT uuidv7(),
    tenant_id   uuid REFERENCES tenants, -- null: the network's own, house content
    name        text NOT NULL,
    sha256      text NOT NULL CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    size        bigint NOT NULL CHECK (size > 0),
    mime        text NOT NULL,
    duration_ms integer NOT NULL CHECK (duration_ms > 0),
    keywords    text[] NOT NULL DEFAULT '{}',
    flags       text[] NOT NULL DEFAULT '{}' CHECK (flags <@ '{ALCOHOL,TOBACCO,GAMBLING,ADULT}'::text[]),
    state       text NOT NULL DEFAULT 'MISSING' CHECK (state IN ('MISSING', 'STORED')),
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL
);
CREATE INDEX creatives_by_tenant ON creatives (tenant_id, id);
CREATE INDEX creatives_by_sha256 ON creatives (sha256);

CREATE TABLE house (
    singleton  boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    fallback   uuid[] NOT NULL DEFAULT '{}',
    updated_at timestamptz
);
INSERT INTO house DEFAULT VALUES;

CREATE TABLE stores (
    id            uuid PRIMARY KEY DEFAULT uuidv7(),
    code          text NOT NULL CONSTRAINT stores_code_unique UNIQUE,
    name          text NOT NULL,
    timezone      text NOT NULL,
    country       text,
    region        text,
    city          text,
    latitude      double precision,
    longitude     double precision,
    category      text,
    tags          text[] NOT NULL DEFAULT '{}',
    opening_hours jsonb NOT NULL DEFAULT '[]',
    blocked       jsonb NOT NULL DEFAULT '{}',
    -- what the blocked lists say, one array: 'brand:acme', 'category:beer', 'keyword:sale', case-folded
    blocked_keys  text[] NOT NULL DEFAULT '{}',
    fallback      uuid[] NOT NULL DEFAULT '{}',
    created_at    timestamptz NOT NULL,
    updated_at    timestamptz NOT NULL
);

CREATE TABLE devices (
    id             uuid PRIMARY KEY DEFAULT uuidv7(),
    store_id       uuid NOT NULL CONSTRAINT devices_store REFERENCES stores,
    name           text NOT NULL,
    tags           text[] NOT NULL DEFAULT '{}',
    slots_per_hour integer NOT NULL DEFAULT 12 CHECK (slots_per_hour BETWEEN 6 AND 360 AND 3600 % slots_per_hour = 0),
    cpm_micros     bigint CHECK (cpm_micros >= 0),
    disabled       boolean NOT NULL DEFAULT false,
    player_since   timestamptz, -- files delivered before this instant went to an earlier player
    created_at     timestamptz NOT NULL,
    updated_at     timestamptz NOT NULL
);
CREATE INDEX devices_by_store ON devices (store_id);

CREATE TABLE activation_codes (
    code_sha256     bytea PRIMARY KEY,
    device_id       uuid NOT NULL REFERENCES devices,
    created_at      timestamptz NOT NULL,
    expires_at      timestamptz NOT NULL,
    redeemed_at     timestamptz,
    spent_at        timestamptz -- the token it gave was used: the code is worth nothing more
);
CREATE INDEX activation_codes_by_device ON activation_codes (device_id);

CREATE TABLE device_tokens (
    token_sha256  bytea PRIMARY KEY,
    device_id     uuid NOT NULL REFERENCES devices,
    code_sha256   bytea REFERENCES activation_codes, -- null: from a rotation
    created_at    timestamptz NOT NULL,
    first_used_at timestamptz,
    expires_at    timestamptz,
    revoked_at    timestamptz,
    changed_xid   xid8 NOT NULL DEFAULT pg_current_xact_id() -- readers follow changes by it, see devices/queries.py
);
CREATE INDEX device_tokens_by_device ON device_tokens (device_id);
CREATE INDEX device_tokens_by_change ON device_tokens (changed_xid);

CREATE TABLE presence (
    device_id     uuid PRIMARY KEY REFERENCES devices,
    last_seen_at  timestamptz NOT NULL,
    beat_at       timestamptz,
    digest        text,
    screen        text,
    skew_ms       bigint,
    errors        jsonb NOT NULL DEFAULT '[]',
    online        boolean NOT NULL DEFAULT false, -- what was last announced
    announcements integer NOT NULL DEFAULT 0
) WITH (fillfactor = 70);

-- Up to when somebody has been serving, and when nobody did: silence in an outage of ours is not the device's.
CREATE TABLE service (
    singleton  boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    last_at    timestamptz NOT NULL
);
CREATE TABLE outages (
    began_at   timestamptz PRIMARY KEY,
    ended_at   timestamptz NOT NULL CHECK (ended_at > began_at)
);

-- Campaigns ---------------------------------------------------------------------------------------------------------

CREATE TABLE campaigns (
    id               uuid PRIMARY KEY DEFAULT uuidv7(),
    tenant_id        uuid NOT NULL REFERENCES tenants,
    name             text NOT NULL,
    channel          text NOT NULL,
    description      text,
    status           text NOT NULL DEFAULT 'DRAFT' CHECK (status IN ('DRAFT', 'PENDING_APPROVAL', 'REJECTED', 'EXPIRED', 'SCHEDULED',
                         'ACTIVE', 'PAUSED', 'COMPLETED', 'CANCELLED', 'FAILED', 'MISSED')),
    status_reason    text,
    status_note      text,
    version          integer NOT NULL DEFAULT 1,
    sequence         integer NOT NULL DEFAULT 0, -- of its last transition
    occurrence       integer NOT NULL DEFAULT 1,
    timezone         text NOT NULL,
    start_at         timestamptz,
    end_at           timestamptz,
    start_local      timestamp, -- only when it was given as wall time
    end_local        timestamp,
    tzdata_version   text NOT NULL,
    budget_micros    bigint CHECK (budget_micros > 0),
    daily_cap_micros bigint CHECK (daily_cap_micros > 0),
    priority         smallint NOT NULL DEFAULT 5 CHECK (priority BETWEEN 1 AND 10),
    pace             smallint NOT NULL DEFAULT 1 CHECK (pace BETWEEN 1 AND 4),
    dayparts         jsonb NOT NULL DEFAULT '[]',
    start_policy     text NOT NULL DEFAULT 'on_time' CHECK (start_policy IN ('on_time', 'when_ready')),
    start_deadline   timestamptz,
    allow_short_lead boolean NOT NULL DEFAULT false,
    brand            text,
    category         text,
    total_recipients integer NOT NULL DEFAULT 0,
    impressions      bigint NOT NULL DEFAULT 0,
    held_micros      bigint NOT NULL DEFAULT 0 CHECK (held_micros >= 0),
    spent_micros     bigint NOT NULL DEFAULT 0 CHECK (spent_micros >= 0),
    released_micros  bigint NOT NULL DEFAULT 0 CHECK (released_micros >= 0),
    pause_causes     text[] NOT NULL DEFAULT '{}', -- stays when it ends while paused
    submitted_at     timestamptz,
    distributed_at   timestamptz,
    ready_at         timestamptz, -- readiness first reached the threshold
    activated_at     timestamptz,
    completed_at     timestamptz,
    settle_at        timestamptz,
    settled_at       timestamptz,
    attempts         smallint NOT NULL DEFAULT 0,
    retry_at         timestamptz,
    deleted_at       timestamptz,
    correlation_id   text NOT NULL,
    created_by       text NOT NULL,
    created_at       timestamptz NOT NULL,
    updated_at       timestamptz NOT NULL,
    CONSTRAINT campaigns_window CHECK (end_at > start_at),
    CONSTRAINT campaigns_money_adds_up CHECK (
        CASE WHEN status = 'DRAFT' THEN held_micros = 0 AND spent_micros = 0 AND released_micros = 0
             ELSE held_micros + spent_micros + released_micros = budget_micros END),
    CONSTRAINT campaigns_settled_holds_nothing CHECK (settled_at IS NULL OR held_micros = 0),
    CONSTRAINT campaigns_booked_whole CHECK (
        status IN ('DRAFT', 'REJECTED') OR (start_at IS NOT NULL AND end_at IS NOT NULL AND budget_micros IS NOT NULL)),
    CONSTRAINT campaigns_active_since CHECK (status NOT IN ('ACTIVE', 'PAUSED', 'COMPLETED') OR activated_at IS NOT NULL),
    CONSTRAINT campaigns_completed_at CHECK ((status = 'COMPLETED') = (completed_at IS NOT NULL)),
    CONSTRAINT campaigns_settle_at CHECK (status NOT IN ('COMPLETED', 'CANCELLED', 'FAILED') OR settle_at IS NOT NULL OR settled_at IS NOT NULL),
    CONSTRAINT campaigns_paused_by CHECK (status <> 'PAUSED' OR cardinality(pause_causes) > 0)
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX campaigns_name_unique ON campaigns (tenant_id, name) WHERE deleted_at IS NULL;
CREATE INDEX campaigns_by_tenant ON campaigns (tenant_id, id);
CREATE INDEX campaigns_to_start ON campaigns (start_at, id) WHERE status = 'SCHEDULED';
CREATE INDEX campaigns_to_distribute ON campaigns (start_at, id) WHERE distributed_at IS NULL AND status IN ('SCHEDULED', 'ACTIVE');
CREATE INDEX campaigns_to_complete ON campaigns (end_at, id) WHERE status IN ('ACTIVE', 'PAUSED');
CREATE INDEX campaigns_to_settle ON campaigns (settle_at, id) WHERE settled_at IS NULL AND status IN ('COMPLETED', 'CANCELLED', 'FAILED');
-- what compiled playlists are made of
CREATE INDEX campaigns_in_playlists ON campaigns (end_at, id)
    WHERE distributed_at IS NOT NULL AND status IN ('SCHEDULED', 'ACTIVE', 'COMPLETED') AND pause_causes = '{}';

CREATE TABLE campaign_creatives (
    campaign_id uuid NOT NULL REFERENCES campaigns,
    position    smallint NOT NULL,
    creative_id uuid NOT NULL REFERENCES creatives,
    variant     text,
    PRIMARY KEY (campaign_id, position),
    UNIQUE (campaign_id, creative_id)
);
CREATE INDEX campaign_creatives_by_creative ON campaign_creatives (creative_id);

-- Who a campaign is for. A campaign without a row has not said so yet; a row with empty lists means every device.
CREATE TABLE targets (
    campaign_id     uuid PRIMARY KEY REFERENCES campaigns,
    stores          uuid[] NOT NULL DEFAULT '{}',
    devices         uuid[] NOT NULL DEFAULT '{}',
    include_tags    text[] NOT NULL DEFAULT '{}',
    exclude_stores  uuid[] NOT NULL DEFAULT '{}',
    exclude_devices uuid[] NOT NULL DEFAULT '{}',
    exclude_tags    text[] NOT NULL DEFAULT '{}',
    -- what a store may block of it ('brand:acme', ...) and its longest creative; kept by booking and by creative edits
    block_keys      text[] NOT NULL DEFAULT '{}',
    longest_ms      integer NOT NULL DEFAULT 0
);

CREATE TABLE pauses (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    campaign_id uuid NOT NULL REFERENCES campaigns,
    cause       text NOT NULL CHECK (cause IN ('USER', 'OPERATOR', 'BUDGET_EXHAUSTED', 'NO_ELIGIBLE_DEVICES', 'TENANT_SUSPENDED',
                    'EMERGENCY_STOP', 'BLACKOUT', 'WAVE_GATE')),
    began_at    timestamptz NOT NULL,
    ended_at    timestamptz CHECK (ended_at >= began_at)
);
CREATE UNIQUE INDEX pauses_one_open ON pauses (campaign_id, cause) WHERE ended_at IS NULL;
CREATE INDEX pauses_by_campaign ON pauses (campaign_id);

CREATE TABLE transitions (
    campaign_id    uuid NOT NULL REFERENCES campaigns,
    sequence       integer NOT NULL CHECK (sequence > 0),
    occurrence     integer NOT NULL DEFAULT 1,
    tenant_id      uuid NOT NULL,
    type           text NOT NULL,
    from_status    text,
    to_status      text NOT NULL,
    reason         text,
    note           text,
    changes        jsonb NOT NULL DEFAULT '[]',
    moved          jsonb NOT NULL DEFAULT '{}', -- what it moved: held, released, spent, impressions, amount
    due_at         timestamptz NOT NULL,
    executed_at    timestamptz NOT NULL,
    total_recipients integer NOT NULL DEFAULT 0,
    actor          text NOT NULL,
    correlation_id text NOT NULL,
    PRIMARY KEY (campaign_id, sequence)
);
-- whatever crashes, however many run: once per occurrence (SPEC 3)
CREATE UNIQUE INDEX transitions_once ON transitions (campaign_id, occurrence, type)
    WHERE type IN ('started', 'completed', 'settled', 'missed', 'expired');
CREATE INDEX transitions_executed ON transitions (executed_at, campaign_id, sequence)
    WHERE type IN ('content.distributed', 'started', 'completed', 'missed', 'expired', 'failed');

-- Money: each row moves an amount from one account to another, so debits equal credits by shape. Never changed, never deleted.
CREATE TABLE ledger (
    id            uuid PRIMARY KEY DEFAULT uuidv7(),
    tenant_id     uuid NOT NULL REFERENCES tenants,
    campaign_id   uuid REFERENCES campaigns,
    sequence      integer, -- of the transition that moved it; null for deposits and charges
    kind          text NOT NULL CHECK (kind IN ('deposit', 'hold', 'charge', 'release', 'adjustment')),
    debit         text NOT NULL CHECK (debit IN ('cash', 'available', 'held', 'spent')),
    credit        text NOT NULL CHECK (credit IN ('cash', 'available', 'held', 'spent')),
    amount_micros bigint NOT NULL CHECK (amount_micros > 0),
    reference     text,
    at            timestamptz NOT NULL,
    CHECK ((kind, debit, credit) IN (('deposit', 'cash', 'available'), ('hold', 'available', 'held'), ('charge', 'held', 'spent'),
           ('release', 'held', 'available'), ('adjustment', 'cash', 'available'), ('adjustment', 'available', 'cash'))),
    CHECK ((kind IN ('deposit', 'adjustment')) = (campaign_id IS NULL))
);
CREATE INDEX ledger_by_tenant ON ledger (tenant_id, id);
CREATE UNIQUE INDEX ledger_once ON ledger (campaign_id, sequence, kind) WHERE sequence IS NOT NULL;
CREATE INDEX ledger_by_campaign ON ledger (campaign_id) WHERE campaign_id IS NOT NULL;

-- Playlists ---------------------------------------------------------------------------------------------------------

CREATE TABLE playlists (
    digest       text PRIMARY KEY,
    input_digest text NOT NULL,
    valid_from   timestamptz NOT NULL,
    valid_until  timestamptz NOT NULL,
    body         bytea NOT NULL,
    body_br      bytea NOT NULL,
    body_gzip    bytea NOT NULL,
    created_at   timestamptz NOT NULL
);
CREATE INDEX playlists_by_input ON playlists (input_digest, valid_from);
CREATE INDEX playlists_by_age ON playlists (valid_until);

-- What each screen is given now.
CREATE TABLE screens (
    device_id    uuid PRIMARY KEY REFERENCES devices,
    digest       text NOT NULL REFERENCES playlists,
    input_digest text NOT NULL,
    version      bigint NOT NULL,
    valid_until  timestamptz NOT NULL,
    assigned_at  timestamptz NOT NULL,
    changed_xid  xid8 NOT NULL DEFAULT pg_current_xact_id()
);
CREATE INDEX screens_by_change ON screens (changed_xid);
CREATE INDEX screens_by_expiry ON screens (valid_until);
CREATE INDEX screens_by_digest ON screens (digest);

-- What each screen was ever given, kept as long as the body.
CREATE TABLE grants (
    device_id uuid NOT NULL REFERENCES devices,
    digest    text NOT NULL REFERENCES playlists,
    given_at  timestamptz NOT NULL,
    PRIMARY KEY (digest, device_id)
);

-- A change that playlists have yet to follow, written in the transaction of the change.
CREATE TABLE marks (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind       text NOT NULL CHECK (kind IN ('campaign', 'store', 'device', 'network')),
    ref        uuid,
    urgent     boolean NOT NULL DEFAULT false, -- something must leave the screens
    marked_at  timestamptz NOT NULL,
    CHECK ((kind = 'network') = (ref IS NULL))
);

-- The screens those marks touch, worked off in portions. Only the holder of the planner's lock writes here.
CREATE TABLE stale_screens (
    device_id uuid PRIMARY KEY REFERENCES devices,
    urgent    boolean NOT NULL,
    stale_at  timestamptz NOT NULL
);
CREATE INDEX stale_screens_in_order ON stale_screens (urgent DESC, stale_at, device_id);

-- Deliveries and plays ------------------------------------------------------------------------------------------------

CREATE TABLE deliveries (
    campaign_id uuid NOT NULL REFERENCES campaigns,
    device_id   uuid NOT NULL REFERENCES devices,
    status      text NOT NULL CHECK (status IN ('PENDING', 'OFFERED', 'READY', 'FAILED', 'TIMED_OUT', 'DEFERRED', 'REMOVED')),
    reason      text,
    offered_at  timestamptz,
    ready_at    timestamptz,
    digest      text,
    updated_at  timestamptz NOT NULL,
    PRIMARY KEY (campaign_id, device_id)
);
CREATE INDEX deliveries_by_device ON deliveries (device_id);

CREATE TABLE fetches (
    device_id    uuid NOT NULL REFERENCES devices,
    sha256       text NOT NULL,
    ranges       int8multirange NOT NULL,
    corruptions  integer NOT NULL DEFAULT 0, -- reports of CORRUPT
    completed_at timestamptz,
    updated_at   timestamptz NOT NULL,
    PRIMARY KEY (device_id, sha256)
);

CREATE TABLE plays (
    device_id      uuid NOT NULL REFERENCES devices,
    play_id        text NOT NULL,
    campaign_id    uuid,
    creative_id    uuid,
    variant        text,
    digest         text,
    started_at     timestamptz NOT NULL, -- corrected for the device's clock
    duration_ms    integer NOT NULL,
    verdict        text NOT NULL,
    price_micros   bigint NOT NULL DEFAULT 0,
    charged_micros bigint NOT NULL DEFAULT 0,
    received_at    timestamptz NOT NULL,
    PRIMARY KEY (device_id, play_id)
);
CREATE INDEX plays_by_campaign ON plays (campaign_id, started_at) WHERE verdict IN ('accepted', 'unpaid');

-- Ways out ------------------------------------------------------------------------------------------------------------

CREATE TABLE outbox (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    shard           smallint NOT NULL,
    topic           text NOT NULL,
    key             uuid NOT NULL,
    sequence        integer NOT NULL,
    type            text NOT NULL,
    body            bytea NOT NULL,
    created_at      timestamptz NOT NULL,
    attempts        integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz,
    parked_at       timestamptz,
    error           text
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
CREATE INDEX outbox_in_order ON outbox (shard, id);
CREATE INDEX outbox_parked ON outbox (key) WHERE parked_at IS NOT NULL;

CREATE TABLE mails (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind            text NOT NULL,
    tenant_id       uuid NOT NULL REFERENCES tenants,
    campaign_id     uuid NOT NULL REFERENCES campaigns,
    sequence        integer NOT NULL,
    facts           jsonb NOT NULL,
    created_at      timestamptz NOT NULL,
    attempts        integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL,
    sent_at         timestamptz,
    parked_at       timestamptz,
    error           text,
    CONSTRAINT mails_once UNIQUE (campaign_id, sequence, kind)
);
CREATE INDEX mails_to_send ON mails (next_attempt_at, id) WHERE sent_at IS NULL AND parked_at IS NULL;

-- What the application may do: everything it needs, and of what is history only to read and to add.
GRANT USAGE ON SCHEMA public TO :app_role;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO :app_role;
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO :app_role;
REVOKE UPDATE, DELETE ON ledger, transitions FROM :app_role;
