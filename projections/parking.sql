-- name: waiting : one row a key, its first failed event's error
select distinct on (p.model, p.key) p.model, p.key,
  (select count(*) from cairn.parked o where o.tenant = p.tenant and o.model = p.model and o.build = p.build
    and o.key = p.key and o.skipped_at is null) as events,
  p.position as first_position, p.type, coalesce(p.error, '') as error, p.since
from cairn.parked p
join cairn.builds b on b.model = p.model and b.build = p.build and b.state = 'live'
where p.tenant = cairn.bound_tenant() and p.skipped_at is null and (%(model)s::text is null or p.model = %(model)s)
order by p.model, p.key, p.position

-- name: skipped
select p.model, p.key, p.position, p.type, coalesce(p.error, '') as error, p.skipped_at, p.skipped_by, p.reason
from cairn.parked p
join cairn.builds b on b.model = p.model and b.build = p.build and b.state = 'live'
where p.tenant = cairn.bound_tenant() and p.skipped_at is not null and (%(model)s::text is null or p.model = %(model)s)
order by p.model, p.position

-- name: hold_checkpoint : no batch runs beside a replay
select c.position from cairn.checkpoints c
where c.tenant = cairn.bound_tenant() and c.model = %(model)s and c.build = %(build)s
for update

-- name: positions : of what waits for a key, in order
select p.position from cairn.parked p
where p.tenant = cairn.bound_tenant() and p.model = %(model)s and p.build = %(build)s and p.key = %(key)s
  and p.skipped_at is null
order by p.position
limit %(limit)s

-- name: unpark
delete from cairn.parked p
where p.tenant = cairn.bound_tenant() and p.model = %(model)s and p.build = %(build)s
  and p.position = any (%(positions)s::bigint[])

-- name: fail : why it still waits
update cairn.parked p set error = %(error)s, since = case when p.error is null then clock_timestamp() else p.since end
where p.tenant = cairn.bound_tenant() and p.model = %(model)s and p.build = %(build)s and p.position = %(position)s

-- name: skip
update cairn.parked p set skipped_at = clock_timestamp(), skipped_by = %(actor)s, reason = %(reason)s
where p.tenant = cairn.bound_tenant() and p.model = %(model)s and p.build = %(build)s and p.position = %(position)s

-- name: fewer
update cairn.checkpoints c set parked = c.parked - %(count)s
where c.tenant = cairn.bound_tenant() and c.model = %(model)s and c.build = %(build)s
