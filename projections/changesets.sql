-- name: schema
create table if not exists changesets_changesets (
  tenant uuid not null,
  changeset_id uuid not null,
  user_id uuid not null,
  connection_id uuid not null,
  drafts_id uuid not null,
  looked_at_position bigint not null,
  opened_position bigint not null,
  rule text not null,
  record_count integer not null,
  note text,
  batches integer not null,
  delay jsonb,
  opened_at timestamptz not null,
  cancelled_at timestamptz,
  cancelled_reason text,
  finished_at timestamptz,
  valid_from bigint not null,
  valid_to bigint not null,
  primary key (tenant, changeset_id, valid_to)
) partition by range (valid_to);
create index if not exists changesets_changesets_order
  on changesets_changesets (tenant, opened_position, valid_to);
create table if not exists changesets_records (
  tenant uuid not null,
  changeset_id uuid not null,
  record_id uuid not null,
  place integer not null,
  identity jsonb not null,
  ordinal integer not null,
  upstream_version text,
  status text not null,
  base jsonb not null,
  mine jsonb not null,
  pushed jsonb not null,
  theirs jsonb,
  moved_position bigint,
  moved_at timestamptz,
  found_by text,
  settled text,
  left_to_upstream jsonb not null,
  unmapped jsonb not null,
  batch_id uuid,
  code text,
  reason text,
  updated_at timestamptz not null,
  valid_from bigint not null,
  valid_to bigint not null,
  primary key (tenant, changeset_id, record_id, valid_to)
) partition by range (valid_to);
create index if not exists changesets_records_order
  on changesets_records (tenant, changeset_id, place, valid_to) include (status, valid_from)

-- name: changesets : the latest first, each with its records counted by what became of them
select c.changeset_id, c.user_id, c.connection_id, c.drafts_id,
  case when c.cancelled_at is not null then 'cancelled' when c.finished_at is not null then 'finished' else 'open' end
    as status,
  c.looked_at_position, c.rule, c.record_count, n.records, c.note, c.batches, c.delay, c.opened_at, c.cancelled_at,
  c.cancelled_reason, c.finished_at, c.opened_position
from changesets_changesets c
cross join lateral (
  select jsonb_object_agg(s.shown, s.number) as records
  from (
    select case when c.cancelled_at is not null and r.status in ('waiting', 'conflict') then 'cancelled'
      else r.status end as shown, count(*) as number
    from changesets_records r
    where r.changeset_id = c.changeset_id and r.valid_from <= %(at)s and r.valid_to > %(at)s
    group by shown
  ) s
) n
where c.opened_position < %(after)s and c.valid_from <= %(at)s and c.valid_to > %(at)s
  and (%(connection_id)s::uuid is null or c.connection_id = %(connection_id)s)
  and (%(user_id)s::uuid is null or c.user_id = %(user_id)s)
  and (%(status)s::text is null or %(status)s = case when c.cancelled_at is not null then 'cancelled'
    when c.finished_at is not null then 'finished' else 'open' end)
order by c.opened_position desc
limit %(limit)s

-- name: changeset
select c.changeset_id, c.user_id, c.connection_id, c.drafts_id,
  case when c.cancelled_at is not null then 'cancelled' when c.finished_at is not null then 'finished' else 'open' end
    as status,
  c.looked_at_position, c.rule, c.record_count, n.records, c.note, c.batches, c.delay, c.opened_at, c.cancelled_at,
  c.cancelled_reason, c.finished_at, c.opened_position
from changesets_changesets c
cross join lateral (
  select jsonb_object_agg(s.shown, s.number) as records
  from (
    select case when c.cancelled_at is not null and r.status in ('waiting', 'conflict') then 'cancelled'
      else r.status end as shown, count(*) as number
    from changesets_records r
    where r.changeset_id = c.changeset_id and r.valid_from <= %(at)s and r.valid_to > %(at)s
    group by shown
  ) s
) n
where c.changeset_id = %(changeset_id)s and c.valid_from <= %(at)s and c.valid_to > %(at)s

-- name: records : in the order they were added
select r.record_id, r.place, r.identity, r.ordinal, r.upstream_version,
  case when c.cancelled_at is not null and r.status in ('waiting', 'conflict') then 'cancelled' else r.status end
    as status,
  r.base, r.mine, r.pushed, r.theirs, r.moved_position, r.moved_at, r.found_by, r.settled, r.left_to_upstream, r.unmapped,
  r.batch_id, r.code, r.reason, r.updated_at
from changesets_records r
join changesets_changesets c
  on c.changeset_id = r.changeset_id and c.valid_from <= %(at)s and c.valid_to > %(at)s
where r.changeset_id = %(changeset_id)s and r.place > %(after)s and r.valid_from <= %(at)s and r.valid_to > %(at)s
  and (%(status)s::text is null
    or %(status)s = case when c.cancelled_at is not null and r.status in ('waiting', 'conflict') then 'cancelled'
      else r.status end)
order by r.place
limit %(limit)s
