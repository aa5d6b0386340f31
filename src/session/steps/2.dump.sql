-- A database of format 2 with one conversation, a branch and a fork, frozen.
PRAGMA foreign_keys = OFF;
PRAGMA application_id = 0x6e706173;
PRAGMA user_version = 2;
BEGIN TRANSACTION;
CREATE TABLE chunks (
    session     INTEGER NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    start       INTEGER NOT NULL,           -- position of the first token
    tokens      BLOB    NOT NULL,           -- little-endian i32
    PRIMARY KEY (session, start)
) STRICT;
INSERT INTO chunks VALUES(1,0,X'01000000020000000300000004000000');
INSERT INTO chunks VALUES(2,0,X'01000000020000000300000004000000');
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
    body        TEXT    NOT NULL, branch INTEGER REFERENCES branches (id),           -- JSON
    UNIQUE (session, seq)
) STRICT;
INSERT INTO messages VALUES(1,1,0,'user','answered',NULL,2,4,1700000000500,'{"role":"user","content":"hello"}',NULL);
INSERT INTO messages VALUES(2,1,1,'assistant','answered','stop',4,6,1700000000500,'{"role":"assistant","content":"hi"}',1);
INSERT INTO messages VALUES(3,1,2,'user','withdrawn',NULL,NULL,NULL,1700000000500,'{"role":"user","content":"no"}',1);
INSERT INTO messages VALUES(4,1,3,'user','open',NULL,NULL,NULL,1700000000500,'{"role":"user","content":"more"}',1);
INSERT INTO messages VALUES(5,2,0,'user','answered',NULL,2,4,1700000000500,'{"role":"user","content":"hello"}',NULL);
CREATE TABLE receipts (
    id          INTEGER PRIMARY KEY,
    session     INTEGER NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    kind        TEXT    NOT NULL,
    finish      TEXT,
    created_ms  INTEGER NOT NULL,
    json        TEXT    NOT NULL
) STRICT;
INSERT INTO receipts VALUES(1,1,'turn','stop',1700000001000,'{"type":"receipt","evaluated":23}');
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
, tries INTEGER NOT NULL DEFAULT 0, forked INTEGER) STRICT;
INSERT INTO sessions VALUES(1,'work','/home/me','tiny.gguf','hybrid',X'0101010101010101010101010101010101010101010101010101010101010101',X'0202020202020202020202020202020202020202020202020202020202020202',X'0303030303030303030303030303030303030303030303030303030303030303','Be brief.','[]',2,1700000000000,-1,'exact',NULL,0,1700000000000,1700000001000,1,23,0,2,2,1,NULL);
INSERT INTO sessions VALUES(2,'aside','/home/me','tiny.gguf','hybrid',X'0101010101010101010101010101010101010101010101010101010101010101',X'0202020202020202020202020202020202020202020202020202020202020202',X'0303030303030303030303030303030303030303030303030303030303030303','Be brief.','[]',2,1700000000000,-1,'exact',1,0,1795476904516,1795476904516,0,0,0,0,0,1,4);
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
INSERT INTO branches VALUES(1,1,NULL,1,4,X'ca296c6a3240cd16ca5fab77beabd9870dabd5e2f11cf969337d6b15b3e660cc',1,'retry',1795476904512,X'0500000006000000');
DELETE FROM sqlite_sequence;
INSERT INTO sqlite_sequence VALUES('sessions',2);
INSERT INTO sqlite_sequence VALUES('branches',1);
CREATE INDEX sessions_folder ON sessions (folder, used_ms);
CREATE INDEX sessions_parent ON sessions (parent);
CREATE INDEX messages_span ON messages (session, span_end);
CREATE INDEX receipts_session ON receipts (session, id);
CREATE INDEX branches_session ON branches (session, parent);
CREATE INDEX branches_parent ON branches (parent) WHERE parent IS NOT NULL;
CREATE INDEX messages_branch ON messages (branch) WHERE branch IS NOT NULL;
COMMIT;
