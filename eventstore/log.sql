-- name: append_one : null when something stands against it; then, as after append_many, append_judged decides
select cairn.append_one_1(
  %(tenant)s, %(command)s, %(hash)s, %(stream)s, %(event_version)s::integer, %(type)s::text, %(schema)s::smallint,
  %(event_id)s, %(actor)s, %(salt)s, %(metadata)s, %(payload)s, %(read)s::uuid, %(read_version)s::integer) as answer

-- name: append_many
select cairn.append_many_1(
  %(tenant)s, %(commands)s, %(hashes)s, %(streams)s, %(event_versions)s, %(types)s, %(schemas)s, %(event_ids)s,
  %(actors)s, %(salts)s, %(metadata)s, %(payloads)s, %(reads)s, %(read_versions)s) as answer

-- name: append_judged
select head, recorded_at, epoch, leaves, outcomes, positions, conflicts, versions
from cairn.append_1(
  %(tenant)s, %(commands)s, %(hashes)s, %(check_units)s, %(check_streams)s, %(check_versions)s, %(check_writes)s,
  %(units)s, %(streams)s, %(event_versions)s, %(types)s, %(schemas)s, %(event_ids)s, %(actors)s,
  %(salts)s, %(metadata)s, %(payloads)s)

-- name: read_stream
select position, recorded_at, stream_version, schema_version, stream_id, event_id, actor, command_id,
  type, leaf, metadata, payload
from cairn.events
where tenant = cairn.bound_tenant() and stream_id = %(stream_id)s
  and stream_version > %(after_version)s and stream_version <= %(to_version)s
order by stream_version
limit %(limit)s

-- name: begun : which of these streams have events
select stream_id from cairn.events
where tenant = cairn.bound_tenant() and stream_id = any (%(streams)s) and stream_version = 1

-- name: read_log
select position, recorded_at, stream_version, schema_version, stream_id, event_id, actor, command_id,
  type, leaf, metadata, payload
from cairn.events
where tenant = cairn.bound_tenant() and position > %(after)s and position <= %(to)s
order by position
limit %(limit)s

-- name: read_within : the same, until the payloads come to so many bytes: whoever got fewer got all. Without the
-- payloads of positions that are known
select position, recorded_at, stream_version, schema_version, stream_id, event_id, actor, command_id,
  type, leaf, metadata, payload
from (
  select position, recorded_at, stream_version, schema_version, stream_id, event_id, actor, command_id,
    type, leaf, metadata, payload, sum(coalesce(octet_length(payload), 0)) over (order by position) as bytes
  from (
    select position, recorded_at, stream_version, schema_version, stream_id, event_id, actor, command_id,
      type, leaf, metadata, case when position = any (%(known)s::bigint[]) then null else payload end as payload
    from cairn.events
    where tenant = cairn.bound_tenant() and position > %(after)s and position <= %(to)s
  ) e
) e
where bytes - coalesce(octet_length(payload), 0) < %(bytes)s
order by position

-- name: read_page : the events of a page in runs of neighbours, each run as one row: joined values instead of a row each.
-- Positions have no holes, so a run is a range of them. A run with a large event in it is to be read row by row: joined,
-- it would fill the memory of both sides.
select g.after, run.* from generate_series(%(after)s::bigint, %(last)s::bigint - 1, %(run)s::bigint) as g (after)
cross join lateral (
  select count(*), max(octet_length(e.payload)), max(e.position), string_agg(timestamptz_send(e.recorded_at), ''),
    string_agg(int4send(e.stream_version), ''), string_agg(int2send(e.schema_version), ''),
    string_agg(uuid_send(e.stream_id), ''), string_agg(uuid_send(e.event_id), ''),
    string_agg(uuid_send(e.actor), ''), string_agg(uuid_send(e.command_id), ''),
    string_agg(e.type, e'\n'), string_agg(e.leaf, ''),
    string_agg(int4send(octet_length(e.metadata)), ''), string_agg(e.metadata, ''),
    string_agg(int4send(octet_length(e.payload)), ''),
    string_agg(e.payload, '\x2c') filter (where octet_length(e.payload) <= %(large)s)
  from (
    select position, recorded_at, stream_version, schema_version, stream_id, event_id, actor, command_id,
      type, leaf, metadata, payload
    from cairn.events
    where tenant = cairn.bound_tenant() and position > g.after
      and position <= least(g.after + %(run)s::bigint, %(last)s::bigint)
    order by position
  ) e
) run

-- name: read_up_to : of a range the first events, as many as fit into so many bytes, and at least one. Payloads only of
-- types that are asked for, if any are
select position, recorded_at, stream_version, schema_version, stream_id, event_id, actor, command_id,
  type, leaf, metadata, payload
from (
  select position, recorded_at, stream_version, schema_version, stream_id, event_id, actor, command_id,
    type, leaf, metadata, payload, sum(coalesce(octet_length(payload), 0)) over (order by position) as bytes
  from (
    select position, recorded_at, stream_version, schema_version, stream_id, event_id, actor, command_id,
      type, leaf, metadata, case when %(types)s::text[] is null or type = any (%(types)s) then payload end as payload
    from cairn.events
    where tenant = cairn.bound_tenant() and position > %(after)s and position <= %(to)s
  ) e
) e
where bytes <= %(bytes)s or bytes = octet_length(payload)
order by position

-- name: read_log_of_types
select position, recorded_at, stream_version, schema_version, stream_id, event_id, actor, command_id,
  type, leaf, metadata, payload
from cairn.events
where tenant = cairn.bound_tenant() and position > %(after)s and position <= %(to)s and type = any (%(types)s)
order by position
limit %(limit)s

-- name: of_command
select position, recorded_at, stream_version, schema_version, stream_id, event_id, actor, command_id,
  type, leaf, metadata, payload
from cairn.events
where tenant = cairn.bound_tenant() and position >= %(position)s and command_id = %(command_id)s
  and position < %(position)s + %(limit)s
order by position

-- name: salt_of : what a verifier needs beside the event to compute its leaf again
select salt from cairn.events
where tenant = cairn.bound_tenant() and position = %(position)s

-- name: head
select position, epoch, recorded_at from cairn.heads where tenant = cairn.bound_tenant()

-- name: heads : every company's head; only the projector role sees more than the bound one
select tenant, position, epoch from cairn.heads order by tenant

-- name: epochs : the incarnations of the bound company's log, oldest first
select epoch, after_position from cairn.epochs where tenant = cairn.bound_tenant() order by epoch

-- name: position_at
select cairn.position_at(cairn.bound_tenant(), %(instant)s) as position

-- name: load_snapshot
select stream_version, state from cairn.snapshots
where tenant = cairn.bound_tenant() and stream_id = %(stream_id)s and fingerprint = %(fingerprint)s

-- name: save_snapshot : a newer one of the same shape is kept
insert into cairn.snapshots as s (tenant, stream_id, stream_version, fingerprint, state)
values (cairn.bound_tenant(), %(stream_id)s, %(stream_version)s, %(fingerprint)s, %(state)s)
on conflict (tenant, stream_id) do update
  set stream_version = excluded.stream_version, fingerprint = excluded.fingerprint, state = excluded.state
  where s.fingerprint <> excluded.fingerprint or s.stream_version < excluded.stream_version

-- name: open_incarnation
select cairn.open_incarnation_1() as opened

-- name: find_command : whether a command id was committed, where, and for which request
select position, request_hash from cairn.events
where tenant = cairn.bound_tenant() and command_id = %(command_id)s and request_hash is not null
union all
select position, request_hash from cairn.empty_commands
where tenant = cairn.bound_tenant() and command_id = %(command_id)s

-- name: empty_command : what a command that had nothing to do met
select stream_version, recorded_at from cairn.empty_commands
where tenant = cairn.bound_tenant() and command_id = %(command_id)s
