#!/bin/bash
# The SQL of `manage.py audit_grants keycast`, taken from the command itself, as this image has psql and no Keycast.
set -euo pipefail
sql=$(sed -n '/^GRANTS = """/,/^"""/p' /audit_grants.py | grep -v '"""' | sed 's/{role}/keycast/g')
[ -n "$sql" ] || { echo "No grants in audit_grants.py." >&2; exit 1; }
PGPASSWORD=$(cat /run/secrets/postgres_owner_password) psql -v ON_ERROR_STOP=1 -q -h postgres -U keycast_owner -d keycast <<<"$sql"
