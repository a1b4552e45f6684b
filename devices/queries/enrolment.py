"""Statements over activation codes and device tokens; every change of a token carries its transaction's number,
by which the instances that hold all tokens in memory follow."""

LOCK_DEVICE = "SELECT FROM devices WHERE id = $1 FOR NO KEY UPDATE"

# Codes -------------------------------------------------------------------------------------------------------------

ADD_CODE = "INSERT INTO activation_codes (code_sha256, device_id, created_at, expires_at) VALUES ($1, $2, $3, $4)"
DEVICE_OF_CODE = "SELECT device_id FROM activation_codes WHERE code_sha256 = $1"
CODE = "SELECT expires_at, spent_at FROM activation_codes WHERE code_sha256 = $1"
MARK_REDEEMED = "UPDATE activation_codes SET redeemed_at = $2 WHERE code_sha256 = $1"
SPEND_CODES_UP_TO = """
UPDATE activation_codes SET spent_at = $3
WHERE device_id = $1 AND spent_at IS NULL
  AND created_at <= (SELECT created_at FROM activation_codes WHERE code_sha256 = $2)
"""
SPEND_CODES = "UPDATE activation_codes SET spent_at = $2 WHERE device_id = $1 AND spent_at IS NULL"

# Tokens ------------------------------------------------------------------------------------------------------------

ADD_TOKEN = "INSERT INTO device_tokens (token_sha256, device_id, code_sha256, created_at) VALUES ($1, $2, $3, $4)"  # noqa: S105
DEVICE_OF_TOKEN = "SELECT device_id FROM device_tokens WHERE token_sha256 = $1"  # noqa: S105
TOKEN = """
SELECT device_id, first_used_at IS NOT NULL AS used, expires_at FROM device_tokens
WHERE token_sha256 = $1 AND revoked_at IS NULL
"""  # noqa: S105
STANDS = """
SELECT EXISTS (SELECT FROM device_tokens
               WHERE token_sha256 = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2))
"""
USE_TOKEN = """
UPDATE device_tokens SET first_used_at = $2, changed_xid = pg_current_xact_id()
WHERE token_sha256 = $1 AND first_used_at IS NULL AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2)
RETURNING code_sha256
"""  # noqa: S105
VOID_TOKENS_OF_CODE = """
UPDATE device_tokens SET revoked_at = $2, changed_xid = pg_current_xact_id()
WHERE code_sha256 = $1 AND revoked_at IS NULL
"""
VOID_OTHER_TOKENS = """
UPDATE device_tokens SET revoked_at = $3, changed_xid = pg_current_xact_id()
WHERE device_id = $1 AND token_sha256 <> $2 AND revoked_at IS NULL
"""
VOID_TOKENS = """
UPDATE device_tokens SET revoked_at = $2, changed_xid = pg_current_xact_id()
WHERE device_id = $1 AND revoked_at IS NULL
RETURNING token_sha256
"""
EXPIRE_TOKENS = """
UPDATE device_tokens SET expires_at = least(expires_at, $3), changed_xid = pg_current_xact_id()
WHERE device_id = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2)
"""

# What a new player has not got ---------------------------------------------------------------------------------------

REPLACE_PLAYER = "UPDATE devices SET player_since = $2 WHERE id = $1"
FORGET_FETCHES = "DELETE FROM fetches WHERE device_id = $1"
REOFFER = """
UPDATE deliveries SET status = 'OFFERED', reason = 'PLAYER_REPLACED', ready_at = NULL, digest = NULL, updated_at = $2
WHERE device_id = $1 AND status IN ('READY', 'FAILED')
"""
