-- Format 1. A step that was released is never edited: later ones are added behind it.

-- AUTOINCREMENT: an id names locks and the owner of KV pins, so it may not come back.
CREATE TABLE sessions (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    name        TEXT    NOT NULL UNIQUE,
    folder      TEXT    NOT NULL,
    model       TEXT    NOT NULL,
    class       TEXT    NOT NULL,
    vocab       BLOB    NOT NULL,
    template    BLOB    NOT NULL,
    fingerprint BLOB    NOT NULL,
    system      TEXT,
    tools       TEXT,                       -- JSON
    head        INTEGER NOT NULL,           -- tokens
    started_ms  INTEGER NOT NULL,
    seed        INTEGER NOT NULL,           -- the bits of a u64
    policy      TEXT    NOT NULL,
    parent      INTEGER REFERENCES sessions (id) ON DELETE SET NULL,
    pending     INTEGER NOT NULL DEFAULT 0 CHECK (pending IN (0, 1)),
    created_ms  INTEGER NOT NULL,
    used_ms     INTEGER NOT NULL,
    calls       INTEGER NOT NULL DEFAULT 0,
    evaluated   INTEGER NOT NULL DEFAULT 0,
    restored    INTEGER NOT NULL DEFAULT 0,
    kept        INTEGER NOT NULL DEFAULT 0,
    generated   INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX sessions_folder ON sessions (folder, used_ms);
CREATE INDEX sessions_parent ON sessions (parent);

-- The body is last: reading a state or a span does not walk through a long text.
CREATE TABLE messages (
    id          INTEGER PRIMARY KEY,
    session     INTEGER NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    seq         INTEGER NOT NULL,
    role        TEXT    NOT NULL,
    state       TEXT    NOT NULL,
    finish      TEXT,
    span_start  INTEGER,                    -- tokens of the ledger
    span_end    INTEGER,
    created_ms  INTEGER NOT NULL,
    body        TEXT    NOT NULL,           -- JSON
    UNIQUE (session, seq)
) STRICT;
CREATE INDEX messages_span ON messages (session, span_end);

-- The ledger: chunks follow each other without gap or overlap.
CREATE TABLE chunks (
    session     INTEGER NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    start       INTEGER NOT NULL,           -- position of the first token
    tokens      BLOB    NOT NULL,           -- little-endian i32
    PRIMARY KEY (session, start)
) STRICT;

CREATE TABLE receipts (
    id          INTEGER PRIMARY KEY,
    session     INTEGER NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    kind        TEXT    NOT NULL,
    finish      TEXT,
    created_ms  INTEGER NOT NULL,
    json        TEXT    NOT NULL
) STRICT;
CREATE INDEX receipts_session ON receipts (session, id);
