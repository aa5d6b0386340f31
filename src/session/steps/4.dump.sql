-- A database of format 4: that of format 3 with children under another vocabulary: one that continues
-- its parent, one whose parent went on by itself, and one that a crash left empty; frozen.
PRAGMA foreign_keys = OFF;
PRAGMA application_id = 0x6e706173;
PRAGMA user_version = 4;
BEGIN TRANSACTION;
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
, tries INTEGER NOT NULL DEFAULT 0, forked INTEGER, runs_tools INTEGER NOT NULL DEFAULT 0 CHECK (runs_tools IN (0, 1)), thinking INTEGER CHECK (thinking IN (0, 1)), decoded INTEGER CHECK (decoded >= 0)) STRICT;
INSERT INTO sessions VALUES(1,'work','/home/me','tiny.gguf','hybrid',X'0000000000000000000000000000000000000000000000000000000000000000',X'0000000000000000000000000000000000000000000000000000000000000000',X'0000000000000000000000000000000000000000000000000000000000000000','Be brief.','[]',2,1700000000000,-1,'exact',NULL,1,1700000000000,1700000001000,1,23,0,2,2,1,NULL,1,NULL,NULL);
INSERT INTO sessions VALUES(2,'aside','/home/me','tiny.gguf','hybrid',X'0000000000000000000000000000000000000000000000000000000000000000',X'0000000000000000000000000000000000000000000000000000000000000000',X'0000000000000000000000000000000000000000000000000000000000000000','Be brief.','[]',2,1700000000000,-1,'template',1,0,1700000002000,1700000002000,0,0,0,0,0,1,4,1,NULL,NULL);
INSERT INTO sessions VALUES(3,'work-2','/home/me','other.gguf','dense',X'1111111111111111111111111111111111111111111111111111111111111111',X'0000000000000000000000000000000000000000000000000000000000000000',X'1111111111111111111111111111111111111111111111111111111111111111','Be brief.','[]',1,1700000003000,-1,'exact',1,0,1700000003000,1700000003500,1,3,0,0,1,0,NULL,1,1,2);
INSERT INTO sessions VALUES(4,'aside-2','/home/me','other.gguf','dense',X'1111111111111111111111111111111111111111111111111111111111111111',X'0000000000000000000000000000000000000000000000000000000000000000',X'1111111111111111111111111111111111111111111111111111111111111111','Be brief.','[]',1,1700000003000,-1,'exact',2,0,1700000001500,1700000001500,1,3,0,0,1,0,NULL,1,1,2);
INSERT INTO sessions VALUES(5,'work-3','/home/me','other.gguf','dense',X'2222222222222222222222222222222222222222222222222222222222222222',X'0000000000000000000000000000000000000000000000000000000000000000',X'1111111111111111111111111111111111111111111111111111111111111111','Be brief.','[]',1,1700000003000,-1,'exact',1,0,1700000004000,1700000004000,0,0,0,0,0,0,NULL,1,NULL,NULL);
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
INSERT INTO messages VALUES(1,1,0,'user','answered',NULL,2,4,1700000000500,'{"role":"user","content":"hello parser"}',NULL);
INSERT INTO messages VALUES(2,1,1,'assistant','answered','stop',4,6,1700000000500,'{"role":"assistant","content":"hi"}',1);
INSERT INTO messages VALUES(3,1,2,'user','withdrawn',NULL,NULL,NULL,1700000000500,'{"role":"user","content":"no"}',NULL);
INSERT INTO messages VALUES(4,1,3,'assistant','answered','tool_calls',4,6,1700000000600,'{"role":"assistant","content":"calling"}',NULL);
INSERT INTO messages VALUES(5,2,0,'user','answered',NULL,2,4,1700000000500,'{"role":"user","content":"hello lexer"}',NULL);
INSERT INTO messages VALUES(6,3,0,'user','answered',NULL,1,1,1700000000500,'{"role":"user","content":"hello parser"}',NULL);
INSERT INTO messages VALUES(7,3,1,'assistant','answered','stop',1,2,1700000000600,'{"role":"assistant","content":"hi"}',NULL);
INSERT INTO messages VALUES(8,4,0,'user','answered',NULL,1,2,1700000000500,'{"role":"user","content":"hello lexer"}',NULL);
CREATE TABLE chunks (
    session     INTEGER NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    start       INTEGER NOT NULL,           -- position of the first token
    tokens      BLOB    NOT NULL,           -- little-endian i32
    PRIMARY KEY (session, start)
) STRICT;
INSERT INTO chunks VALUES(1,0,X'010000000200000003000000040000000500000006000000');
INSERT INTO chunks VALUES(2,0,X'01000000020000000300000004000000');
INSERT INTO chunks VALUES(3,0,X'0100000002000000');
INSERT INTO chunks VALUES(4,0,X'0100000002000000');
INSERT INTO chunks VALUES(5,0,X'01000000');
CREATE TABLE receipts (
    id          INTEGER PRIMARY KEY,
    session     INTEGER NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    kind        TEXT    NOT NULL,
    finish      TEXT,
    created_ms  INTEGER NOT NULL,
    json        TEXT    NOT NULL
) STRICT;
INSERT INTO receipts VALUES(1,1,'turn','stop',1700000001000,'{"type":"receipt","evaluated":23}');
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
, decoded INTEGER CHECK (decoded >= 0)) STRICT;
INSERT INTO branches VALUES(1,1,NULL,1,4,X'ca296c6a3240cd16ca5fab77beabd9870dabd5e2f11cf969337d6b15b3e660cc',1,'retry',1700000001500,X'0900000008000000',NULL);
CREATE TABLE runs (
    reply       INTEGER NOT NULL REFERENCES messages (id) ON DELETE CASCADE,
    call        INTEGER NOT NULL,           -- its place among the reply's calls
    effect      TEXT    NOT NULL,
    started_ms  INTEGER NOT NULL,
    ok          INTEGER,
    result      TEXT,
    PRIMARY KEY (reply, call)
) STRICT;
INSERT INTO runs VALUES(4,0,'writes',1700000000700,1,'done');
INSERT INTO runs VALUES(4,1,'runs',1700000000700,NULL,NULL);
CREATE TABLE plans (
    session     INTEGER PRIMARY KEY REFERENCES sessions (id) ON DELETE CASCADE,
    items       TEXT    NOT NULL            -- JSON
) STRICT;
PRAGMA writable_schema=ON;
INSERT INTO sqlite_schema(type,name,tbl_name,rootpage,sql)VALUES('table','words','words',0,'CREATE VIRTUAL TABLE words USING fts5 (
    text, content = ''said'', content_rowid = ''id'', tokenize = ''unicode61 remove_diacritics 2''
)');
CREATE TABLE IF NOT EXISTS 'words_data'(id INTEGER PRIMARY KEY, block BLOB);
INSERT INTO words_data VALUES(1,X'0507');
INSERT INTO words_data VALUES(10,X'000000020106060006010101020101030101040101050101060101');
INSERT INTO words_data VALUES(137438953473,X'00000019063068656c6c6f0102020106706172736572010203040a');
INSERT INTO words_data VALUES(274877906945,X'0000000b0330686902020204');
INSERT INTO words_data VALUES(412316860417,X'0000000b03306e6f03020204');
INSERT INTO words_data VALUES(549755813889,X'00000010083063616c6c696e6704020204');
INSERT INTO words_data VALUES(687194767361,X'00000004');
INSERT INTO words_data VALUES(824633720833,X'00000018063068656c6c6f05020201056c65786572050203040a');
CREATE TABLE IF NOT EXISTS 'words_idx'(segid, term, pgno, PRIMARY KEY(segid, term)) WITHOUT ROWID;
INSERT INTO words_idx VALUES(1,X'',2);
INSERT INTO words_idx VALUES(2,X'',2);
INSERT INTO words_idx VALUES(3,X'',2);
INSERT INTO words_idx VALUES(4,X'',2);
INSERT INTO words_idx VALUES(5,X'',2);
INSERT INTO words_idx VALUES(6,X'',2);
CREATE TABLE IF NOT EXISTS 'words_docsize'(id INTEGER PRIMARY KEY, sz BLOB);
INSERT INTO words_docsize VALUES(1,X'02');
INSERT INTO words_docsize VALUES(2,X'01');
INSERT INTO words_docsize VALUES(3,X'01');
INSERT INTO words_docsize VALUES(4,X'01');
INSERT INTO words_docsize VALUES(5,X'02');
CREATE TABLE IF NOT EXISTS 'words_config'(k PRIMARY KEY, v) WITHOUT ROWID;
INSERT INTO words_config VALUES('secure-delete',1);
INSERT INTO words_config VALUES('version',5);
CREATE TABLE unindexed (
    message     INTEGER PRIMARY KEY,
    old         TEXT
) STRICT;
INSERT INTO unindexed VALUES(6,NULL);
INSERT INTO unindexed VALUES(7,NULL);
INSERT INTO unindexed VALUES(8,NULL);
CREATE TABLE ways (
    id          INTEGER PRIMARY KEY,
    session     INTEGER NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    at          INTEGER NOT NULL,           -- tokens of the ledger that they follow
    prefix      BLOB    NOT NULL,           -- the digest of those
    tokens      BLOB    NOT NULL
) STRICT;
DELETE FROM sqlite_sequence;
INSERT INTO sqlite_sequence VALUES('sessions',5);
INSERT INTO sqlite_sequence VALUES('branches',1);
CREATE INDEX sessions_folder ON sessions (folder, used_ms);
CREATE INDEX sessions_parent ON sessions (parent);
CREATE INDEX messages_span ON messages (session, span_end);
CREATE INDEX receipts_session ON receipts (session, id);
CREATE INDEX branches_session ON branches (session, parent);
CREATE INDEX branches_parent ON branches (parent) WHERE parent IS NOT NULL;
CREATE INDEX messages_branch ON messages (branch) WHERE branch IS NOT NULL;
CREATE VIEW said AS
    SELECT id, substr(
        CASE WHEN json_valid(body) THEN coalesce(json_extract(body, '$.content'), '') ELSE '' END,
        1, 1000000
    ) AS text
    FROM messages;
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
CREATE INDEX ways_session ON ways (session);
PRAGMA writable_schema=OFF;
COMMIT;
