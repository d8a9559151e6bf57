-- name: schema
create table if not exists connections_connections (
  tenant uuid not null,
  connection_id uuid not null,
  name text not null,
  kind text not null,
  upstream jsonb not null,
  username text,
  credentials_at timestamptz,
  schedule jsonb,
  mapping_version integer not null,
  currency text,
  status text not null,
  reason text,
  opened_at timestamptz not null,
  opened_by uuid not null,
  updated_at timestamptz not null,
  valid_from bigint not null,
  valid_to bigint not null,
  primary key (tenant, connection_id, valid_to)
) partition by range (valid_to);
create table if not exists connections_mappings (
  tenant uuid not null,
  connection_id uuid not null,
  version integer not null,
  mapping jsonb not null,
  currency text,
  position bigint not null,
  set_at timestamptz not null,
  set_by uuid not null,
  valid_from bigint not null,
  valid_to bigint not null,
  primary key (tenant, connection_id, version)
);
create table if not exists connections_runs (
  tenant uuid not null,
  connection_id uuid not null,
  run_id uuid not null,
  first_position bigint not null,
  mode text not null,
  trigger text not null,
  status text not null,
  attempt integer not null,
  mapping_version integer not null,
  requested_at timestamptz,
  requested_by uuid,
  began_at timestamptz,
  finished_at timestamptz,
  counts jsonb not null,
  faults jsonb not null,
  failure text,
  code text,
  facts jsonb,
  retry_at timestamptz,
  reason text,
  valid_from bigint not null,
  valid_to bigint not null,
  primary key (tenant, connection_id, run_id, valid_to)
) partition by range (valid_to);
create index if not exists connections_runs_order
  on connections_runs (tenant, connection_id, first_position, valid_to);
create table if not exists connections_mirrors (
  tenant uuid not null,
  connection_id uuid not null,
  records bigint not null,
  running_id uuid,
  last_run_id uuid,
  synced_at timestamptz,
  failed_at timestamptz,
  valid_from bigint not null,
  valid_to bigint not null,
  primary key (tenant, connection_id, valid_to)
) partition by range (valid_to)

-- name: connections : a page by id
select c.connection_id, c.name, c.kind, c.upstream, c.credentials_at is not null as has_credentials, c.username,
  c.credentials_at, c.schedule, c.mapping_version, c.currency, c.status, c.reason, c.opened_at, c.opened_by,
  c.updated_at, coalesce(m.records, 0) as records, m.running_id as syncing, m.last_run_id,
  m.synced_at as last_synced_at, m.failed_at as last_failed_at
from connections_connections c
left join connections_mirrors m
  on m.connection_id = c.connection_id and m.valid_from <= %(at)s and m.valid_to > %(at)s
where c.valid_from <= %(at)s and c.valid_to > %(at)s and c.connection_id > %(after)s
  and (%(status)s::text is null or c.status = %(status)s)
order by c.connection_id
limit %(limit)s

-- name: connection
select c.connection_id, c.name, c.kind, c.upstream, c.credentials_at is not null as has_credentials, c.username,
  c.credentials_at, c.schedule, c.mapping_version, c.currency, c.status, c.reason, c.opened_at, c.opened_by,
  c.updated_at, coalesce(m.records, 0) as records, m.running_id as syncing, m.last_run_id,
  m.synced_at as last_synced_at, m.failed_at as last_failed_at
from connections_connections c
left join connections_mirrors m
  on m.connection_id = c.connection_id and m.valid_from <= %(at)s and m.valid_to > %(at)s
where c.valid_from <= %(at)s and c.valid_to > %(at)s and c.connection_id = %(connection_id)s

-- name: mappings : the newest first
select connection_id, version, mapping, currency, position, set_at, set_by
from connections_mappings
where connection_id = %(connection_id)s and version < %(after)s and valid_from <= %(at)s and valid_to > %(at)s
order by version desc
limit %(limit)s

-- name: mapping
select connection_id, version, mapping, currency, position, set_at, set_by
from connections_mappings
where connection_id = %(connection_id)s and version = %(version)s and valid_from <= %(at)s and valid_to > %(at)s

-- name: runs : the latest first
select r.connection_id, r.run_id, r.mode, r.trigger, r.status, r.attempt, r.mapping_version, r.requested_at,
  r.requested_by, r.began_at, r.finished_at,
  extract(epoch from r.finished_at - r.began_at)::double precision as duration_seconds, r.counts,
  before.records as expected, r.failure, r.code, r.facts, r.retry_at, r.reason, r.first_position
from connections_runs r
left join connections_mirrors before
  on r.mode = 'full' and before.connection_id = r.connection_id and before.synced_at is not null
  and before.valid_from < r.first_position and before.valid_to >= r.first_position
where r.connection_id = %(connection_id)s and r.first_position < %(after)s
  and r.valid_from <= %(at)s and r.valid_to > %(at)s
  and (%(status)s::text is null or r.status = %(status)s)
order by r.first_position desc
limit %(limit)s

-- name: run
select r.connection_id, r.run_id, r.mode, r.trigger, r.status, r.attempt, r.mapping_version, r.requested_at,
  r.requested_by, r.began_at, r.finished_at,
  extract(epoch from r.finished_at - r.began_at)::double precision as duration_seconds, r.counts,
  before.records as expected, r.failure, r.code, r.facts, r.retry_at, r.reason, r.first_position, r.faults
from connections_runs r
left join connections_mirrors before
  on r.mode = 'full' and before.connection_id = r.connection_id and before.synced_at is not null
  and before.valid_from < r.first_position and before.valid_to >= r.first_position
where r.connection_id = %(connection_id)s and r.run_id = %(run_id)s
  and r.valid_from <= %(at)s and r.valid_to > %(at)s
