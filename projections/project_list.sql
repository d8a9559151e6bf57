-- name: schema
create table if not exists project_list_projects (
  tenant uuid not null,
  project_id uuid not null,
  name text not null,
  status text not null,
  building_type text,
  location text,
  metadata jsonb not null,
  created_at timestamptz not null,
  created_by uuid not null,
  deleted_at timestamptz,
  deleted_by uuid,
  latest_version integer not null,
  latest_estimate_id uuid,
  updated_at timestamptz not null,
  valid_from bigint not null,
  valid_to bigint not null,
  primary key (tenant, project_id, valid_to)
) partition by range (valid_to);
create table if not exists project_list_estimates (
  tenant uuid not null,
  estimate_id uuid not null,
  status text not null,
  currency text not null,
  base_total numeric not null,
  risk_adjustment numeric not null,
  markups jsonb not null,
  cost numeric not null,
  target_margin numeric not null,
  final_bid numeric not null,
  updated_at timestamptz not null,
  valid_from bigint not null,
  valid_to bigint not null,
  primary key (tenant, estimate_id, valid_to)
) partition by range (valid_to)

-- name: projects : a page by id, each with its latest version's figures
select p.project_id, p.name, p.status, p.building_type, p.location, p.metadata, p.created_at, p.created_by,
  p.deleted_at, p.deleted_by, p.latest_version, p.latest_estimate_id,
  e.status as estimate_status, e.currency, e.base_total, e.risk_adjustment, e.cost, e.target_margin, e.final_bid,
  greatest(p.updated_at, e.updated_at) as updated_at
from project_list_projects p
left join project_list_estimates e
  on e.estimate_id = p.latest_estimate_id and e.valid_from <= %(at)s and e.valid_to > %(at)s
where p.valid_from <= %(at)s and p.valid_to > %(at)s and p.project_id > %(after)s
  and (%(include_deleted)s or p.deleted_at is null)
  and (%(status)s::text is null or p.status = %(status)s)
  and (%(search)s::text is null or position(lower(%(search)s) in lower(p.name)) > 0)
order by p.project_id
limit %(limit)s

-- name: project
select p.project_id, p.name, p.status, p.building_type, p.location, p.metadata, p.created_at, p.created_by,
  p.deleted_at, p.deleted_by, p.latest_version, p.latest_estimate_id,
  e.status as estimate_status, e.currency, e.base_total, e.risk_adjustment, e.cost, e.target_margin, e.final_bid,
  greatest(p.updated_at, e.updated_at) as updated_at
from project_list_projects p
left join project_list_estimates e
  on e.estimate_id = p.latest_estimate_id and e.valid_from <= %(at)s and e.valid_to > %(at)s
where p.valid_from <= %(at)s and p.valid_to > %(at)s and p.project_id = %(project_id)s
