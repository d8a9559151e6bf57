-- name: beat : a worker says that it lives; `moved`: that it made progress since, or found nothing to do
insert into cairn.workers as w (id, kind, host, waiting, detail)
values (%(id)s, %(kind)s, %(host)s, %(waiting)s, %(detail)s)
on conflict (id) do update set
  beat_at = clock_timestamp(), waiting = excluded.waiting, detail = excluded.detail,
  moved_at = case when %(moved)s then clock_timestamp() else w.moved_at end

-- name: farewell
delete from cairn.workers where id = %(id)s

-- name: bury : rows that killed workers left
delete from cairn.workers where beat_at < clock_timestamp() - make_interval(secs => %(seconds)s)

-- name: workers
select id, kind, host, started_at, beat_at, moved_at, waiting, detail,
  extract(epoch from clock_timestamp() - beat_at)::float8 as beat_age_seconds,
  extract(epoch from clock_timestamp() - moved_at)::float8 as still_seconds
from cairn.workers
where beat_at > clock_timestamp() - interval '10 minutes'
order by kind, started_at

-- name: schema_revision : the migration this database was last brought to
select version_num from public.alembic_version
