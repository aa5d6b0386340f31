-- Format 4. Whether the template of a session is asked to think, for as long as the session lives. NULL
-- in a session of an older npast: its next opening finds it out, and stores it.
ALTER TABLE sessions ADD COLUMN thinking INTEGER CHECK (thinking IN (0, 1));

-- The search index is brought up to date by the next search, and not by the message: damage in it is
-- then no damage of a message.
DROP TRIGGER IF EXISTS words_added;
DROP TRIGGER IF EXISTS words_removed;
DROP TRIGGER IF EXISTS words_changing;
DROP TRIGGER IF EXISTS words_changed;

-- Messages that the index does not have as they are: with the text that it has of them, if any. The
-- triggers need nothing of the index.
CREATE TABLE unindexed (
    message     INTEGER PRIMARY KEY,
    old         TEXT
) STRICT;
CREATE TRIGGER unindexed_added AFTER INSERT ON messages BEGIN
    INSERT OR IGNORE INTO unindexed (message) VALUES (new.id);
END;
CREATE TRIGGER unindexed_changing BEFORE UPDATE OF body ON messages BEGIN
    INSERT OR IGNORE INTO unindexed (message, old) VALUES (old.id, substr(
        CASE WHEN json_valid(old.body) THEN coalesce(json_extract(old.body, '$.content'), '') ELSE '' END,
        1, 1000000
    ));
END;
CREATE TRIGGER unindexed_removed BEFORE DELETE ON messages BEGIN
    INSERT OR IGNORE INTO unindexed (message, old) VALUES (old.id, substr(
        CASE WHEN json_valid(old.body) THEN coalesce(json_extract(old.body, '$.content'), '') ELSE '' END,
        1, 1000000
    ));
END;

-- What was decoded, exactly, so that a receipt counts as new what is new.

-- The ledger's first tokens that this session decoded; none: not known, as before this format.
ALTER TABLE sessions ADD COLUMN decoded INTEGER CHECK (decoded >= 0);

-- The same for a branch's own tokens.
ALTER TABLE branches ADD COLUMN decoded INTEGER CHECK (decoded >= 0);

-- Tokens of a withdrawn message that were decoded before it was withdrawn. Branches keep their own.
CREATE TABLE ways (
    id          INTEGER PRIMARY KEY,
    session     INTEGER NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    at          INTEGER NOT NULL,           -- tokens of the ledger that they follow
    prefix      BLOB    NOT NULL,           -- the digest of those
    tokens      BLOB    NOT NULL
) STRICT;
CREATE INDEX ways_session ON ways (session);
