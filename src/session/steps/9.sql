-- Format 9. The model that a session was used with last, so that it needs no name the next time. A reply can
-- end because it repeats itself.

CREATE TABLE session_models (
    session     INTEGER PRIMARY KEY REFERENCES sessions (id) ON DELETE CASCADE,
    path        BLOB    NOT NULL,           -- the file, absolute; of a split model the first
    bytes       INTEGER NOT NULL,           -- its length
    modified    INTEGER NOT NULL,           -- its time of modification, nanoseconds since 1970
    tensors     BLOB    NOT NULL            -- hash of names, types, shapes and samples of all tensors
) STRICT;
