-- name: select
select position, recorded_at, stream_version, schema_version, stream_id, event_id, actor, command_id,
  type, leaf, metadata, payload
from cairn.events
where tenant = %(tenant)s
order by position
