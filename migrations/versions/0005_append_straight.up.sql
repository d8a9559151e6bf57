-- Two ways of appending that know only the good case: no command was seen before, every event is the next of its stream,
-- every unit has one, and what was only read stands where it did. They cost six tenths of append_1, and answer null, having
-- changed nothing, when the case is another: append_1 judges that. What they check, they check under the same lock.

set role cairn_owner;

-- convert_to is stable, and so is what calls it: declared immutable it could not be inlined, and a call of the function
-- cost as much as its hashes.
alter function cairn.leaf_1 stable;

-- Appends one unit of one event: `p_version` is the event's, one above what its stream must have. `p_read` is a stream
-- that was only read, and the version it must have; null: none was. Answers the position, the instant in microseconds since
-- 1970 and the epoch as integers of 8 bytes, big-endian, and the leaf.
create function cairn.append_one_1(
  p_tenant uuid, p_command uuid, p_hash bytea, p_stream uuid, p_version integer, p_type text, p_schema smallint,
  p_event_id uuid, p_actor uuid, p_salt bytea, p_metadata bytea, p_payload bytea, p_read uuid, p_read_version integer
) returns bytea
language plpgsql security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
as $$
declare
  v_clock timestamptz := clock_timestamp(); -- in a variable: a distributed engine takes no volatile call in an update
  v_bound text := set_config('cairn.tenant', p_tenant::text, true);
  v_position bigint;
  v_recorded_at timestamptz;
  v_us bigint;
  v_epoch bigint;
  v_leaf bytea;
begin
  update cairn.heads h set position = h.position + 1, recorded_at = greatest(h.recorded_at, v_clock)
    where h.tenant = p_tenant
    returning h.position, h.recorded_at, (extract(epoch from h.recorded_at) * 1000000)::bigint, h.epoch
    into v_position, v_recorded_at, v_us, v_epoch;
  if not found then
    return null; -- the company's log is to be opened
  end if;
  insert into cairn.events (
    tenant, position, recorded_at, stream_version, schema_version, stream_id, event_id, actor, command_id,
    type, request_hash, salt, leaf, metadata, payload)
  select p_tenant, v_position, v_recorded_at, p_version, p_schema, p_stream, p_event_id, p_actor, p_command,
    p_type, p_hash, p_salt,
    cairn.leaf_1(p_tenant, v_position, p_event_id, p_stream, p_version, p_type, p_schema, v_us, p_actor, p_command,
      p_salt, p_payload, p_metadata),
    p_metadata, p_payload
  where not exists (
      select from cairn.events e
      where e.tenant = p_tenant and e.command_id = p_command and e.request_hash is not null)
    and not exists (
      select from cairn.empty_commands c where c.tenant = p_tenant and c.command_id = p_command)
    and p_version = 1 + coalesce((
      -- looking from the version that should be the last reads one entry of the index, not a page of the stream's past
      select e.stream_version from cairn.events e
      where e.tenant = p_tenant and e.stream_id = p_stream and e.stream_version >= p_version - 1
      order by e.stream_version desc limit 1), 0)
    and (p_read is null or p_read_version = coalesce((
      select e.stream_version from cairn.events e
      where e.tenant = p_tenant and e.stream_id = p_read and e.stream_version >= p_read_version
      order by e.stream_version desc limit 1), 0))
  returning leaf into v_leaf;
  if not found then
    update cairn.heads h set position = v_position - 1 where h.tenant = p_tenant;
    return null;
  end if;
  return int8send(v_position) || int8send(v_us) || int8send(v_epoch) || v_leaf;
end $$;

-- Appends units that each have events. Per event, those of a unit together: its command, the digest of its request (null
-- but on the unit's first event), its stream, the version it becomes there, and the rest of its row. No command may be
-- there twice. Per stream that was only read, and that none of the events is of: the version it must have. Answers the
-- position of the first event, the instant and the epoch as append_one_1 does, and the leaves, 32 bytes each.
create function cairn.append_many_1(
  p_tenant uuid, p_commands uuid[], p_hashes bytea[], p_streams uuid[], p_versions integer[], p_types text[],
  p_schemas smallint[], p_event_ids uuid[], p_actors uuid[], p_salts bytea[], p_metadata bytea[], p_payloads bytea[],
  p_reads uuid[], p_read_versions integer[]
) returns bytea
language plpgsql security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
as $$
declare
  v_clock timestamptz := clock_timestamp();
  v_bound text := set_config('cairn.tenant', p_tenant::text, true);
  v_count integer := cardinality(p_streams);
  v_head bigint;
  v_recorded_at timestamptz;
  v_us bigint;
  v_epoch bigint;
  v_leaves bytea;
begin
  update cairn.heads h set position = h.position + v_count, recorded_at = greatest(h.recorded_at, v_clock)
    where h.tenant = p_tenant
    returning h.position - v_count, h.recorded_at, (extract(epoch from h.recorded_at) * 1000000)::bigint, h.epoch
    into v_head, v_recorded_at, v_us, v_epoch;
  if not found then
    return null; -- the company's log is to be opened
  end if;
  if exists (
      select from cairn.events e
      where e.tenant = p_tenant and e.command_id = any (p_commands) and e.request_hash is not null)
    or exists (
      select from cairn.empty_commands c where c.tenant = p_tenant and c.command_id = any (p_commands))
    or exists (
      select from (
        select t.stream, t.version - 1 as expected, lag(t.version) over (partition by t.stream order by t.n) as before
        from unnest(p_streams, p_versions) with ordinality as t (stream, version, n)
      ) c
      where c.expected <> coalesce(c.before, (
        select e.stream_version from cairn.events e
        where e.tenant = p_tenant and e.stream_id = c.stream and e.stream_version >= c.expected
        order by e.stream_version desc limit 1), 0))
    or exists (
      select from unnest(p_reads, p_read_versions) as r (stream, expected)
      where r.expected <> coalesce((
        select e.stream_version from cairn.events e
        where e.tenant = p_tenant and e.stream_id = r.stream and e.stream_version >= r.expected
        order by e.stream_version desc limit 1), 0))
  then
    update cairn.heads h set position = v_head where h.tenant = p_tenant;
    return null;
  end if;
  with appended as (
    insert into cairn.events (
      tenant, position, recorded_at, stream_version, schema_version, stream_id, event_id, actor, command_id,
      type, request_hash, salt, leaf, metadata, payload)
    select p_tenant, v_head + e.n, v_recorded_at, e.version, e.schema, e.stream, e.id, e.actor, e.command,
      e.type, e.hash, e.salt,
      cairn.leaf_1(p_tenant, v_head + e.n, e.id, e.stream, e.version, e.type, e.schema, v_us, e.actor, e.command,
        e.salt, e.payload, e.metadata),
      e.metadata, e.payload
    from ( -- in the list of what is selected the arrays are read side by side; in FROM each would be stored first
      select unnest(p_commands) as command, unnest(p_hashes) as hash, unnest(p_streams) as stream,
        unnest(p_versions) as version, unnest(p_types) as type, unnest(p_schemas) as schema,
        unnest(p_event_ids) as id, unnest(p_actors) as actor, unnest(p_salts) as salt,
        unnest(p_metadata) as metadata, unnest(p_payloads) as payload, generate_series(1, v_count) as n
    ) e
    returning events.position, events.leaf
  )
  select string_agg(a.leaf, '' order by a.position) into v_leaves from appended a;
  return int8send(v_head + 1) || int8send(v_us) || int8send(v_epoch) || v_leaves;
end $$;

revoke execute on function cairn.append_one_1, cairn.append_many_1 from public;
grant execute on function cairn.append_one_1, cairn.append_many_1 to cairn_writer;
reset role;
