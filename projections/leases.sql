-- name: heartbeat : lives, renews, gives back and takes; what is held afterwards
select held_scope, held_slice
from cairn.heartbeat_1(%(owner)s, %(scopes)s::text[], %(slices)s, make_interval(secs => %(lease_seconds)s))

-- name: release
update cairn.leases set owner = null, until = '-infinity' where owner = %(owner)s

-- name: leave
delete from cairn.projectors where owner = %(owner)s
