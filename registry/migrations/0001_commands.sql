-- Who this cluster is. One row.
CREATE TABLE identity (
    one        INTEGER PRIMARY KEY CHECK (one = 1),
    cluster_id TEXT    NOT NULL,
    -- Changes with every restore.
    epoch      INTEGER NOT NULL
) STRICT;

-- The commands whose fold is the membership. A later command in the same slot (kind and name) replaces the earlier.
CREATE TABLE commands (
    kind    INTEGER NOT NULL,
    name    TEXT    NOT NULL,
    -- When it happened, RFC 3339.
    at      TEXT    NOT NULL,
    -- JSON of registry::command::Command.
    command TEXT    NOT NULL,
    PRIMARY KEY (kind, name)
) STRICT, WITHOUT ROWID;

-- "SHOR": tells this database from others.
PRAGMA application_id = 1397247826;
