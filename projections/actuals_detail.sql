-- name: schema
create table if not exists actuals_detail_headers (
  tenant uuid not null,
  actuals_id uuid not null,
  project_id uuid not null,
  baseline_id uuid not null,
  currency text not null,
  status text not null,
  amount numeric not null,
  risk_amount numeric not null,
  entry_count integer not null,
  duration_days integer,
  finished_on date,
  opened_at timestamptz not null,
  opened_by uuid not null,
  stream_version integer not null,
  updated_at timestamptz not null,
  updated_by uuid not null,
  valid_from bigint not null,
  valid_to bigint not null,
  primary key (tenant, actuals_id, valid_to)
) partition by range (valid_to);
create index if not exists actuals_detail_headers_project on actuals_detail_headers (tenant, project_id, valid_to);
create table if not exists actuals_detail_entries (
  tenant uuid not null,
  actuals_id uuid not null,
  entry_id uuid not null,
  amount numeric not null,
  booked_on date not null,
  code text,
  code_set text,
  code_edition text,
  cost_type text not null,
  quantity numeric,
  unit text,
  note text,
  markup_id uuid,
  recorded_at timestamptz not null,
  recorded_by uuid not null,
  updated_at timestamptz not null,
  valid_from bigint not null,
  valid_to bigint not null,
  primary key (tenant, actuals_id, entry_id, valid_to)
) partition by range (valid_to);
create table if not exists actuals_detail_sums (
  tenant uuid not null,
  actuals_id uuid not null,
  scope_key text collate "C" not null,
  unit text not null,
  code text,
  code_set text,
  code_edition text,
  markup_id uuid,
  amount numeric not null,
  quantity numeric not null,
  entries integer not null,
  valid_from bigint not null,
  valid_to bigint not null,
  primary key (tenant, actuals_id, scope_key, unit, valid_to)
) partition by range (valid_to);
create table if not exists actuals_detail_corrections (
  tenant uuid not null,
  actuals_id uuid not null,
  position bigint not null,
  seq integer not null,
  recorded_at timestamptz not null,
  actor uuid not null,
  entry_id uuid,
  risk_id uuid,
  field text,
  was jsonb,
  now jsonb,
  reason text not null,
  valid_from bigint not null,
  valid_to bigint not null,
  primary key (tenant, actuals_id, position, seq)
);
create table if not exists actuals_detail_findings (
  tenant uuid not null,
  actuals_id uuid not null,
  finding_id uuid not null,
  kind text not null,
  text text not null,
  code text,
  code_set text,
  code_edition text,
  added_at timestamptz not null,
  added_by uuid not null,
  updated_at timestamptz not null,
  valid_from bigint not null,
  valid_to bigint not null,
  primary key (tenant, actuals_id, finding_id, valid_to)
) partition by range (valid_to);
create table if not exists actuals_detail_durations (
  tenant uuid not null,
  actuals_id uuid not null,
  code_key text collate "C" not null,
  code text,
  code_set text,
  code_edition text,
  days integer not null,
  updated_at timestamptz not null,
  updated_by uuid not null,
  valid_from bigint not null,
  valid_to bigint not null,
  primary key (tenant, actuals_id, code_key, valid_to)
) partition by range (valid_to);
create table if not exists actuals_detail_risks (
  tenant uuid not null,
  actuals_id uuid not null,
  risk_id uuid not null,
  estimate_id uuid not null,
  cost numeric not null,
  occurred_on date not null,
  note text,
  recorded_at timestamptz not null,
  recorded_by uuid not null,
  updated_at timestamptz not null,
  valid_from bigint not null,
  valid_to bigint not null,
  primary key (tenant, actuals_id, risk_id, valid_to)
) partition by range (valid_to);
create table if not exists actuals_detail_explanations (
  tenant uuid not null,
  actuals_id uuid not null,
  scope_key text collate "C" not null,
  narrative text not null,
  cause text,
  owner text,
  explained_at timestamptz not null,
  explained_by uuid not null,
  valid_from bigint not null,
  valid_to bigint not null,
  primary key (tenant, actuals_id, scope_key, valid_to)
) partition by range (valid_to)

-- name: actuals
select actuals_id, project_id, baseline_id, currency, status, amount, risk_amount, entry_count, duration_days,
  finished_on, opened_at, opened_by, stream_version, updated_at, updated_by
from actuals_detail_headers
where actuals_id = %(actuals_id)s and valid_from <= %(at)s and valid_to > %(at)s

-- name: of_project
select actuals_id, project_id, baseline_id, currency, status, amount, risk_amount, entry_count, duration_days,
  finished_on, opened_at, opened_by, stream_version, updated_at, updated_by
from actuals_detail_headers
where project_id = %(project_id)s and valid_from <= %(at)s and valid_to > %(at)s

-- name: entries : a page by id
select actuals_id, entry_id, amount, booked_on, code, code_set, code_edition, cost_type, quantity, unit, note,
  markup_id, recorded_at, recorded_by, updated_at
from actuals_detail_entries
where actuals_id = %(actuals_id)s and entry_id > %(after)s and valid_from <= %(at)s and valid_to > %(at)s
  and (%(code)s::text is null or code = %(code)s)
order by entry_id
limit %(limit)s

-- name: sums : by code or mark-up; a quantity only where all that was measured was in one unit
select scope_key, min(code) as code, min(code_set) as code_set, min(code_edition) as code_edition, markup_id,
  sum(amount) as amount,
  case when count(*) filter (where unit <> '') = 1 then sum(quantity) filter (where unit <> '') end as quantity,
  case when count(*) filter (where unit <> '') = 1 then max(unit) end as unit, sum(entries)::integer as entries
from actuals_detail_sums
where actuals_id = %(actuals_id)s and (%(after)s::text is null or scope_key > %(after)s)
  and valid_from <= %(at)s and valid_to > %(at)s
group by scope_key, markup_id
order by scope_key
limit %(limit)s

-- name: corrections : newest first
select actuals_id, position, seq, recorded_at, actor, entry_id, risk_id, field, was, now, reason
from actuals_detail_corrections
where actuals_id = %(actuals_id)s and (position, seq) < (%(after_position)s, %(after_seq)s)
  and valid_from <= %(at)s and valid_to > %(at)s and position <= %(at)s
  and (%(entry_id)s::uuid is null or entry_id = %(entry_id)s)
  and (%(risk_id)s::uuid is null or risk_id = %(risk_id)s)
order by position desc, seq desc
limit %(limit)s

-- name: findings : a page by id
select actuals_id, finding_id, kind, text, code, code_set, code_edition, added_at, added_by, updated_at
from actuals_detail_findings
where actuals_id = %(actuals_id)s and finding_id > %(after)s and valid_from <= %(at)s and valid_to > %(at)s
  and (%(kind)s::text is null or kind = %(kind)s)
order by finding_id
limit %(limit)s

-- name: durations : a page by code
select actuals_id, code_key, code, code_set, code_edition, days, updated_at, updated_by
from actuals_detail_durations
where actuals_id = %(actuals_id)s and (%(after)s::text is null or code_key > %(after)s)
  and valid_from <= %(at)s and valid_to > %(at)s
order by code_key
limit %(limit)s

-- name: risks : a page by id
select actuals_id, risk_id, estimate_id, cost, occurred_on, note, recorded_at, recorded_by, updated_at
from actuals_detail_risks
where actuals_id = %(actuals_id)s and risk_id > %(after)s and valid_from <= %(at)s and valid_to > %(at)s
order by risk_id
limit %(limit)s

-- name: explanations
select actuals_id, scope_key, narrative, cause, owner, explained_at, explained_by
from actuals_detail_explanations
where actuals_id = %(actuals_id)s and valid_from <= %(at)s and valid_to > %(at)s
