-- What `cairn doctor` asks the database. Nothing here changes anything.

-- name: server : the server's version as a number, and whether it writes durably
select current_setting('server_version_num')::integer, current_setting('fsync') = 'on',
  current_setting('synchronous_commit') <> 'off'

-- name: migrated : whether any migration was run
select to_regclass('alembic_version') is not null

-- name: revision : the newest migration that was run
select version_num from alembic_version

-- name: able_roles : application roles that could do more than their part
select r.rolname from pg_roles r
where r.rolname in ('cairn_writer', 'cairn_projector', 'cairn_reader', 'cairn_jobs')
  and (r.rolsuper or r.rolbypassrls or r.rolcreaterole or pg_has_role(r.oid, 'cairn_owner', 'member'))

-- name: writable_log : who may change the log by other means than its function
select r.rolname || ': ' || p.privilege || ' on ' || t.name
from pg_roles r, unnest(array['cairn.events', 'cairn.empty_commands', 'cairn.heads', 'cairn.epochs']) as t (name),
  unnest(array['INSERT', 'UPDATE', 'DELETE', 'TRUNCATE']) as p (privilege)
where r.rolname in ('cairn_writer', 'cairn_projector', 'cairn_reader', 'cairn_jobs')
  and has_table_privilege(r.oid, t.name, p.privilege)

-- name: unguarded_tables : tables that hold companies' data without forced row-level security
select c.oid::regclass::text from pg_class c
join pg_namespace n on n.oid = c.relnamespace
join pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant' and not a.attisdropped
where c.relkind in ('r', 'p') and n.nspname not like 'pg\_%' and n.nspname <> 'information_schema'
  and not (c.relrowsecurity and c.relforcerowsecurity)
order by 1

-- name: missing_triggers : tables of the log that nothing keeps from being changed by their owner
select t.name from unnest(array['cairn.events', 'cairn.empty_commands']) as t (name)
where not exists (
  select from pg_trigger g
  where g.tgrelid = t.name::regclass and g.tgname = 'append_only' and g.tgenabled in ('O', 'A'))

-- name: log_is_whole : head, events, first and last position of the bound company's log, and its clock's steps back
select h.position, count(e.position), coalesce(min(e.position), 0), coalesce(max(e.position), 0)
from cairn.heads h left join cairn.events e on e.tenant = h.tenant
where h.tenant = cairn.bound_tenant()
group by h.position

-- name: altered_events : of a sample spread over the bound company's log, those whose leaf is not what they say
select e.position from cairn.events e
where e.tenant = cairn.bound_tenant()
  and e.position in (
    select 1 + (h.position - 1) * s / greatest(%(events)s - 1, 1)
    from cairn.heads h, generate_series(0, %(events)s - 1) s where h.tenant = cairn.bound_tenant())
  and e.leaf <> cairn.leaf_1(e.tenant, e.position, e.event_id, e.stream_id, e.stream_version, e.type, e.schema_version,
    (extract(epoch from e.recorded_at) * 1000000)::bigint, e.actor, e.command_id, e.salt, e.payload, e.metadata)
order by e.position

-- name: unerased : members of the bound company who were forgotten, and have a key all the same
select e.stream_id::text from cairn.events e
join cairn.subject_keys s on s.tenant = e.tenant and s.subject = e.stream_id and s.erased_at is null
where e.tenant = cairn.bound_tenant() and e.type = 'membership.forgotten'

-- name: behind : models of the bound company that are not at its head, and by how much
select b.model, h.position - c.position
from cairn.builds b
join cairn.checkpoints c on c.model = b.model and c.build = b.build and c.tenant = cairn.bound_tenant()
join cairn.heads h on h.tenant = c.tenant
where b.state = 'live' and c.position < h.position
