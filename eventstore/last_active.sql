-- When members were last active. Beside the log: see the migration that made the table.

-- name: note_active : these members of the bound company are active now
insert into cairn.last_active as l (tenant, member_id, active_at)
select cairn.bound_tenant(), m, clock_timestamp() from unnest(%(members)s::uuid[]) m
order by m
on conflict (tenant, member_id) do update set active_at = greatest(l.active_at, excluded.active_at)

-- name: last_active
select member_id, active_at from cairn.last_active where member_id = any (%(members)s::uuid[])
