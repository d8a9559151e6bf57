-- name: schema
create table if not exists estimate_detail_estimates (
  tenant uuid not null,
  estimate_id uuid not null,
  project_id uuid not null,
  version integer not null,
  parent_id uuid,
  title text,
  notes text,
  status text not null,
  currency text not null,
  effective_on date,
  aace_class integer,
  basis text,
  target_margin numeric not null,
  base_total numeric not null,
  allowance_total numeric not null,
  alternate_total numeric not null,
  risk_adjustment numeric not null,
  markups jsonb not null,
  cost numeric not null,
  final_bid numeric not null,
  line_count integer not null,
  risk_count integer not null,
  started_at timestamptz not null,
  started_by uuid not null,
  submitted_at timestamptz,
  submitted_by uuid,
  content_hash text,
  content_format integer,
  stream_version integer not null,
  updated_at timestamptz not null,
  updated_by uuid not null,
  valid_from bigint not null,
  valid_to bigint not null,
  primary key (tenant, estimate_id, valid_to)
) partition by range (valid_to);
create index if not exists estimate_detail_estimates_project
  on estimate_detail_estimates (tenant, project_id, version, valid_to);
create table if not exists estimate_detail_lines (
  tenant uuid not null,
  estimate_id uuid not null,
  line_id uuid not null,
  ordinal numeric not null,
  wbs_path jsonb not null,
  description text not null,
  quantity numeric not null,
  unit text not null,
  unit_price numeric not null,
  extension numeric not null,
  submitted boolean not null,
  code text,
  code_set text,
  code_edition text,
  cost_type text not null,
  note text,
  quote_reference text,
  firmness text not null,
  pricing text not null,
  conversion jsonb,
  updated_at timestamptz not null,
  valid_from bigint not null,
  valid_to bigint not null,
  primary key (tenant, estimate_id, line_id, valid_to)
) partition by range (valid_to);
create index if not exists estimate_detail_lines_order
  on estimate_detail_lines (tenant, estimate_id, ordinal, line_id, valid_to);
create table if not exists estimate_detail_risks (
  tenant uuid not null,
  estimate_id uuid not null,
  risk_id uuid not null,
  kind text not null,
  title text not null,
  category text,
  cause text,
  event text,
  consequence text,
  probability numeric not null,
  low numeric not null,
  likely numeric,
  high numeric not null,
  schedule_days integer,
  owner text,
  review_on date,
  response jsonb,
  status text not null,
  mitigated_on date,
  closed_on date,
  closed_because text,
  occurred_on date,
  occurred_cost numeric,
  expected_initial numeric not null,
  expected_residual numeric not null,
  saving numeric,
  contribution numeric not null,
  exposure numeric not null,
  updated_at timestamptz not null,
  valid_from bigint not null,
  valid_to bigint not null,
  primary key (tenant, estimate_id, risk_id, valid_to)
) partition by range (valid_to);
create table if not exists estimate_detail_tags (
  tenant uuid not null,
  estimate_id uuid not null,
  tag text not null,
  position bigint not null,
  final_bid numeric not null,
  tagged_at timestamptz not null,
  tagged_by uuid not null,
  valid_from bigint not null,
  valid_to bigint not null,
  primary key (tenant, estimate_id, tag, valid_to)
) partition by range (valid_to)

-- name: estimate
select estimate_id, project_id, version, parent_id, title, notes, status, currency, effective_on, aace_class, basis,
  target_margin, base_total, allowance_total, alternate_total, risk_adjustment, markups, cost, final_bid, line_count,
  risk_count, started_at, started_by, submitted_at, submitted_by, content_hash, content_format, stream_version,
  updated_at, updated_by
from estimate_detail_estimates
where estimate_id = %(estimate_id)s and valid_from <= %(at)s and valid_to > %(at)s

-- name: of_project
select estimate_id, project_id, version, parent_id, title, notes, status, currency, effective_on, aace_class, basis,
  target_margin, base_total, allowance_total, alternate_total, risk_adjustment, markups, cost, final_bid, line_count,
  risk_count, started_at, started_by, submitted_at, submitted_by, content_hash, content_format, stream_version,
  updated_at, updated_by
from estimate_detail_estimates
where project_id = %(project_id)s and version > %(after)s and valid_from <= %(at)s and valid_to > %(at)s
order by version
limit %(limit)s

-- name: lines_of : a page in reading order
select estimate_id, line_id, ordinal, wbs_path, description, quantity, unit, unit_price, extension, submitted, code,
  code_set, code_edition, cost_type, note, quote_reference, firmness, pricing, conversion, updated_at
from estimate_detail_lines
where estimate_id = %(estimate_id)s and (ordinal, line_id) > (%(after_ordinal)s, %(after_line_id)s)
  and valid_from <= %(at)s and valid_to > %(at)s
order by ordinal, line_id
limit %(limit)s

-- name: first_lines_of
select estimate_id, line_id, ordinal, wbs_path, description, quantity, unit, unit_price, extension, submitted, code,
  code_set, code_edition, cost_type, note, quote_reference, firmness, pricing, conversion, updated_at
from estimate_detail_lines
where estimate_id = %(estimate_id)s and valid_from <= %(at)s and valid_to > %(at)s
order by ordinal, line_id
limit %(limit)s

-- name: risks_of : a page in order of id
select estimate_id, risk_id, kind, title, category, cause, event, consequence, probability, low, likely, high,
  schedule_days, owner, review_on, response, status, mitigated_on, closed_on, closed_because, occurred_on,
  occurred_cost, expected_initial, expected_residual, saving, contribution, exposure, updated_at
from estimate_detail_risks
where estimate_id = %(estimate_id)s and risk_id > %(after)s and valid_from <= %(at)s and valid_to > %(at)s
order by risk_id
limit %(limit)s

-- name: tags_of : a page in order of the moments they mark
select estimate_id, tag, position, final_bid, tagged_at, tagged_by
from estimate_detail_tags
where estimate_id = %(estimate_id)s and position > %(after)s and valid_from <= %(at)s and valid_to > %(at)s
order by position
limit %(limit)s

-- name: by_code : base lines added up; a quantity only where all are in one unit
select code, code_set, code_edition, sum(extension) as amount,
  case when min(unit) = max(unit) then sum(quantity) end as quantity,
  case when min(unit) = max(unit) then min(unit) end as unit
from estimate_detail_lines
where estimate_id = %(estimate_id)s and pricing = 'base' and valid_from <= %(at)s and valid_to > %(at)s
group by code_set, code_edition, code

-- name: by_cost_type : base lines added up
select estimate_id, cost_type, sum(extension) as amount
from estimate_detail_lines
where estimate_id = any (%(estimate_ids)s) and pricing = 'base' and valid_from <= %(at)s and valid_to > %(at)s
group by estimate_id, cost_type
