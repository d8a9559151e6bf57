-- name: schema
create table if not exists activity_log_entries (
  tenant uuid not null,
  position bigint not null,
  seq integer not null,
  recorded_at timestamptz not null,
  actor uuid not null,
  type text not null,
  category text not null,
  entity_id uuid not null,
  was jsonb,
  now jsonb,
  origin text,
  valid_from bigint not null,
  valid_to bigint not null,
  primary key (tenant, position, seq)
);
create index if not exists activity_log_entries_actor on activity_log_entries (tenant, actor, position, seq);
create index if not exists activity_log_entries_entity on activity_log_entries (tenant, entity_id, position, seq);
create table if not exists activity_log_names (
  tenant uuid not null,
  entity_id uuid not null,
  name text not null,
  valid_from bigint not null,
  valid_to bigint not null,
  primary key (tenant, entity_id, valid_to)
) partition by range (valid_to)

-- name: entries : newest first, with names as they were at the position asked about
select a.position, a.seq, a.recorded_at, a.actor, n.name as actor_name, a.type, a.category, a.entity_id,
  e.name as entity_name, a.was, a.now, a.origin
from activity_log_entries a
left join activity_log_names n on n.entity_id = a.actor and n.valid_from <= %(at)s and n.valid_to > %(at)s
left join activity_log_names e on e.entity_id = a.entity_id and e.valid_from <= %(at)s and e.valid_to > %(at)s
where (a.position, a.seq) < (%(after_position)s, %(after_seq)s)
  and a.valid_from <= %(at)s and a.valid_to > %(at)s and a.position <= %(at)s
  and (%(actor)s::uuid is null or a.actor = %(actor)s)
  and (%(category)s::text is null or a.category = %(category)s)
  and (%(entity_id)s::uuid is null or a.entity_id = %(entity_id)s)
order by a.position desc, a.seq desc
limit %(limit)s
