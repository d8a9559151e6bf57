-- name: schema
create table if not exists version_history_changes (
  tenant uuid not null,
  estimate_id uuid not null,
  position bigint not null,
  seq integer not null,
  stream_version integer not null,
  recorded_at timestamptz not null,
  actor uuid not null,
  type text not null,
  line_id uuid,
  risk_id uuid,
  field text,
  was jsonb,
  now jsonb,
  valid_from bigint not null,
  valid_to bigint not null,
  primary key (tenant, estimate_id, position, seq)
);
create index if not exists version_history_changes_line
  on version_history_changes (tenant, line_id, position, seq) where line_id is not null

-- name: of_estimate : newest first
select estimate_id, position, seq, stream_version, recorded_at, actor, type, line_id, risk_id, field,
  was, now
from version_history_changes
where estimate_id = %(estimate_id)s and (position, seq) < (%(after_position)s, %(after_seq)s)
  and valid_from <= %(at)s and valid_to > %(at)s and position <= %(at)s
order by position desc, seq desc
limit %(limit)s

-- name: of_line : newest first
select estimate_id, position, seq, stream_version, recorded_at, actor, type, line_id, risk_id, field,
  was, now
from version_history_changes
where estimate_id = %(estimate_id)s and line_id = %(line_id)s
  and (position, seq) < (%(after_position)s, %(after_seq)s)
  and valid_from <= %(at)s and valid_to > %(at)s and position <= %(at)s
order by position desc, seq desc
limit %(limit)s
