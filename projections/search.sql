-- What people search in. A reader's transaction sees of search_texts only what it looks for: `cairn.search` is a tsquery.
-- As a policy, because the index serves a condition under row-level security only if it is leakproof or a policy's own,
-- and @@ is not leakproof.

-- name: schema
create table if not exists search_texts (
  tenant uuid not null,
  kind text not null,
  of_id uuid not null,
  id uuid not null,
  texts jsonb not null,
  words tsvector not null,
  valid_from bigint not null,
  valid_to bigint not null,
  primary key (of_id, kind, id, tenant, valid_to)
) partition by range (valid_to);
create index if not exists search_texts_words on search_texts using gin (words) with (fastupdate = off);
do $$
begin
  if not exists (
    select from pg_policy where polrelid = 'search_texts'::regclass and polname = 'what_is_looked_for'
  ) then
    create policy what_is_looked_for on search_texts as restrictive for select to cairn_reader
      using (words @@ nullif(current_setting('cairn.search', true), '')::tsquery);
  end if;
end $$;
create table if not exists search_projects (
  tenant uuid not null,
  project_id uuid not null,
  name text not null,
  deleted boolean not null,
  latest_version integer not null,
  valid_from bigint not null,
  valid_to bigint not null,
  primary key (tenant, project_id, valid_to)
) partition by range (valid_to);
create table if not exists search_estimates (
  tenant uuid not null,
  estimate_id uuid not null,
  project_id uuid not null,
  version integer not null,
  valid_from bigint not null,
  valid_to bigint not null,
  primary key (tenant, estimate_id, valid_to)
) partition by range (valid_to);
create index if not exists search_estimates_project on search_estimates (tenant, project_id, valid_to)

-- name: look_for : what the next statement of this transaction sees; by the index, whatever the statistics say
select set_config('cairn.search', %(query)s, true), set_config('enable_seqscan', 'off', true)

-- name: how_many : of the texts that are looked for
select count(*) from search_texts t where t.valid_from <= %(at)s and t.valid_to >= %(at)s::bigint + 1

-- name: projects : the best of a shelf. What is looked for may be but the rarest of the words; `query` is all. Here and below one look-up each for what is said of a thing: a join would be
-- planned from statistics. `valid_to > at` is written so that it leaves out the past when it is not asked for.
with found as materialized (
  select t.id, t.texts, t.words from search_texts t
  where t.valid_from <= %(at)s and t.valid_to >= %(at)s::bigint + 1
    and t.words @@ %(query)s::tsquery and (%(project_id)s::uuid is null or t.of_id = %(project_id)s)
)
select f.id, f.id as project_id, p.name, p.latest_version, 0 as version, 1 as versions, f.texts::text as texts,
  (ts_rank(f.words, %(query)s::tsquery) + ts_rank(f.words, %(exact)s::tsquery))::float8 as score,
  count(*) over () as things, count(*) over () as matches
from found f
cross join lateral (
  select p.name, p.latest_version, p.deleted from search_projects p
  where p.project_id = f.id and p.valid_from <= %(at)s and p.valid_to >= %(at)s::bigint + 1 limit 1
) p
where %(deleted)s or not p.deleted
order by score desc, f.id desc
limit %(limit)s

-- name: parts : the best estimates, or parts of them, of a shelf: one of each project and id, with the latest version
-- that matches
with found as materialized (
  select t.of_id, t.id, t.texts, t.words from search_texts t
  where t.valid_from <= %(at)s and t.valid_to >= %(at)s::bigint + 1 and t.words @@ %(query)s::tsquery
), placed as (
  select f.id, f.texts, f.words, f.of_id as estimate_id, e.version, e.project_id, p.name, p.latest_version,
    count(*) over of_thing as versions, row_number() over of_thing as newest, count(*) over () as matches
  from found f
  cross join lateral (
    select e.version, e.project_id from search_estimates e
    where e.estimate_id = f.of_id and e.valid_from <= %(at)s and e.valid_to >= %(at)s::bigint + 1 limit 1
  ) e
  cross join lateral (
    select p.name, p.latest_version, p.deleted from search_projects p
    where p.project_id = e.project_id and p.valid_from <= %(at)s and p.valid_to >= %(at)s::bigint + 1 limit 1
  ) p
  where %(deleted)s or not p.deleted
  window of_thing as (
    partition by e.project_id, f.id order by e.version desc rows between unbounded preceding and unbounded following
  )
)
select l.id, l.project_id, l.name, l.latest_version, l.version, l.versions, l.texts::text as texts, l.estimate_id,
  (ts_rank(l.words, %(query)s::tsquery) + ts_rank(l.words, %(exact)s::tsquery))::float8 as score,
  count(*) over () as things, l.matches
from placed l
where l.newest = 1
order by score desc, (l.version = l.latest_version) desc, l.project_id desc, l.id
limit %(limit)s

-- name: parts_of_project : the same, of one project: its estimates lead to their texts
with found as materialized (
  select t.id, t.texts, t.words, e.estimate_id, e.version, e.project_id
  from (
    select e.estimate_id, e.version, e.project_id from search_estimates e
    where e.project_id = %(project_id)s and e.valid_from <= %(at)s and e.valid_to >= %(at)s::bigint + 1 offset 0
  ) e
  join search_texts t on t.kind = %(kind)s and t.of_id = e.estimate_id
    and t.valid_from <= %(at)s and t.valid_to >= %(at)s::bigint + 1 and t.words @@ %(query)s::tsquery
), placed as (
  select f.*, p.name, p.latest_version,
    count(*) over of_thing as versions, row_number() over of_thing as newest, count(*) over () as matches
  from found f
  join search_projects p
    on p.project_id = f.project_id and p.valid_from <= %(at)s and p.valid_to >= %(at)s::bigint + 1
  where %(deleted)s or not p.deleted
  window of_thing as (partition by f.id order by f.version desc rows between unbounded preceding and unbounded following)
)
select l.id, l.project_id, l.name, l.latest_version, l.version, l.versions, l.texts::text as texts, l.estimate_id,
  (ts_rank(l.words, %(query)s::tsquery) + ts_rank(l.words, %(exact)s::tsquery))::float8 as score,
  count(*) over () as things, l.matches
from placed l
where l.newest = 1
order by score desc, (l.version = l.latest_version) desc, l.project_id desc, l.id
limit %(limit)s
