-- Format 10. Whether a compression of this session moves the last turns in memory instead of having them
-- read again (--shift). Sessions of before do not.

ALTER TABLE sessions ADD COLUMN shift INTEGER NOT NULL DEFAULT 0 CHECK (shift IN (0, 1));
