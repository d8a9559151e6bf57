-- name: try_alone : whether nobody else rebuilds this model; held until the connection closes or lets go
select pg_try_advisory_lock(7203056, hashtext(%(model)s))

-- name: not_alone
select pg_advisory_unlock(7203056, hashtext(%(model)s))

-- name: checkpoint
select coalesce((select c.position from cairn.checkpoints c
  where c.tenant = cairn.bound_tenant() and c.model = %(model)s and c.build = %(build)s), 0)

-- name: wait_for_model : switches give way to appends that take long
select set_config('lock_timeout', '2000', true)
