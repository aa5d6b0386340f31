-- Format 6. Which session a client's history belongs to.

-- The digest of the conversation up to and with this message, as clients' histories are compared; NULL
-- where it is not known, or where the message is no part of that.
ALTER TABLE messages ADD COLUMN trail BLOB;
CREATE INDEX messages_trail ON messages (trail) WHERE trail IS NOT NULL;

-- What the client sent as tools, where that is not what the session froze: JSON.
ALTER TABLE sessions ADD COLUMN given TEXT;

-- Names by which clients call a session: keys of their own, and what npast gave out and gets back, such
-- as the ids of calls. The newest session of a name is meant.
CREATE TABLE handles (
    name        TEXT    NOT NULL,
    session     INTEGER NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    at_ms       INTEGER NOT NULL,
    PRIMARY KEY (name, session)
) STRICT, WITHOUT ROWID;
CREATE INDEX handles_session ON handles (session);
