-- Format 8. What a session is about, in a list. It has a row where npast named it; where the user did, the
-- name says it.

CREATE TABLE titles (
    session     INTEGER PRIMARY KEY REFERENCES sessions (id) ON DELETE CASCADE,
    text        TEXT    NOT NULL,
    -- Whose words: the first of the user's, with a title by the model to come (first) or after that was
    -- refused (kept), or the model's.
    made        TEXT    NOT NULL CHECK (made IN ('first', 'kept', 'model'))
) STRICT;
