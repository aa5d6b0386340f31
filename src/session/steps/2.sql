-- Format 2. Undo, retry and edit take the end of a conversation off and keep it as a branch; a fork
-- knows how much it has of its parent.

CREATE TABLE branches (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    session     INTEGER NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    parent      INTEGER REFERENCES branches (id), -- the branch it goes off from; none: the conversation
    after       INTEGER,                    -- the message that it follows; none: the head
    at          INTEGER NOT NULL,           -- tokens of the ledger that it follows
    prefix      BLOB    NOT NULL,           -- blake3 of those, as in chunks
    pending     INTEGER NOT NULL CHECK (pending IN (0, 1)),
    why         TEXT    NOT NULL,
    created_ms  INTEGER NOT NULL,
    tokens      BLOB    NOT NULL            -- its part of the ledger, as in chunks
) STRICT;
CREATE INDEX branches_session ON branches (session, parent);
CREATE INDEX branches_parent ON branches (parent) WHERE parent IS NOT NULL;

-- The branch that a message is on; none: it is in the conversation.
ALTER TABLE messages ADD COLUMN branch INTEGER REFERENCES branches (id);
CREATE INDEX messages_branch ON messages (branch) WHERE branch IS NOT NULL;

-- How often a reply was sampled anew: part of the seed.
ALTER TABLE sessions ADD COLUMN tries INTEGER NOT NULL DEFAULT 0;
-- Tokens that a fork took over from its parent.
ALTER TABLE sessions ADD COLUMN forked INTEGER;
