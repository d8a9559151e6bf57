-- name: tables
create table naive_mirror (
  id bigint primary key,
  data jsonb not null,
  category text generated always as (data->>'category') stored,
  source text generated always as (data->>'source') stored,
  record_class text generated always as (data->>'record_class') stored,
  area text generated always as (data->>'area') stored,
  forecast_start text generated always as (data->>'forecast_start') stored,
  forecast_month text generated always as (left(data->>'forecast_start', 7)) stored,
  forecast_cost numeric generated always as ((data->>'forecast_cost')::numeric) stored
);
create index naive_mirror_category on naive_mirror (category);
create index naive_mirror_source on naive_mirror (source);
create index naive_mirror_class on naive_mirror (record_class);
create index naive_mirror_area on naive_mirror (area);
create index naive_mirror_month on naive_mirror (forecast_month);
create index naive_mirror_start on naive_mirror (forecast_start);
create index naive_mirror_data on naive_mirror using gin (data);
create table naive_drafts (
  user_id uuid not null,
  record_id bigint not null references naive_mirror,
  changes jsonb not null,
  changed_at timestamptz not null default now(),
  primary key (user_id, record_id)
)

-- name: view
create materialized view naive_kpis as
select m.category, m.source, count(*) as records,
  sum((m.data->>'plan_cost')::numeric) as plan, sum((m.data->>'forecast_cost')::numeric) as forecast,
  sum((m.data->>'actual_cost')::numeric) as actual, count(*) filter (where (m.data->>'is_actualised')::boolean) as over
from (
  select id, r.data || coalesce(d.changes, '{}') as data,
    (r.data || coalesce(d.changes, '{}'))->>'category' as category,
    (r.data || coalesce(d.changes, '{}'))->>'source' as source
  from naive_mirror r left join naive_drafts d on d.record_id = r.id
) m
group by m.category, m.source

-- name: refresh
refresh materialized view naive_kpis

-- name: read_view
select * from naive_kpis order by category, source

-- name: save
insert into naive_drafts as own (user_id, record_id, changes)
values (%(user_id)s, %(record_id)s, %(changes)s)
on conflict (user_id, record_id) do update set changes = own.changes || excluded.changes, changed_at = now()

-- name: first_page
select m.id, m.data || coalesce(d.changes, '{}') as data
from naive_mirror m left join naive_drafts d on d.user_id = %(user_id)s and d.record_id = m.id
order by m.id limit 100

-- name: filtered
select m.id, m.data || coalesce(d.changes, '{}') as data
from naive_mirror m left join naive_drafts d on d.user_id = %(user_id)s and d.record_id = m.id
where (m.data || coalesce(d.changes, '{}'))->>'category' = %(category)s
  and left((m.data || coalesce(d.changes, '{}'))->>'forecast_start', 7) = %(month)s
order by m.id limit 100

-- name: filtered_ids
select m.id
from naive_mirror m left join naive_drafts d on d.user_id = %(user_id)s and d.record_id = m.id
where (m.data || coalesce(d.changes, '{}'))->>'category' = %(category)s
  and left((m.data || coalesce(d.changes, '{}'))->>'forecast_start', 7) = %(month)s

-- name: sorted
select m.id, m.data || coalesce(d.changes, '{}') as data
from naive_mirror m left join naive_drafts d on d.user_id = %(user_id)s and d.record_id = m.id
order by (m.data || coalesce(d.changes, '{}'))->>'forecast_start', m.id limit 100

-- name: deep
select m.id, m.data || coalesce(d.changes, '{}') as data
from naive_mirror m left join naive_drafts d on d.user_id = %(user_id)s and d.record_id = m.id
order by m.id offset %(offset)s limit 100

-- name: kpis
select m.data->>'category' as category, m.data->>'source' as source, count(*) as records,
  sum((m.data->>'plan_cost')::numeric) as plan, sum((m.data->>'forecast_cost')::numeric) as forecast,
  sum((m.data->>'actual_cost')::numeric) as actual, count(*) filter (where (m.data->>'is_actualised')::boolean) as over
from (
  select r.data || coalesce(d.changes, '{}') as data
  from naive_mirror r left join naive_drafts d on d.user_id = %(user_id)s and d.record_id = r.id
) m
group by 1, 2
order by 1, 2

-- name: size
select pg_total_relation_size('naive_mirror')::float8 / greatest(count(*), 1) from naive_mirror
