#!/bin/sh
# One role and one database for each service; run after every start (postStart), so it changes only what differs.
# psql takes the passwords from its environment (\getenv): they stand in no argument, and the server logs no statement with one in it.
set -eu

export PGPASSWORD="$POSTGRES_PASSWORD" PGCONNECT_TIMEOUT=5 PGAPPNAME=roles

# Recovery after a power cut may take minutes; a server that isn't there by then gets its container restarted.
tries=0
until pg_isready -q; do
    tries=$((tries + 1))
    if [ "$tries" -ge 3000 ]; then
        echo "postgresql: not ready after 5 minutes (see its log)" >&2
        exit 1
    fi
    sleep 0.1
done

# --no-psqlrc, and no prompt: a wrong password ends it instead of waiting for a person.
if ! psql --no-psqlrc --no-password --quiet --set ON_ERROR_STOP=1 <<'SQL'
\getenv litellm LITELLM_DB_PASSWORD
\getenv open_webui OPEN_WEBUI_DB_PASSWORD
\getenv phoenix PHOENIX_DB_PASSWORD
\getenv grafana GRAFANA_DB_PASSWORD
SET log_min_error_statement = panic;
SET log_statement = none;
SET client_min_messages = warning;

SELECT format('CREATE ROLE %I', name)
  FROM unnest(ARRAY['litellm', 'open_webui', 'phoenix', 'grafana']) name
 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) \gexec

ALTER ROLE litellm LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD :'litellm';
ALTER ROLE open_webui LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD :'open_webui';
ALTER ROLE phoenix LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD :'phoenix';
ALTER ROLE grafana LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD :'grafana';

SELECT format('CREATE DATABASE %I OWNER %I', name, name)
  FROM unnest(ARRAY['litellm', 'open_webui', 'phoenix', 'grafana']) name
 WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = name) \gexec

SELECT format('REVOKE ALL ON DATABASE %I FROM PUBLIC', datname)
  FROM pg_database
 WHERE datname <> 'template0'
   AND (datacl IS NULL OR EXISTS (SELECT FROM aclexplode(datacl) WHERE grantee = 0)) \gexec

\connect open_webui
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS vector;
SQL
then
    echo "postgresql: roles and databases could not be set up." >&2
    echo "If the password was refused: POSTGRES_PASSWORD in .env is not the one that this database was made with; put that one back." >&2
    exit 1
fi
