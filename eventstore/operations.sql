-- name: claim : takes an operation that nobody works on; answers which attempt it is, or nothing
insert into cairn.operations as o (tenant, operation_id, kind, owner, until, attempts, done, total)
values (%(tenant)s, %(operation_id)s, %(kind)s, %(owner)s,
  clock_timestamp() + make_interval(secs => %(seconds)s), 1, 0, %(total)s)
on conflict (tenant, operation_id) do update set
  owner = excluded.owner, until = excluded.until, attempts = o.attempts + 1, done = 0, total = excluded.total,
  updated_at = clock_timestamp()
where o.until < clock_timestamp()
returning attempts

-- name: report : how far it is, and that its owner still works on it; answers nothing when it is no longer the owner's
update cairn.operations set
  done = %(done)s, until = clock_timestamp() + make_interval(secs => %(seconds)s), updated_at = clock_timestamp()
where tenant = %(tenant)s and operation_id = %(operation_id)s and owner = %(owner)s and until < 'infinity'
returning true

-- name: finish
update cairn.operations set until = 'infinity', done = total, updated_at = clock_timestamp()
where tenant = %(tenant)s and operation_id = %(operation_id)s and owner = %(owner)s

-- name: give_back : unfinished, to whoever wants it next; this attempt does not count
update cairn.operations set until = '-infinity', attempts = attempts - 1, updated_at = clock_timestamp()
where owner = %(owner)s and until < 'infinity'

-- name: forget : what ended, or was left, long ago
delete from cairn.operations
where updated_at < clock_timestamp() - make_interval(secs => %(seconds)s) and (until = 'infinity' or until < clock_timestamp())

-- name: progress : of those that somebody works on now
select operation_id, kind, done, total, updated_at from cairn.operations
where operation_id = any (%(operation_ids)s) and until > clock_timestamp() and until < 'infinity'
