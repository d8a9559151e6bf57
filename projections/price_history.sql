-- name: schema
create table if not exists price_history_lines (
  tenant uuid not null,
  estimate_id uuid not null,
  line_id uuid not null,
  code text,
  code_set text,
  code_edition text,
  unit text not null,
  quantity numeric not null,
  unit_price numeric not null,
  firmness text not null,
  pricing text not null,
  copied boolean not null,
  recorded_at timestamptz not null,
  valid_from bigint not null,
  valid_to bigint not null,
  primary key (tenant, estimate_id, line_id, valid_to)
) partition by range (valid_to);
create index if not exists price_history_lines_code
  on price_history_lines (tenant, code, valid_to) where code is not null and not copied;
create table if not exists price_history_estimates (
  tenant uuid not null,
  estimate_id uuid not null,
  project_id uuid not null,
  version integer not null,
  currency text not null,
  effective_on date,
  submitted boolean not null,
  valid_from bigint not null,
  valid_to bigint not null,
  primary key (tenant, estimate_id, valid_to)
) partition by range (valid_to);
create table if not exists price_history_projects (
  tenant uuid not null,
  project_id uuid not null,
  name text not null,
  deleted boolean not null,
  valid_from bigint not null,
  valid_to bigint not null,
  primary key (tenant, project_id, valid_to)
) partition by range (valid_to)

-- name: first_page : the latest observations, and what all of them come to by code set, unit and currency, as JSON.
-- `valid_to > at` is written so that it leaves out the past when it is not asked for.
with observed as materialized (
  select l.code, l.code_set, l.code_edition, l.unit, e.currency, l.unit_price, l.quantity,
    coalesce(e.effective_on, (l.recorded_at at time zone 'UTC')::date) as dated_on, l.recorded_at, p.project_id,
    p.name as project_name, l.estimate_id, e.version, l.line_id, e.submitted, l.firmness, l.pricing
  from price_history_lines l
  join price_history_estimates e
    on e.estimate_id = l.estimate_id and e.valid_from <= %(at)s and e.valid_to >= %(at)s::bigint + 1
  join price_history_projects p
    on p.project_id = e.project_id and p.valid_from <= %(at)s and p.valid_to >= %(at)s::bigint + 1 and not p.deleted
  where l.code = %(code)s and not l.copied and l.valid_from <= %(at)s and l.valid_to >= %(at)s::bigint + 1
    and (%(code_set)s::text is null or l.code_set = %(code_set)s)
    and (%(unit)s::text is null or l.unit = %(unit)s)
    and (%(currency)s::text is null or e.currency = %(currency)s)
), dated as materialized (
  select * from observed o
  where (%(from_on)s::date is null or o.dated_on >= %(from_on)s) and (%(to_on)s::date is null or o.dated_on <= %(to_on)s)
), page as (
  select * from dated o
  order by o.dated_on desc, o.recorded_at desc, o.estimate_id desc, o.line_id desc limit %(limit)s
), grouped as materialized (
  select o.code_set, o.unit, o.currency, count(*) as count, array_agg(o.unit_price order by o.unit_price) as prices
  from dated o group by o.code_set, o.unit, o.currency
), told as (
  select g.code_set, g.unit, g.currency, g.count, g.prices[1] as lowest, g.prices[g.count] as highest,
    (g.prices[(g.count + 1) / 2] + g.prices[g.count / 2 + 1]) * 0.5 as median,
    l.unit_price as latest_price, l.dated_on as latest_on, l.project_id as latest_project_id,
    l.project_name as latest_project_name,
    array(
      select o.code_edition from dated o
      where (o.code_set, o.unit, o.currency) is not distinct from (g.code_set, g.unit, g.currency)
        and o.code_edition is not null
      group by o.code_edition order by o.code_edition collate "C"
    ) as code_editions
  from grouped g
  cross join lateral (
    select o.unit_price, o.dated_on, o.project_id, o.project_name from dated o
    where (o.code_set, o.unit, o.currency) is not distinct from (g.code_set, g.unit, g.currency)
    order by o.dated_on desc, o.recorded_at desc, o.estimate_id desc, o.line_id desc limit 1
  ) l
)
select
  (select coalesce(json_agg(t order by t.count desc, t.code_set, t.unit, t.currency), '[]') from told t)::text,
  (select coalesce(
    json_agg(p order by p.dated_on desc, p.recorded_at desc, p.estimate_id desc, p.line_id desc), '[]') from page p)::text

-- name: next_page
with observed as (
  select l.code, l.code_set, l.code_edition, l.unit, e.currency, l.unit_price, l.quantity,
    coalesce(e.effective_on, (l.recorded_at at time zone 'UTC')::date) as dated_on, l.recorded_at, p.project_id,
    p.name as project_name, l.estimate_id, e.version, l.line_id, e.submitted, l.firmness, l.pricing
  from price_history_lines l
  join price_history_estimates e
    on e.estimate_id = l.estimate_id and e.valid_from <= %(at)s and e.valid_to >= %(at)s::bigint + 1
  join price_history_projects p
    on p.project_id = e.project_id and p.valid_from <= %(at)s and p.valid_to >= %(at)s::bigint + 1 and not p.deleted
  where l.code = %(code)s and not l.copied and l.valid_from <= %(at)s and l.valid_to >= %(at)s::bigint + 1
    and (%(code_set)s::text is null or l.code_set = %(code_set)s)
    and (%(unit)s::text is null or l.unit = %(unit)s)
    and (%(currency)s::text is null or e.currency = %(currency)s)
)
select * from observed o
where (%(from_on)s::date is null or o.dated_on >= %(from_on)s) and (%(to_on)s::date is null or o.dated_on <= %(to_on)s)
  and (o.dated_on, o.recorded_at, o.estimate_id, o.line_id)
    < (%(after_on)s, %(after_at)s, %(after_estimate_id)s, %(after_line_id)s)
order by o.dated_on desc, o.recorded_at desc, o.estimate_id desc, o.line_id desc
limit %(limit)s
