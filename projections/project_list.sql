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
  project_id uuid not null,
  version integer not null,
  effective_on date,
  aace_class integer,
  status text not null,
  currency text not null,
  line_count integer not null,
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
) partition by range (valid_to);
create index if not exists project_list_estimates_effective
  on project_list_estimates (tenant, project_id, effective_on, version, valid_to) where effective_on is not null

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

-- name: portfolio : the latest version of each project, by currency and one fact
select g.currency, g."group", count(*)::integer as projects, sum(g.base_total) as base_total,
  sum(g.risk_adjustment) as risk_adjustment, sum(g.cost) as cost, sum(g.final_bid) as final_bid,
  sum(g.final_bid) - sum(g.cost) as margin,
  round((sum(g.final_bid) - sum(g.cost)) / nullif(sum(g.final_bid), 0), 6) as margin_fraction
from (
  select e.currency, e.base_total, e.risk_adjustment, e.cost, e.final_bid,
    case %(by)s
      when 'estimate_status' then e.status
      when 'project_status' then p.status
      when 'building_type' then p.building_type
      when 'aace_class' then e.aace_class::text
    end as "group"
  from project_list_projects p
  join project_list_estimates e
    on e.estimate_id = p.latest_estimate_id and e.valid_from <= %(at)s and e.valid_to > %(at)s
  where p.valid_from <= %(at)s and p.valid_to > %(at)s and p.deleted_at is null
) g
group by g.currency, g."group"
order by g.currency, sum(g.final_bid) desc, g."group"

-- name: without_estimate
select count(*)::integer from project_list_projects p
where p.valid_from <= %(at)s and p.valid_to > %(at)s and p.deleted_at is null and p.latest_estimate_id is null

-- name: forecast : of each project the newest version effective by a business date
select f.currency, count(*)::integer as projects, (count(*) filter (where f.line_count = 0))::integer as without_figure,
  sum(f.base_total) as base_total, sum(f.cost) as cost, sum(f.final_bid) as final_bid
from (
  select distinct on (e.project_id) e.currency, e.base_total, e.cost, e.final_bid, e.line_count
  from project_list_estimates e
  join project_list_projects p
    on p.project_id = e.project_id and p.valid_from <= %(at)s and p.valid_to > %(at)s and p.deleted_at is null
  where e.valid_from <= %(at)s and e.valid_to > %(at)s and e.effective_on <= %(effective_on)s
  order by e.project_id, e.effective_on desc, e.version desc
) f
group by f.currency
order by f.currency
