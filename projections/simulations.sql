-- name: schema
create table if not exists simulations_runs (
  tenant uuid not null,
  estimate_id uuid not null,
  simulation_id uuid not null,
  requested_position bigint not null,
  status text not null,
  trials bigint not null,
  seed bigint not null,
  method text not null,
  input_version integer not null,
  currency text not null,
  expected numeric not null,
  risks jsonb not null,
  requested_at timestamptz not null,
  requested_by uuid not null,
  request_event_id uuid not null,
  finished_at timestamptz,
  figures jsonb,
  reason text,
  valid_from bigint not null,
  valid_to bigint not null,
  primary key (tenant, estimate_id, simulation_id, valid_to)
) partition by range (valid_to);
create index if not exists simulations_runs_order
  on simulations_runs (tenant, estimate_id, requested_position, valid_to);
create index if not exists simulations_runs_waiting
  on simulations_runs (tenant, requested_position, valid_to) where status = 'requested'

-- name: simulation
select estimate_id, simulation_id, requested_position, status, trials, seed, method, input_version, currency, expected,
  risks, requested_at, requested_by, request_event_id, finished_at, figures, reason
from simulations_runs
where estimate_id = %(estimate_id)s and simulation_id = %(simulation_id)s
  and valid_from <= %(at)s and valid_to > %(at)s

-- name: of_estimate : the latest first
select estimate_id, simulation_id, requested_position, status, trials, seed, method, input_version, currency, expected,
  jsonb_array_length(risks) as risk_count, requested_at, requested_by, finished_at, figures, reason
from simulations_runs
where estimate_id = %(estimate_id)s and requested_position < %(after)s and valid_from <= %(at)s and valid_to > %(at)s
order by requested_position desc
limit %(limit)s

-- name: waiting : asked for and not finished, the first first
select estimate_id, simulation_id, requested_position, status, trials, seed, method, input_version, currency, expected,
  risks, requested_at, requested_by, request_event_id, finished_at, figures, reason
from simulations_runs
where status = 'requested' and valid_from <= %(at)s and valid_to > %(at)s
order by requested_position
limit %(limit)s
