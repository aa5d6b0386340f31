-- Format 3: sessions that run tools of their own, marks of running calls, plans, search.

ALTER TABLE sessions ADD COLUMN runs_tools INTEGER NOT NULL DEFAULT 0 CHECK (runs_tools IN (0, 1));

-- A call that was started, and what it gave once it has ended: what a crash leaves between a call
-- and its result. Rows of a reply go when its results are in the ledger.
CREATE TABLE runs (
    reply       INTEGER NOT NULL REFERENCES messages (id) ON DELETE CASCADE,
    call        INTEGER NOT NULL,           -- its place among the reply's calls
    effect      TEXT    NOT NULL,
    started_ms  INTEGER NOT NULL,
    ok          INTEGER,
    result      TEXT,
    PRIMARY KEY (reply, call)
) STRICT;

-- Not used any more: a plan is what the conversation says it is.
CREATE TABLE plans (
    session     INTEGER PRIMARY KEY REFERENCES sessions (id) ON DELETE CASCADE,
    items       TEXT    NOT NULL            -- JSON
) STRICT;

-- What can be searched: the first million characters of each message.
CREATE VIEW said AS
    SELECT id, substr(
        CASE WHEN json_valid(body) THEN coalesce(json_extract(body, '$.content'), '') ELSE '' END,
        1, 1000000
    ) AS text
    FROM messages;
CREATE VIRTUAL TABLE words USING fts5 (
    text, content = 'said', content_rowid = 'id', tokenize = 'unicode61 remove_diacritics 2'
);
-- What is removed leaves no words behind.
INSERT INTO words (words, rank) VALUES ('secure-delete', 1);
INSERT INTO words (words) VALUES ('rebuild');

CREATE TRIGGER words_added AFTER INSERT ON messages BEGIN
    INSERT INTO words (rowid, text) SELECT id, text FROM said WHERE id = new.id;
END;
CREATE TRIGGER words_removed BEFORE DELETE ON messages BEGIN
    INSERT INTO words (words, rowid, text) SELECT 'delete', id, text FROM said WHERE id = old.id;
END;
CREATE TRIGGER words_changing BEFORE UPDATE OF body ON messages BEGIN
    INSERT INTO words (words, rowid, text) SELECT 'delete', id, text FROM said WHERE id = old.id;
END;
CREATE TRIGGER words_changed AFTER UPDATE OF body ON messages BEGIN
    INSERT INTO words (rowid, text) SELECT id, text FROM said WHERE id = new.id;
END;
