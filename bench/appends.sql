-- name: make_limit
create table public.limit_events (like cairn.events including all) with (toast_tuple_target = 640)

-- name: shape_limit
alter table public.limit_events alter column payload set storage main, alter column metadata set storage main

-- name: insert
insert into public.limit_events (
  tenant, position, recorded_at, stream_version, schema_version, stream_id, event_id, actor, command_id, type,
  request_hash, salt, leaf, metadata, payload)
values (
  %(tenant)s, %(position)s, now(), %(version)s, 1, %(stream_id)s, %(event_id)s, %(actor)s, %(command_id)s, %(type)s,
  %(request_hash)s, %(salt)s, %(leaf)s, %(metadata)s, %(payload)s)

-- name: insert_hot : the version is read inside; who loses the race tries again
insert into public.limit_events (
  tenant, position, recorded_at, stream_version, schema_version, stream_id, event_id, actor, command_id, type,
  request_hash, salt, leaf, metadata, payload)
select
  %(tenant)s, %(position)s, now(),
  coalesce((select max(e.stream_version) from public.limit_events e
    where e.tenant = %(tenant)s and e.stream_id = %(stream_id)s), 0) + 1,
  1, %(stream_id)s, %(event_id)s, %(actor)s, %(command_id)s, %(type)s,
  %(request_hash)s, %(salt)s, %(leaf)s, %(metadata)s, %(payload)s
