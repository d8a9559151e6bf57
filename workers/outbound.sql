-- name: published : what the broker was last seen to hold of the bound company
select epoch, position, stream_created, sequence from cairn.published where tenant = cairn.bound_tenant()

-- name: note_published
insert into cairn.published as p (tenant, epoch, position, stream_created, sequence)
select n.tenant, n.epoch, n.position, %(stream_created)s, n.sequence
from unnest(%(tenants)s::uuid[], %(epochs)s::bigint[], %(positions)s::bigint[], %(sequences)s::bigint[])
  as n (tenant, epoch, position, sequence)
on conflict (tenant) do update set
  epoch = excluded.epoch, position = excluded.position, stream_created = excluded.stream_created,
  sequence = excluded.sequence

-- name: begin_epoch
select cairn.begin_epoch_1(%(tenant)s, %(after)s, %(seen)s, %(reason)s)

-- name: ask_again
insert into cairn.republications (tenant, id, after_position, to_position, done_position)
values (cairn.bound_tenant(), %(id)s, %(after)s, %(to)s, %(after)s)

-- name: asked_again : the oldest range that is to be published once more
select tenant, id, done_position, to_position from cairn.republications
where done_at is null order by asked_at limit 1

-- name: note_again
update cairn.republications set
  done_position = %(position)s, done_at = case when %(position)s >= to_position then clock_timestamp() end
where tenant = cairn.bound_tenant() and id = %(id)s
