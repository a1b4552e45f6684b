CREATE TABLE public.activation_codes (
    code_sha256 bytea NOT NULL,
    device_id uuid NOT NULL,
    created_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    redeemed_at timestamp with time zone,
    spent_at timestamp with time zone
);

CREATE TABLE public.api_tokens (
    id uuid DEFAULT uuidv7() NOT NULL,
    token_sha256 bytea NOT NULL,
    role text NOT NULL,
    tenant_id uuid,
    name text,
    created_at timestamp with time zone NOT NULL,
    revoked_at timestamp with time zone,
    CONSTRAINT api_tokens_check CHECK (((role = 'advertiser'::text) = (tenant_id IS NOT NULL))),
    CONSTRAINT api_tokens_role_check CHECK ((role = ANY (ARRAY['platform_admin'::text, 'operator'::text, 'advertiser'::text])))
);

CREATE TABLE public.campaign_creatives (
    campaign_id uuid NOT NULL,
    "position" smallint NOT NULL,
    creative_id uuid NOT NULL,
    variant text
);

CREATE TABLE public.campaigns (
    id uuid DEFAULT uuidv7() NOT NULL,
    tenant_id uuid NOT NULL,
    name text NOT NULL,
    channel text NOT NULL,
    description text,
    status text DEFAULT 'DRAFT'::text NOT NULL,
    status_reason text,
    status_note text,
    version integer DEFAULT 1 NOT NULL,
    sequence integer DEFAULT 0 NOT NULL,
    occurrence integer DEFAULT 1 NOT NULL,
    timezone text NOT NULL,
    start_at timestamp with time zone,
    end_at timestamp with time zone,
    start_local timestamp without time zone,
    end_local timestamp without time zone,
    tzdata_version text NOT NULL,
    budget_micros bigint,
    daily_cap_micros bigint,
    priority smallint DEFAULT 5 NOT NULL,
    pace smallint DEFAULT 1 NOT NULL,
    dayparts jsonb DEFAULT '[]'::jsonb NOT NULL,
    start_policy text DEFAULT 'on_time'::text NOT NULL,
    start_deadline timestamp with time zone,
    allow_short_lead boolean DEFAULT false NOT NULL,
    brand text,
    category text,
    total_recipients integer DEFAULT 0 NOT NULL,
    impressions bigint DEFAULT 0 NOT NULL,
    held_micros bigint DEFAULT 0 NOT NULL,
    spent_micros bigint DEFAULT 0 NOT NULL,
    released_micros bigint DEFAULT 0 NOT NULL,
    pause_causes text[] DEFAULT '{}'::text[] NOT NULL,
    submitted_at timestamp with time zone,
    distributed_at timestamp with time zone,
    ready_at timestamp with time zone,
    activated_at timestamp with time zone,
    completed_at timestamp with time zone,
    settle_at timestamp with time zone,
    settled_at timestamp with time zone,
    attempts smallint DEFAULT 0 NOT NULL,
    retry_at timestamp with time zone,
    deleted_at timestamp with time zone,
    correlation_id text NOT NULL,
    created_by text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    approve_by timestamp with time zone,
    risk_checked_at timestamp with time zone,
    budget_told_micros bigint,
    capped_until timestamp with time zone,
    CONSTRAINT campaigns_active_since CHECK (((status <> ALL (ARRAY['ACTIVE'::text, 'PAUSED'::text, 'COMPLETED'::text])) OR (activated_at IS NOT NULL))),
    CONSTRAINT campaigns_booked_whole CHECK (((status = ANY (ARRAY['DRAFT'::text, 'REJECTED'::text])) OR ((start_at IS NOT NULL) AND (end_at IS NOT NULL) AND (budget_micros IS NOT NULL)))),
    CONSTRAINT campaigns_budget_micros_check CHECK ((budget_micros > 0)),
    CONSTRAINT campaigns_completed_at CHECK (((status = 'COMPLETED'::text) = (completed_at IS NOT NULL))),
    CONSTRAINT campaigns_daily_cap_micros_check CHECK ((daily_cap_micros > 0)),
    CONSTRAINT campaigns_held_micros_check CHECK ((held_micros >= 0)),
    CONSTRAINT campaigns_money_adds_up CHECK (
CASE
    WHEN (status = 'DRAFT'::text) THEN ((held_micros = 0) AND (spent_micros = 0) AND (released_micros = 0))
    ELSE (((held_micros + spent_micros) + released_micros) = budget_micros)
END),
    CONSTRAINT campaigns_pace_check CHECK (((pace >= 1) AND (pace <= 4))),
    CONSTRAINT campaigns_paused_by CHECK (((status <> 'PAUSED'::text) OR (cardinality(pause_causes) > 0))),
    CONSTRAINT campaigns_priority_check CHECK (((priority >= 1) AND (priority <= 10))),
    CONSTRAINT campaigns_released_micros_check CHECK ((released_micros >= 0)),
    CONSTRAINT campaigns_settle_at CHECK (((status <> ALL (ARRAY['COMPLETED'::text, 'CANCELLED'::text, 'FAILED'::text])) OR (settle_at IS NOT NULL) OR (settled_at IS NOT NULL))),
    CONSTRAINT campaigns_settled_holds_nothing CHECK (((settled_at IS NULL) OR (held_micros = 0))),
    CONSTRAINT campaigns_spent_micros_check CHECK ((spent_micros >= 0)),
    CONSTRAINT campaigns_start_policy_check CHECK ((start_policy = ANY (ARRAY['on_time'::text, 'when_ready'::text]))),
    CONSTRAINT campaigns_status_check CHECK ((status = ANY (ARRAY['DRAFT'::text, 'PENDING_APPROVAL'::text, 'REJECTED'::text, 'EXPIRED'::text, 'SCHEDULED'::text, 'ACTIVE'::text, 'PAUSED'::text, 'COMPLETED'::text, 'CANCELLED'::text, 'FAILED'::text, 'MISSED'::text]))),
    CONSTRAINT campaigns_window CHECK ((end_at > start_at))
)
WITH (fillfactor='80');

CREATE TABLE public.clock_jumps (
    id bigint NOT NULL,
    told_at timestamp with time zone NOT NULL,
    expected_at timestamp with time zone NOT NULL,
    witness text NOT NULL,
    expected interval NOT NULL,
    ended_at timestamp with time zone,
    ended_by text,
    CONSTRAINT clock_jumps_check CHECK (((ended_at IS NULL) = (ended_by IS NULL)))
);

ALTER TABLE public.clock_jumps ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.clock_jumps_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.creatives (
    id uuid DEFAULT uuidv7() NOT NULL,
    tenant_id uuid,
    name text NOT NULL,
    sha256 text NOT NULL,
    size bigint NOT NULL,
    mime text NOT NULL,
    duration_ms integer NOT NULL,
    keywords text[] DEFAULT '{}'::text[] NOT NULL,
    flags text[] DEFAULT '{}'::text[] NOT NULL,
    state text DEFAULT 'MISSING'::text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    CONSTRAINT creatives_duration_ms_check CHECK ((duration_ms > 0)),
    CONSTRAINT creatives_flags_check CHECK ((flags <@ '{ALCOHOL,TOBACCO,GAMBLING,ADULT}'::text[])),
    CONSTRAINT creatives_sha256_check CHECK ((sha256 ~ '^[0-9a-f]{64}$'::text)),
    CONSTRAINT creatives_size_check CHECK ((size > 0)),
    CONSTRAINT creatives_state_check CHECK ((state = ANY (ARRAY['MISSING'::text, 'STORED'::text])))
);

CREATE TABLE public.daily_spends (
    campaign_id uuid NOT NULL,
    spent_on date NOT NULL,
    spent_micros bigint NOT NULL,
    CONSTRAINT daily_spends_spent_micros_check CHECK ((spent_micros > 0))
);

CREATE TABLE public.deliveries (
    campaign_id uuid NOT NULL,
    device_id uuid NOT NULL,
    status text NOT NULL,
    reason text,
    offered_at timestamp with time zone,
    ready_at timestamp with time zone,
    digest text,
    updated_at timestamp with time zone NOT NULL,
    CONSTRAINT deliveries_status_check CHECK ((status = ANY (ARRAY['PENDING'::text, 'OFFERED'::text, 'READY'::text, 'FAILED'::text, 'TIMED_OUT'::text, 'DEFERRED'::text, 'REMOVED'::text])))
);

CREATE TABLE public.device_tokens (
    token_sha256 bytea NOT NULL,
    device_id uuid NOT NULL,
    code_sha256 bytea,
    created_at timestamp with time zone NOT NULL,
    first_used_at timestamp with time zone,
    expires_at timestamp with time zone,
    revoked_at timestamp with time zone,
    changed_xid xid8 DEFAULT pg_current_xact_id() NOT NULL
);

CREATE TABLE public.devices (
    id uuid DEFAULT uuidv7() NOT NULL,
    store_id uuid NOT NULL,
    name text NOT NULL,
    tags text[] DEFAULT '{}'::text[] NOT NULL,
    slots_per_hour integer DEFAULT 12 NOT NULL,
    cpm_micros bigint,
    disabled boolean DEFAULT false NOT NULL,
    player_since timestamp with time zone,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    CONSTRAINT devices_cpm_micros_check CHECK ((cpm_micros >= 0)),
    CONSTRAINT devices_slots_per_hour_check CHECK ((((slots_per_hour >= 6) AND (slots_per_hour <= 360)) AND ((3600 % slots_per_hour) = 0)))
);

CREATE TABLE public.fetches (
    device_id uuid NOT NULL,
    sha256 text NOT NULL,
    ranges int8multirange NOT NULL,
    corruptions integer DEFAULT 0 NOT NULL,
    completed_at timestamp with time zone,
    updated_at timestamp with time zone NOT NULL
);

CREATE TABLE public.grants (
    device_id uuid NOT NULL,
    digest text NOT NULL,
    given_at timestamp with time zone NOT NULL
);

CREATE TABLE public.house (
    singleton boolean DEFAULT true NOT NULL,
    fallback uuid[] DEFAULT '{}'::uuid[] NOT NULL,
    updated_at timestamp with time zone,
    CONSTRAINT house_singleton_check CHECK (singleton)
);

CREATE TABLE public.idempotency_keys (
    token_id uuid NOT NULL,
    method text NOT NULL,
    path text NOT NULL,
    key text NOT NULL,
    request_sha256 bytea NOT NULL,
    status integer NOT NULL,
    headers jsonb NOT NULL,
    body bytea NOT NULL,
    created_at timestamp with time zone NOT NULL
);

CREATE TABLE public.ledger (
    id uuid DEFAULT uuidv7() NOT NULL,
    tenant_id uuid NOT NULL,
    campaign_id uuid,
    sequence integer,
    kind text NOT NULL,
    debit text NOT NULL,
    credit text NOT NULL,
    amount_micros bigint NOT NULL,
    reference text,
    at timestamp with time zone NOT NULL,
    actor text,
    CONSTRAINT ledger_adjusted_for_a_reason CHECK (((kind <> 'adjustment'::text) OR ((reference IS NOT NULL) AND (actor IS NOT NULL)))),
    CONSTRAINT ledger_amount_micros_check CHECK ((amount_micros > 0)),
    CONSTRAINT ledger_check CHECK ((((((((kind = 'deposit'::text) AND (debit = 'cash'::text) AND (credit = 'available'::text)) OR ((kind = 'hold'::text) AND (debit = 'available'::text) AND (credit = 'held'::text))) OR ((kind = 'charge'::text) AND (debit = 'held'::text) AND (credit = 'spent'::text))) OR ((kind = 'release'::text) AND (debit = 'held'::text) AND (credit = 'available'::text))) OR ((kind = 'adjustment'::text) AND (debit = 'cash'::text) AND (credit = 'available'::text))) OR ((kind = 'adjustment'::text) AND (debit = 'available'::text) AND (credit = 'cash'::text)))),
    CONSTRAINT ledger_check1 CHECK (((kind = ANY (ARRAY['deposit'::text, 'adjustment'::text])) = (campaign_id IS NULL))),
    CONSTRAINT ledger_credit_check CHECK ((credit = ANY (ARRAY['cash'::text, 'available'::text, 'held'::text, 'spent'::text]))),
    CONSTRAINT ledger_debit_check CHECK ((debit = ANY (ARRAY['cash'::text, 'available'::text, 'held'::text, 'spent'::text]))),
    CONSTRAINT ledger_kind_check CHECK ((kind = ANY (ARRAY['deposit'::text, 'hold'::text, 'charge'::text, 'release'::text, 'adjustment'::text])))
);

CREATE TABLE public.mails (
    id bigint NOT NULL,
    kind text NOT NULL,
    tenant_id uuid NOT NULL,
    campaign_id uuid,
    sequence integer,
    facts jsonb NOT NULL,
    created_at timestamp with time zone NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    next_attempt_at timestamp with time zone NOT NULL,
    sent_at timestamp with time zone,
    parked_at timestamp with time zone,
    error text,
    hour timestamp with time zone,
    digest_id bigint,
    CONSTRAINT mails_digest_hour CHECK (((kind <> 'digest'::text) OR ((hour IS NOT NULL) AND (digest_id IS NULL)))),
    CONSTRAINT mails_of_a_change CHECK ((((kind = 'digest'::text) = (campaign_id IS NULL)) AND ((campaign_id IS NULL) = (sequence IS NULL))))
);

ALTER TABLE public.mails ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.mails_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.marks (
    id bigint NOT NULL,
    kind text NOT NULL,
    ref uuid,
    urgent boolean DEFAULT false NOT NULL,
    marked_at timestamp with time zone NOT NULL,
    CONSTRAINT marks_check CHECK (((kind = 'network'::text) = (ref IS NULL))),
    CONSTRAINT marks_kind_check CHECK ((kind = ANY (ARRAY['campaign'::text, 'store'::text, 'device'::text, 'network'::text])))
);

ALTER TABLE public.marks ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.marks_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.outages (
    began_at timestamp with time zone NOT NULL,
    ended_at timestamp with time zone NOT NULL,
    CONSTRAINT outages_check CHECK ((ended_at > began_at))
);

CREATE TABLE public.outbox (
    id bigint NOT NULL,
    shard smallint NOT NULL,
    topic text NOT NULL,
    key uuid NOT NULL,
    sequence integer NOT NULL,
    type text NOT NULL,
    body bytea NOT NULL,
    created_at timestamp with time zone NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    next_attempt_at timestamp with time zone,
    parked_at timestamp with time zone,
    error text
)
WITH (autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='5000');

ALTER TABLE public.outbox ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.outbox_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.pauses (
    id bigint NOT NULL,
    campaign_id uuid NOT NULL,
    cause text NOT NULL,
    began_at timestamp with time zone NOT NULL,
    ended_at timestamp with time zone,
    CONSTRAINT pauses_cause_check CHECK ((cause = ANY (ARRAY['USER'::text, 'OPERATOR'::text, 'BUDGET_EXHAUSTED'::text, 'NO_ELIGIBLE_DEVICES'::text, 'TENANT_SUSPENDED'::text, 'EMERGENCY_STOP'::text, 'BLACKOUT'::text, 'WAVE_GATE'::text]))),
    CONSTRAINT pauses_check CHECK ((ended_at >= began_at))
);

ALTER TABLE public.pauses ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.pauses_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.playlists (
    digest text NOT NULL,
    input_digest text NOT NULL,
    valid_from timestamp with time zone NOT NULL,
    valid_until timestamp with time zone NOT NULL,
    body bytea NOT NULL,
    body_br bytea NOT NULL,
    body_gzip bytea NOT NULL,
    created_at timestamp with time zone NOT NULL
);

CREATE TABLE public.plays (
    device_id uuid NOT NULL,
    play_id text NOT NULL,
    campaign_id uuid,
    creative_id uuid,
    variant text,
    digest text,
    started_at timestamp with time zone NOT NULL,
    duration_ms integer NOT NULL,
    verdict text NOT NULL,
    price_micros bigint DEFAULT 0 NOT NULL,
    charged_micros bigint DEFAULT 0 NOT NULL,
    received_at timestamp with time zone NOT NULL,
    counted_on date
);

CREATE TABLE public.presence (
    device_id uuid NOT NULL,
    last_seen_at timestamp with time zone NOT NULL,
    beat_at timestamp with time zone,
    digest text,
    screen text,
    skew_ms bigint,
    errors jsonb DEFAULT '[]'::jsonb NOT NULL,
    online boolean DEFAULT false NOT NULL,
    announcements integer DEFAULT 0 NOT NULL,
    sent_digest text
)
WITH (fillfactor='70');

CREATE TABLE public.purged_plays (
    campaign_id uuid NOT NULL,
    counted_on date,
    impressions bigint NOT NULL,
    charged_micros bigint NOT NULL,
    CONSTRAINT purged_plays_charged_micros_check CHECK ((charged_micros >= 0)),
    CONSTRAINT purged_plays_impressions_check CHECK ((impressions > 0))
);

CREATE TABLE public.quarantine (
    campaign_id uuid NOT NULL,
    change text NOT NULL,
    attempts integer NOT NULL,
    since timestamp with time zone NOT NULL,
    retry_at timestamp with time zone NOT NULL,
    error text NOT NULL,
    CONSTRAINT quarantine_attempts_check CHECK ((attempts > 0))
);

CREATE TABLE public.schema_migrations (
    name text NOT NULL,
    sha256 text NOT NULL,
    applied_at timestamp with time zone DEFAULT now() NOT NULL
);

CREATE TABLE public.screens (
    device_id uuid NOT NULL,
    digest text NOT NULL,
    input_digest text NOT NULL,
    version bigint NOT NULL,
    valid_until timestamp with time zone NOT NULL,
    assigned_at timestamp with time zone NOT NULL,
    changed_xid xid8 DEFAULT pg_current_xact_id() NOT NULL
);

CREATE TABLE public.service (
    singleton boolean DEFAULT true NOT NULL,
    last_at timestamp with time zone NOT NULL,
    CONSTRAINT service_singleton_check CHECK (singleton)
);

CREATE TABLE public.stale_screens (
    device_id uuid NOT NULL,
    urgent boolean NOT NULL,
    stale_at timestamp with time zone NOT NULL
);

CREATE TABLE public.stores (
    id uuid DEFAULT uuidv7() NOT NULL,
    code text NOT NULL,
    name text NOT NULL,
    timezone text NOT NULL,
    country text,
    region text,
    city text,
    latitude double precision,
    longitude double precision,
    category text,
    tags text[] DEFAULT '{}'::text[] NOT NULL,
    opening_hours jsonb DEFAULT '[]'::jsonb NOT NULL,
    blocked jsonb DEFAULT '{}'::jsonb NOT NULL,
    blocked_keys text[] DEFAULT '{}'::text[] NOT NULL,
    fallback uuid[] DEFAULT '{}'::uuid[] NOT NULL,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL
);

CREATE TABLE public.targets (
    campaign_id uuid NOT NULL,
    stores uuid[] DEFAULT '{}'::uuid[] NOT NULL,
    devices uuid[] DEFAULT '{}'::uuid[] NOT NULL,
    include_tags text[] DEFAULT '{}'::text[] NOT NULL,
    exclude_stores uuid[] DEFAULT '{}'::uuid[] NOT NULL,
    exclude_devices uuid[] DEFAULT '{}'::uuid[] NOT NULL,
    exclude_tags text[] DEFAULT '{}'::text[] NOT NULL,
    block_keys text[] DEFAULT '{}'::text[] NOT NULL,
    longest_ms integer DEFAULT 0 NOT NULL
);

CREATE TABLE public.tenants (
    id uuid DEFAULT uuidv7() NOT NULL,
    name text NOT NULL,
    currency text NOT NULL,
    timezone text NOT NULL,
    email text NOT NULL,
    status text DEFAULT 'ACTIVE'::text NOT NULL,
    running_limit integer NOT NULL,
    approval_limit_micros bigint NOT NULL,
    funded_micros bigint DEFAULT 0 NOT NULL,
    available_micros bigint DEFAULT 0 NOT NULL,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    CONSTRAINT tenants_approval_limit_micros_check CHECK ((approval_limit_micros >= 0)),
    CONSTRAINT tenants_available_not_negative CHECK ((available_micros >= 0)),
    CONSTRAINT tenants_funded_micros_check CHECK ((funded_micros >= 0)),
    CONSTRAINT tenants_running_limit_check CHECK ((running_limit >= 0)),
    CONSTRAINT tenants_status_check CHECK ((status = ANY (ARRAY['ACTIVE'::text, 'SUSPENDED'::text])))
);

CREATE TABLE public.transitions (
    campaign_id uuid NOT NULL,
    sequence integer NOT NULL,
    occurrence integer DEFAULT 1 NOT NULL,
    tenant_id uuid NOT NULL,
    type text NOT NULL,
    from_status text,
    to_status text NOT NULL,
    reason text,
    note text,
    changes jsonb DEFAULT '[]'::jsonb NOT NULL,
    moved jsonb DEFAULT '{}'::jsonb NOT NULL,
    due_at timestamp with time zone NOT NULL,
    executed_at timestamp with time zone NOT NULL,
    total_recipients integer DEFAULT 0 NOT NULL,
    actor text NOT NULL,
    correlation_id text NOT NULL,
    CONSTRAINT transitions_sequence_check CHECK ((sequence > 0))
);

CREATE TABLE public.zone_rules (
    singleton boolean DEFAULT true NOT NULL,
    version text DEFAULT ''::text NOT NULL,
    seen_at timestamp with time zone,
    CONSTRAINT zone_rules_singleton_check CHECK (singleton)
);

ALTER TABLE ONLY public.activation_codes
    ADD CONSTRAINT activation_codes_pkey PRIMARY KEY (code_sha256);

ALTER TABLE ONLY public.api_tokens
    ADD CONSTRAINT api_tokens_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.api_tokens
    ADD CONSTRAINT api_tokens_unique UNIQUE (token_sha256);

ALTER TABLE ONLY public.campaign_creatives
    ADD CONSTRAINT campaign_creatives_campaign_id_creative_id_key UNIQUE (campaign_id, creative_id);

ALTER TABLE ONLY public.campaign_creatives
    ADD CONSTRAINT campaign_creatives_pkey PRIMARY KEY (campaign_id, "position");

ALTER TABLE ONLY public.campaigns
    ADD CONSTRAINT campaigns_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.clock_jumps
    ADD CONSTRAINT clock_jumps_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.creatives
    ADD CONSTRAINT creatives_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.daily_spends
    ADD CONSTRAINT daily_spends_pkey PRIMARY KEY (campaign_id, spent_on);

ALTER TABLE ONLY public.deliveries
    ADD CONSTRAINT deliveries_pkey PRIMARY KEY (campaign_id, device_id);

ALTER TABLE ONLY public.device_tokens
    ADD CONSTRAINT device_tokens_pkey PRIMARY KEY (token_sha256);

ALTER TABLE ONLY public.devices
    ADD CONSTRAINT devices_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.fetches
    ADD CONSTRAINT fetches_pkey PRIMARY KEY (device_id, sha256);

ALTER TABLE ONLY public.grants
    ADD CONSTRAINT grants_pkey PRIMARY KEY (digest, device_id);

ALTER TABLE ONLY public.house
    ADD CONSTRAINT house_pkey PRIMARY KEY (singleton);

ALTER TABLE ONLY public.idempotency_keys
    ADD CONSTRAINT idempotency_keys_pkey PRIMARY KEY (token_id, method, path, key);

ALTER TABLE ONLY public.ledger
    ADD CONSTRAINT ledger_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.mails
    ADD CONSTRAINT mails_once UNIQUE (campaign_id, sequence, kind);

ALTER TABLE ONLY public.mails
    ADD CONSTRAINT mails_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.marks
    ADD CONSTRAINT marks_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.outages
    ADD CONSTRAINT outages_pkey PRIMARY KEY (began_at);

ALTER TABLE ONLY public.outbox
    ADD CONSTRAINT outbox_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.pauses
    ADD CONSTRAINT pauses_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.playlists
    ADD CONSTRAINT playlists_pkey PRIMARY KEY (digest);

ALTER TABLE ONLY public.plays
    ADD CONSTRAINT plays_pkey PRIMARY KEY (device_id, play_id);

ALTER TABLE ONLY public.presence
    ADD CONSTRAINT presence_pkey PRIMARY KEY (device_id);

ALTER TABLE ONLY public.purged_plays
    ADD CONSTRAINT purged_plays_once UNIQUE NULLS NOT DISTINCT (campaign_id, counted_on);

ALTER TABLE ONLY public.quarantine
    ADD CONSTRAINT quarantine_pkey PRIMARY KEY (campaign_id);

ALTER TABLE ONLY public.schema_migrations
    ADD CONSTRAINT schema_migrations_pkey PRIMARY KEY (name);

ALTER TABLE ONLY public.screens
    ADD CONSTRAINT screens_pkey PRIMARY KEY (device_id);

ALTER TABLE ONLY public.service
    ADD CONSTRAINT service_pkey PRIMARY KEY (singleton);

ALTER TABLE ONLY public.stale_screens
    ADD CONSTRAINT stale_screens_pkey PRIMARY KEY (device_id);

ALTER TABLE ONLY public.stores
    ADD CONSTRAINT stores_code_unique UNIQUE (code);

ALTER TABLE ONLY public.stores
    ADD CONSTRAINT stores_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.targets
    ADD CONSTRAINT targets_pkey PRIMARY KEY (campaign_id);

ALTER TABLE ONLY public.tenants
    ADD CONSTRAINT tenants_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.transitions
    ADD CONSTRAINT transitions_pkey PRIMARY KEY (campaign_id, sequence);

ALTER TABLE ONLY public.zone_rules
    ADD CONSTRAINT zone_rules_pkey PRIMARY KEY (singleton);

CREATE INDEX activation_codes_by_device ON public.activation_codes USING btree (device_id);

CREATE INDEX api_tokens_by_tenant ON public.api_tokens USING btree (tenant_id, id);

CREATE INDEX campaign_creatives_by_creative ON public.campaign_creatives USING btree (creative_id);

CREATE INDEX campaigns_by_tenant ON public.campaigns USING btree (tenant_id, id);

CREATE INDEX campaigns_by_wall_time ON public.campaigns USING btree (tzdata_version, id) WHERE (((start_local IS NOT NULL) OR (end_local IS NOT NULL)) AND (deleted_at IS NULL) AND (status = ANY (ARRAY['DRAFT'::text, 'PENDING_APPROVAL'::text, 'SCHEDULED'::text, 'ACTIVE'::text, 'PAUSED'::text])));

CREATE INDEX campaigns_in_playlists ON public.campaigns USING btree (end_at, id) WHERE ((distributed_at IS NOT NULL) AND (status = ANY (ARRAY['SCHEDULED'::text, 'ACTIVE'::text, 'COMPLETED'::text])) AND (pause_causes = '{}'::text[]));

CREATE UNIQUE INDEX campaigns_name_unique ON public.campaigns USING btree (tenant_id, name) WHERE (deleted_at IS NULL);

CREATE INDEX campaigns_stopped ON public.campaigns USING btree (end_at) WHERE ('EMERGENCY_STOP'::text = ANY (pause_causes));

CREATE INDEX campaigns_to_complete ON public.campaigns USING btree (end_at, id) WHERE (status = ANY (ARRAY['ACTIVE'::text, 'PAUSED'::text]));

CREATE INDEX campaigns_to_distribute ON public.campaigns USING btree (start_at, id) WHERE ((distributed_at IS NULL) AND (status = ANY (ARRAY['SCHEDULED'::text, 'ACTIVE'::text])) AND (pause_causes = '{}'::text[]));

CREATE INDEX campaigns_to_expire ON public.campaigns USING btree (LEAST(approve_by, end_at), id) WHERE (status = 'PENDING_APPROVAL'::text);

CREATE INDEX campaigns_to_retry ON public.campaigns USING btree (retry_at) WHERE (retry_at IS NOT NULL);

CREATE INDEX campaigns_to_settle ON public.campaigns USING btree (settle_at, id) WHERE ((settled_at IS NULL) AND (status = ANY (ARRAY['COMPLETED'::text, 'CANCELLED'::text, 'FAILED'::text])));

CREATE INDEX campaigns_to_start ON public.campaigns USING btree (start_at, id) WHERE (status = 'SCHEDULED'::text);

CREATE UNIQUE INDEX clock_jumps_one_open ON public.clock_jumps USING btree ((true)) WHERE (ended_at IS NULL);

CREATE INDEX creatives_by_sha256 ON public.creatives USING btree (sha256);

CREATE INDEX creatives_by_tenant ON public.creatives USING btree (tenant_id, id);

CREATE INDEX deliveries_by_device ON public.deliveries USING btree (device_id);

CREATE INDEX device_tokens_by_change ON public.device_tokens USING btree (changed_xid);

CREATE INDEX device_tokens_by_device ON public.device_tokens USING btree (device_id);

CREATE INDEX devices_by_store ON public.devices USING btree (store_id);

CREATE INDEX idempotency_keys_by_age ON public.idempotency_keys USING btree (created_at);

CREATE INDEX ledger_by_campaign ON public.ledger USING btree (campaign_id) WHERE (campaign_id IS NOT NULL);

CREATE INDEX ledger_by_tenant ON public.ledger USING btree (tenant_id, id);

CREATE UNIQUE INDEX ledger_once ON public.ledger USING btree (campaign_id, sequence, kind) WHERE (sequence IS NOT NULL);

CREATE INDEX mails_alone ON public.mails USING btree (tenant_id, hour) WHERE ((hour IS NOT NULL) AND (digest_id IS NULL) AND (kind <> 'digest'::text));

CREATE UNIQUE INDEX mails_one_digest ON public.mails USING btree (tenant_id, hour) WHERE (kind = 'digest'::text);

CREATE INDEX mails_parked ON public.mails USING btree (id) WHERE (parked_at IS NOT NULL);

CREATE INDEX mails_to_digest ON public.mails USING btree (digest_id) WHERE ((digest_id IS NOT NULL) AND (sent_at IS NULL) AND (parked_at IS NULL));

CREATE INDEX mails_to_send ON public.mails USING btree (next_attempt_at, id) WHERE ((hour IS NOT NULL) AND (digest_id IS NULL) AND (sent_at IS NULL) AND (parked_at IS NULL));

CREATE INDEX mails_to_sort ON public.mails USING btree (id) WHERE ((hour IS NULL) AND (sent_at IS NULL) AND (parked_at IS NULL));

CREATE INDEX outbox_in_order ON public.outbox USING btree (shard, id);

CREATE INDEX outbox_parked ON public.outbox USING btree (key) WHERE (parked_at IS NOT NULL);

CREATE INDEX pauses_by_campaign ON public.pauses USING btree (campaign_id);

CREATE UNIQUE INDEX pauses_one_open ON public.pauses USING btree (campaign_id, cause) WHERE (ended_at IS NULL);

CREATE INDEX playlists_by_age ON public.playlists USING btree (valid_until);

CREATE INDEX playlists_by_input ON public.playlists USING btree (input_digest, valid_from);

CREATE INDEX plays_by_age ON public.plays USING btree (received_at);

CREATE INDEX plays_by_campaign ON public.plays USING btree (campaign_id, started_at) WHERE (verdict = ANY (ARRAY['accepted'::text, 'unpaid'::text]));

CREATE INDEX screens_by_change ON public.screens USING btree (changed_xid);

CREATE INDEX screens_by_digest ON public.screens USING btree (digest);

CREATE INDEX screens_by_expiry ON public.screens USING btree (valid_until);

CREATE INDEX stale_screens_in_order ON public.stale_screens USING btree (urgent DESC, stale_at, device_id);

CREATE INDEX transitions_executed ON public.transitions USING btree (executed_at, campaign_id, sequence) WHERE (type = ANY (ARRAY['content.distributed'::text, 'started'::text, 'completed'::text, 'missed'::text, 'expired'::text, 'failed'::text]));

CREATE UNIQUE INDEX transitions_once ON public.transitions USING btree (campaign_id, occurrence, type) WHERE (type = ANY (ARRAY['started'::text, 'completed'::text, 'settled'::text, 'missed'::text, 'expired'::text]));

ALTER TABLE ONLY public.activation_codes
    ADD CONSTRAINT activation_codes_device_id_fkey FOREIGN KEY (device_id) REFERENCES public.devices(id);

ALTER TABLE ONLY public.api_tokens
    ADD CONSTRAINT api_tokens_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES public.tenants(id);

ALTER TABLE ONLY public.campaign_creatives
    ADD CONSTRAINT campaign_creatives_campaign_id_fkey FOREIGN KEY (campaign_id) REFERENCES public.campaigns(id);

ALTER TABLE ONLY public.campaign_creatives
    ADD CONSTRAINT campaign_creatives_creative_id_fkey FOREIGN KEY (creative_id) REFERENCES public.creatives(id);

ALTER TABLE ONLY public.campaigns
    ADD CONSTRAINT campaigns_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES public.tenants(id);

ALTER TABLE ONLY public.creatives
    ADD CONSTRAINT creatives_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES public.tenants(id);

ALTER TABLE ONLY public.daily_spends
    ADD CONSTRAINT daily_spends_campaign_id_fkey FOREIGN KEY (campaign_id) REFERENCES public.campaigns(id);

ALTER TABLE ONLY public.deliveries
    ADD CONSTRAINT deliveries_campaign_id_fkey FOREIGN KEY (campaign_id) REFERENCES public.campaigns(id);

ALTER TABLE ONLY public.deliveries
    ADD CONSTRAINT deliveries_device_id_fkey FOREIGN KEY (device_id) REFERENCES public.devices(id);

ALTER TABLE ONLY public.device_tokens
    ADD CONSTRAINT device_tokens_code_sha256_fkey FOREIGN KEY (code_sha256) REFERENCES public.activation_codes(code_sha256);

ALTER TABLE ONLY public.device_tokens
    ADD CONSTRAINT device_tokens_device_id_fkey FOREIGN KEY (device_id) REFERENCES public.devices(id);

ALTER TABLE ONLY public.devices
    ADD CONSTRAINT devices_store FOREIGN KEY (store_id) REFERENCES public.stores(id);

ALTER TABLE ONLY public.fetches
    ADD CONSTRAINT fetches_device_id_fkey FOREIGN KEY (device_id) REFERENCES public.devices(id);

ALTER TABLE ONLY public.grants
    ADD CONSTRAINT grants_device_id_fkey FOREIGN KEY (device_id) REFERENCES public.devices(id);

ALTER TABLE ONLY public.grants
    ADD CONSTRAINT grants_digest_fkey FOREIGN KEY (digest) REFERENCES public.playlists(digest);

ALTER TABLE ONLY public.idempotency_keys
    ADD CONSTRAINT idempotency_keys_token_id_fkey FOREIGN KEY (token_id) REFERENCES public.api_tokens(id);

ALTER TABLE ONLY public.ledger
    ADD CONSTRAINT ledger_campaign_id_fkey FOREIGN KEY (campaign_id) REFERENCES public.campaigns(id);

ALTER TABLE ONLY public.ledger
    ADD CONSTRAINT ledger_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES public.tenants(id);

ALTER TABLE ONLY public.mails
    ADD CONSTRAINT mails_campaign_id_fkey FOREIGN KEY (campaign_id) REFERENCES public.campaigns(id);

ALTER TABLE ONLY public.mails
    ADD CONSTRAINT mails_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES public.tenants(id);

ALTER TABLE ONLY public.pauses
    ADD CONSTRAINT pauses_campaign_id_fkey FOREIGN KEY (campaign_id) REFERENCES public.campaigns(id);

ALTER TABLE ONLY public.plays
    ADD CONSTRAINT plays_device_id_fkey FOREIGN KEY (device_id) REFERENCES public.devices(id);

ALTER TABLE ONLY public.presence
    ADD CONSTRAINT presence_device_id_fkey FOREIGN KEY (device_id) REFERENCES public.devices(id);

ALTER TABLE ONLY public.purged_plays
    ADD CONSTRAINT purged_plays_campaign_id_fkey FOREIGN KEY (campaign_id) REFERENCES public.campaigns(id);

ALTER TABLE ONLY public.quarantine
    ADD CONSTRAINT quarantine_campaign_id_fkey FOREIGN KEY (campaign_id) REFERENCES public.campaigns(id);

ALTER TABLE ONLY public.screens
    ADD CONSTRAINT screens_device_id_fkey FOREIGN KEY (device_id) REFERENCES public.devices(id);

ALTER TABLE ONLY public.screens
    ADD CONSTRAINT screens_digest_fkey FOREIGN KEY (digest) REFERENCES public.playlists(digest);

ALTER TABLE ONLY public.stale_screens
    ADD CONSTRAINT stale_screens_device_id_fkey FOREIGN KEY (device_id) REFERENCES public.devices(id);

ALTER TABLE ONLY public.targets
    ADD CONSTRAINT targets_campaign_id_fkey FOREIGN KEY (campaign_id) REFERENCES public.campaigns(id);

ALTER TABLE ONLY public.transitions
    ADD CONSTRAINT transitions_campaign_id_fkey FOREIGN KEY (campaign_id) REFERENCES public.campaigns(id);

GRANT USAGE ON SCHEMA public TO signaged_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.activation_codes TO signaged_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.api_tokens TO signaged_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.campaign_creatives TO signaged_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.campaigns TO signaged_app;

GRANT SELECT,INSERT,UPDATE ON TABLE public.clock_jumps TO signaged_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.creatives TO signaged_app;

GRANT SELECT,INSERT,UPDATE ON TABLE public.daily_spends TO signaged_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.deliveries TO signaged_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.device_tokens TO signaged_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.devices TO signaged_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.fetches TO signaged_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.grants TO signaged_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.house TO signaged_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.idempotency_keys TO signaged_app;

GRANT SELECT,INSERT ON TABLE public.ledger TO signaged_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.mails TO signaged_app;

GRANT SELECT,USAGE ON SEQUENCE public.mails_id_seq TO signaged_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.marks TO signaged_app;

GRANT SELECT,USAGE ON SEQUENCE public.marks_id_seq TO signaged_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.outages TO signaged_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.outbox TO signaged_app;

GRANT SELECT,USAGE ON SEQUENCE public.outbox_id_seq TO signaged_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.pauses TO signaged_app;

GRANT SELECT,USAGE ON SEQUENCE public.pauses_id_seq TO signaged_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.playlists TO signaged_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.plays TO signaged_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.presence TO signaged_app;

GRANT SELECT,INSERT,UPDATE ON TABLE public.purged_plays TO signaged_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.quarantine TO signaged_app;

GRANT SELECT ON TABLE public.schema_migrations TO signaged_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.screens TO signaged_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.service TO signaged_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.stale_screens TO signaged_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.stores TO signaged_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.targets TO signaged_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.tenants TO signaged_app;

GRANT SELECT,INSERT ON TABLE public.transitions TO signaged_app;

GRANT SELECT,INSERT,UPDATE ON TABLE public.zone_rules TO signaged_app;
