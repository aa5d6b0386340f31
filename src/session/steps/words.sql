-- The search index as the last format has it: what is made when it is damaged. A test compares it with
-- what the steps make.

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
