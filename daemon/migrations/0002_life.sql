-- Approval that comes to nothing, stops that must reach every screen, and which playlists screens have shown to hold.

ALTER TABLE campaigns ADD COLUMN approve_by timestamptz; -- awaits approval until then, or until its end; then it expires
UPDATE campaigns SET approve_by = submitted_at + interval '30 days' WHERE status = 'PENDING_APPROVAL';
CREATE INDEX campaigns_to_expire ON campaigns (least(approve_by, end_at), id) WHERE status = 'PENDING_APPROVAL';

-- What a cause keeps from the screens waits for its end, however many do.
DROP INDEX campaigns_to_distribute;
CREATE INDEX campaigns_to_distribute ON campaigns (start_at, id)
    WHERE distributed_at IS NULL AND status IN ('SCHEDULED', 'ACTIVE') AND pause_causes = '{}';

-- The few whose content was stopped in an emergency: every screen that still holds it is told so.
CREATE INDEX campaigns_stopped ON campaigns (end_at) WHERE 'EMERGENCY_STOP' = ANY (pause_causes);

-- `digest` is what the device last showed to hold, by a heartbeat or a poll; this is the body that it was sent last.
ALTER TABLE presence ADD COLUMN sent_digest text;
