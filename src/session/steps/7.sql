-- Format 7. Prompts that are run at times; results that outlive their session.

CREATE TABLE jobs (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    name        TEXT    NOT NULL UNIQUE,    -- also of its session
    pattern     TEXT    NOT NULL,           -- five fields, or a word such as @daily
    prompt      TEXT    NOT NULL,
    folder      TEXT    NOT NULL,           -- the project it was added in
    model       TEXT,                       -- as -m names it; none: the session's own, or the default
    approve     TEXT    NOT NULL CHECK (approve IN ('deny', 'auto')),
    created_ms  INTEGER NOT NULL,
    looked_ms   INTEGER NOT NULL            -- all times up to this one were decided about
) STRICT;

-- What became of the times at which a job was due. A time has one row at most, so it is run once,
-- whatever clocks do and however many processes look.
CREATE TABLE job_runs (
    id          INTEGER PRIMARY KEY,
    job         INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    due_ms      INTEGER NOT NULL,
    claimed_ms  INTEGER NOT NULL,
    ended_ms    INTEGER,
    outcome     TEXT    CHECK (outcome IN ('done', 'failed', 'missed', 'unfinished')), -- none: it runs
    missed      INTEGER NOT NULL DEFAULT 0, -- times up to this one that were missed
    note        TEXT,
    UNIQUE (job, due_ms)
) STRICT;

-- Folders of long results whose session was removed, and the sessions whose text still names files in
-- them: its children, and theirs when those go.
CREATE TABLE kept_results (
    gone        INTEGER NOT NULL,           -- the id that the session had
    session     INTEGER NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    PRIMARY KEY (gone, session)
) STRICT, WITHOUT ROWID;
CREATE INDEX kept_results_session ON kept_results (session);
