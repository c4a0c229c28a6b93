#!/bin/sh
# Read the access key that opens the authority's metrics, and watch them as an agent.
set -eu
. "${DATA:-/data}/client.env"
umask 077
printf %s "$CS_ADMIN_ACCESS_KEY" > "${TMPDIR:-/tmp}/token"
exec prometheus --agent --config.file=/etc/prometheus/authority.yaml --storage.agent.path=/tmp/agent --web.listen-address=127.0.0.1:9095
