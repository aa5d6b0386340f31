-- Format 5. A session names the one that continues it; no clock decides which that is.

-- The session that continues this one: its compression, or its messages under another vocabulary or
-- template. Ids are never used again, so one that leads nowhere means none; without a foreign key a row
-- whose parent damage took can still be written.
ALTER TABLE sessions ADD COLUMN successor INTEGER;
CREATE INDEX sessions_successor ON sessions (successor) WHERE successor IS NOT NULL;

-- How a session continues its parent; NULL: it is a fork of it, or has none.
ALTER TABLE sessions ADD COLUMN made TEXT CHECK (made IN ('compressed', 'rendered'));

-- Its first messages, as many as it was made with.
ALTER TABLE sessions ADD COLUMN carried INTEGER NOT NULL DEFAULT 0 CHECK (carried >= 0);

-- What earlier formats concluded from clocks at each opening is concluded here for the last time: the
-- last child under another vocabulary or template, if the parent was not used after it was made. A child
-- without messages is what a crash left.
UPDATE sessions AS child SET made = 'rendered'
    WHERE forked IS NULL AND EXISTS (
        SELECT 1 FROM sessions AS parent
        WHERE parent.id = child.parent
            AND (parent.vocab <> child.vocab OR parent.template <> child.template)
    );
UPDATE sessions AS parent SET successor = (
    SELECT child.id FROM sessions AS child
    WHERE child.parent = parent.id AND child.made = 'rendered' AND child.created_ms >= parent.used_ms
        AND EXISTS (SELECT 1 FROM messages WHERE messages.session = child.id)
    ORDER BY child.created_ms DESC, child.id DESC LIMIT 1
);
