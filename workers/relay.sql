-- name: take_lease : becomes or stays the leader; answers the fence, or nothing while another leads
update cairn.relay_lease set
  fence = fence + case when owner is distinct from %(owner)s then 1 else 0 end,
  owner = %(owner)s, until = clock_timestamp() + make_interval(secs => %(seconds)s)
where one and (owner = %(owner)s or until < clock_timestamp())
returning fence

-- name: leave_lease
update cairn.relay_lease set owner = null, until = '-infinity' where one and owner = %(owner)s
