-- name: deliver : `counts` has nine numbers per range: which it is, and what is added to its counts
insert into cairn.deliveries as d (tenant, model, build, range,
  handled, handled_xor, ignored, ignored_xor, parked, parked_xor, skipped, skipped_xor)
select cairn.bound_tenant(), v.model, v.build, n[i - 8], n[i - 7], n[i - 6], n[i - 5], n[i - 4], n[i - 3], n[i - 2],
  n[i - 1], n[i]
from (select %(counts)s::bigint[] as n) as given
cross join lateral (
  select u.model, u.build, 9 * u.number as i
  from unnest(%(models)s::text[], %(builds)s::integer[]) with ordinality as u (model, build, number)
) as v
on conflict (tenant, model, build, range) do update set
  handled = d.handled + excluded.handled, handled_xor = d.handled_xor # excluded.handled_xor,
  ignored = d.ignored + excluded.ignored, ignored_xor = d.ignored_xor # excluded.ignored_xor,
  parked = d.parked + excluded.parked, parked_xor = d.parked_xor # excluded.parked_xor,
  skipped = d.skipped + excluded.skipped, skipped_xor = d.skipped_xor # excluded.skipped_xor

-- name: verify : ranges in which the log's events, up to the checkpoint, and the deliveries differ
with progress as (
  select c.build, c.position from cairn.checkpoints c
  join cairn.builds b on b.model = c.model and b.build = c.build and b.state = 'live'
  where c.tenant = cairn.bound_tenant() and c.model = %(model)s
), logged as (
  select (e.position - 1) / 1024 as range, count(*) as events,
    bit_xor(('x' || encode(substr(e.leaf, 1, 8), 'hex'))::bit(64)::bigint) as exclusive_or
  from cairn.events e, progress p
  where e.tenant = cairn.bound_tenant() and e.position <= p.position
  group by 1
), delivered as (
  select d.range, d.handled + d.ignored + d.parked + d.skipped as events,
    d.handled_xor # d.ignored_xor # d.parked_xor # d.skipped_xor as exclusive_or
  from cairn.deliveries d, progress p
  where d.tenant = cairn.bound_tenant() and d.model = %(model)s and d.build = p.build
)
select p.build, range * 1024 + 1, least(range * 1024 + 1024, p.position), coalesce(l.events, 0), coalesce(d.events, 0)::bigint
from logged l full join delivered d using (range), progress p
where l.events is distinct from d.events or l.exclusive_or is distinct from d.exclusive_or
order by range
