-- Format 4: what was decoded, exactly, so that a receipt counts as new what is new.

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
