-- Files by content; every revision refers to them.
CREATE TABLE blobs (
    sha256  TEXT PRIMARY KEY,
    content BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE revisions (
    number       INTEGER PRIMARY KEY,
    id           TEXT NOT NULL UNIQUE,
    -- Linear history: one child each. Empty for the first.
    parent       TEXT NOT NULL UNIQUE,
    author       TEXT NOT NULL,
    committer    TEXT NOT NULL,
    -- Milliseconds since 1970.
    committed_at INTEGER NOT NULL,
    message      TEXT NOT NULL
) STRICT;

CREATE TABLE revision_files (
    revision INTEGER NOT NULL REFERENCES revisions (number),
    path     TEXT NOT NULL,
    sha256   TEXT NOT NULL REFERENCES blobs (sha256),
    size     INTEGER NOT NULL,
    PRIMARY KEY (revision, path)
) STRICT, WITHOUT ROWID;

-- One row: what joining nodes get.
CREATE TABLE released (
    one      INTEGER PRIMARY KEY CHECK (one = 1),
    revision TEXT NOT NULL REFERENCES revisions (id)
) STRICT;

CREATE TABLE rollouts (
    number      INTEGER PRIMARY KEY,
    id          TEXT NOT NULL UNIQUE,
    revision    TEXT NOT NULL REFERENCES revisions (id),
    previous    TEXT NOT NULL,
    state       TEXT NOT NULL,
    explanation TEXT NOT NULL,
    started_at  INTEGER NOT NULL,
    changed_at  INTEGER NOT NULL,
    -- JSON: the nodes and how far they are.
    nodes       TEXT NOT NULL
) STRICT;
