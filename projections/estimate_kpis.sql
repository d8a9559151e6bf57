-- name: schema
create table if not exists estimate_kpis_projects (
  tenant uuid not null,
  project_id uuid not null,
  status text not null,
  building_type text,
  deleted boolean not null,
  latest_estimate_id uuid,
  valid_from bigint not null,
  valid_to bigint not null,
  primary key (tenant, project_id, valid_to)
) partition by range (valid_to);
create table if not exists estimate_kpis_estimates (
  tenant uuid not null,
  estimate_id uuid not null,
  project_id uuid not null,
  status text not null,
  currency text not null,
  valid_from bigint not null,
  valid_to bigint not null,
  primary key (tenant, estimate_id, valid_to)
) partition by range (valid_to);
create table if not exists estimate_kpis_lines (
  tenant uuid not null,
  estimate_id uuid not null,
  line_id uuid not null,
  cost_type text not null,
  code_section text not null,
  wbs_path jsonb not null,
  pricing text not null,
  extension numeric not null,
  plug boolean not null,
  priced boolean not null,
  valid_from bigint not null,
  valid_to bigint not null,
  primary key (tenant, estimate_id, line_id, valid_to)
) partition by range (valid_to);
create table if not exists estimate_kpis_cells (
  tenant uuid not null,
  estimate_id uuid not null,
  dimension text not null,
  bucket text not null,
  lines integer not null,
  base numeric not null,
  allowance numeric not null,
  alternate numeric not null,
  plugs integer not null,
  uncoded integer not null,
  unpriced integer not null,
  valid_from bigint not null,
  valid_to bigint not null,
  primary key (tenant, estimate_id, dimension, bucket, valid_to)
) partition by range (valid_to);
create index if not exists estimate_kpis_cells_dimension
  on estimate_kpis_cells (tenant, dimension, estimate_id, valid_to)

-- name: is_known
select e.estimate_id from estimate_kpis_estimates e
where e.valid_from <= %(at)s and e.valid_to > %(at)s and e.estimate_id = %(estimate_id)s

-- name: of_estimate
select e.currency, nullif(c.bucket, '') as bucket,
  case when c.dimension = 'wbs' then c.bucket::jsonb end as path, 1 as estimates,
  c.lines, c.base, c.allowance, c.alternate, c.plugs, c.uncoded, c.unpriced
from estimate_kpis_cells c
join estimate_kpis_estimates e
  on e.estimate_id = c.estimate_id and e.valid_from <= %(at)s and e.valid_to > %(at)s
where c.valid_from <= %(at)s and c.valid_to > %(at)s
  and c.estimate_id = %(estimate_id)s and c.dimension = %(dimension)s
order by c.base desc, c.bucket

-- name: of_company : over the latest version of each project
select e.currency, nullif(c.bucket, '') as bucket,
  case when c.dimension = 'wbs' then c.bucket::jsonb end as path, count(*)::integer as estimates,
  sum(c.lines)::integer as lines, sum(c.base) as base, sum(c.allowance) as allowance, sum(c.alternate) as alternate,
  sum(c.plugs)::integer as plugs, sum(c.uncoded)::integer as uncoded, sum(c.unpriced)::integer as unpriced
from estimate_kpis_projects p
join estimate_kpis_estimates e
  on e.estimate_id = p.latest_estimate_id and e.valid_from <= %(at)s and e.valid_to > %(at)s
join estimate_kpis_cells c
  on c.estimate_id = e.estimate_id and c.dimension = %(dimension)s and c.valid_from <= %(at)s and c.valid_to > %(at)s
where p.valid_from <= %(at)s and p.valid_to > %(at)s and not p.deleted
  and (%(project_id)s::uuid is null or p.project_id = %(project_id)s)
  and (%(project_status)s::text is null or p.status = %(project_status)s)
  and (%(building_type)s::text is null or p.building_type = %(building_type)s)
  and (%(estimate_status)s::text is null or e.status = %(estimate_status)s)
group by e.currency, c.dimension, c.bucket
order by e.currency, sum(c.base) desc, c.bucket
