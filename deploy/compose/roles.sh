#!/bin/bash
# Run once by the postgres image, on a fresh database: the role of the servers, which owns no table, and what it may do with
# the tables that migrations make. What the audit log takes away again: grants.sh, after every migration.
set -euo pipefail
PGPASSWORD=$(cat /run/secrets/postgres_owner_password) psql -v ON_ERROR_STOP=1 -q -U "$POSTGRES_USER" -d "$POSTGRES_DB" \
  -v word="$(cat /run/secrets/postgres_password)" <<'SQL'
CREATE ROLE keycast LOGIN PASSWORD :'word';
GRANT USAGE ON SCHEMA public TO keycast;
ALTER DEFAULT PRIVILEGES FOR ROLE keycast_owner IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO keycast;
ALTER DEFAULT PRIVILEGES FOR ROLE keycast_owner IN SCHEMA public GRANT USAGE, SELECT ON SEQUENCES TO keycast;
SQL
