-- The schema after all migrations. Written by `make schema`.
CREATE SCHEMA cairn;
ALTER SCHEMA cairn OWNER TO cairn_owner;
CREATE SCHEMA read;
ALTER SCHEMA read OWNER TO cairn_owner;
CREATE FUNCTION cairn.append_1(p_tenant uuid, p_commands uuid[], p_hashes bytea[], p_check_units integer[], p_check_streams uuid[], p_check_versions integer[], p_check_writes integer[], p_units integer[], p_streams uuid[], p_versions integer[], p_types text[], p_schemas smallint[], p_event_ids uuid[], p_actors uuid[], p_salts bytea[], p_metadata bytea[], p_payloads bytea[], OUT head bigint, OUT recorded_at timestamp with time zone, OUT epoch bigint, OUT leaves bytea[], OUT outcomes smallint[], OUT positions bigint[], OUT conflicts uuid[], OUT versions integer[]) RETURNS record
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    AS $$
#variable_conflict use_column
declare
  v_clock timestamptz := clock_timestamp(); -- in a variable: a distributed engine takes no volatile call in an update
  v_us bigint;
  v_count integer := cardinality(p_streams);
  v_good boolean;
begin
  perform set_config('cairn.tenant', p_tenant::text, true);
  loop
    update cairn.heads h set position = h.position + v_count, recorded_at = greatest(h.recorded_at, v_clock)
      where h.tenant = p_tenant
      returning h.position - v_count, h.recorded_at, h.epoch into append_1.head, append_1.recorded_at, append_1.epoch;
    exit when found;
    perform cairn.open_log(p_tenant);
  end loop;
  -- The common case is judged without looking at units one by one: no command was seen before, and every check holds
  -- if all units succeed. One unit alone, the case of a quiet system, is judged by the plainest statements.
  if cardinality(p_commands) = 1 then
    v_good := not exists (
        select from cairn.events e
        where e.tenant = p_tenant and e.command_id = p_commands[1] and e.request_hash is not null)
      and not exists (
        select from cairn.empty_commands c where c.tenant = p_tenant and c.command_id = p_commands[1]);
    for i in 1 .. cardinality(p_check_streams) loop
      exit when not v_good;
      v_good := p_check_versions[i] = coalesce((
        select e.stream_version from cairn.events e where e.tenant = p_tenant and e.stream_id = p_check_streams[i]
        order by e.stream_version desc limit 1), 0);
    end loop;
  else
    v_good := not exists (
        select from cairn.events e
        where e.tenant = p_tenant and e.command_id = any (p_commands) and e.request_hash is not null)
      and not exists (
        select from cairn.empty_commands c where c.tenant = p_tenant and c.command_id = any (p_commands))
      and not exists (
        select from (
          select t.stream, t.expected, lag(t.expected + t.writes) over (partition by t.stream order by t.n) as before
          from unnest(p_check_streams, p_check_versions, p_check_writes) with ordinality
            as t (stream, expected, writes, n)
        ) c
        where c.expected <> coalesce(c.before, (
          select e.stream_version from cairn.events e where e.tenant = p_tenant and e.stream_id = c.stream
          order by e.stream_version desc limit 1), 0));
  end if;
  if v_good then
    append_1.outcomes := array_fill(0::smallint, array[cardinality(p_commands)]);
  else
    select j.outcomes, j.positions, j.conflicts, j.versions
      into append_1.outcomes, append_1.positions, append_1.conflicts, append_1.versions
      from cairn.judge_1(p_tenant, p_commands, p_hashes, p_check_units, p_check_streams, p_check_versions,
        p_check_writes) j;
    select count(*), coalesce(array_agg(e.unit order by e.n), '{}'), array_agg(e.stream order by e.n),
        array_agg(e.version order by e.n), array_agg(e.type order by e.n), array_agg(e.schema order by e.n),
        array_agg(e.id order by e.n), array_agg(e.actor order by e.n), array_agg(e.salt order by e.n),
        array_agg(e.metadata order by e.n), array_agg(e.payload order by e.n)
      into v_count, p_units, p_streams, p_versions, p_types, p_schemas, p_event_ids, p_actors, p_salts, p_metadata,
        p_payloads
      from unnest(p_units, p_streams, p_versions, p_types, p_schemas, p_event_ids, p_actors, p_salts, p_metadata,
          p_payloads) with ordinality
        as e (unit, stream, version, type, schema, id, actor, salt, metadata, payload, n)
      where append_1.outcomes[e.unit] = 0;
    update cairn.heads h set position = append_1.head + v_count where h.tenant = p_tenant;
  end if;
  if v_count > 0 then
    v_us := (extract(epoch from append_1.recorded_at) * 1000000)::bigint;
    with appended as (
      insert into cairn.events (
        tenant, position, recorded_at, stream_version, schema_version, stream_id, event_id, actor, command_id,
        type, request_hash, salt, leaf, metadata, payload)
      select p_tenant, append_1.head + e.n, append_1.recorded_at, e.version, e.schema, e.stream, e.id, e.actor,
        p_commands[e.unit], e.type, case when e.n = 1 or p_units[e.n - 1] <> e.unit then p_hashes[e.unit] end, e.salt,
        cairn.leaf_1(p_tenant, append_1.head + e.n, e.id, e.stream, e.version, e.type, e.schema, v_us, e.actor,
          p_commands[e.unit], e.salt, e.payload, e.metadata),
        e.metadata, e.payload
      from unnest(p_units, p_streams, p_versions, p_types, p_schemas, p_event_ids, p_actors, p_salts, p_metadata,
          p_payloads) with ordinality
        as e (unit, stream, version, type, schema, id, actor, salt, metadata, payload, n)
      returning position, leaf
    )
    select array_agg(a.leaf order by a.position) into append_1.leaves from appended a;
  end if;
  if v_count = 0 or cardinality(p_commands) > 1 then -- some unit may have no event: remember that it was done
    insert into cairn.empty_commands (
      tenant, command_id, request_hash, position, recorded_at, stream_id, stream_version)
    select p_tenant, p_commands[u], p_hashes[u], append_1.head + (select count(*) from unnest(p_units) e where e < u),
      append_1.recorded_at,
      p_check_streams[array_position(p_check_units, u)], p_check_versions[array_position(p_check_units, u)]
    from generate_subscripts(p_commands, 1) u
    where append_1.outcomes[u] = 0 and u <> all (p_units);
  end if;
end $$;
ALTER FUNCTION cairn.append_1(p_tenant uuid, p_commands uuid[], p_hashes bytea[], p_check_units integer[], p_check_streams uuid[], p_check_versions integer[], p_check_writes integer[], p_units integer[], p_streams uuid[], p_versions integer[], p_types text[], p_schemas smallint[], p_event_ids uuid[], p_actors uuid[], p_salts bytea[], p_metadata bytea[], p_payloads bytea[], OUT head bigint, OUT recorded_at timestamp with time zone, OUT epoch bigint, OUT leaves bytea[], OUT outcomes smallint[], OUT positions bigint[], OUT conflicts uuid[], OUT versions integer[]) OWNER TO cairn_owner;
CREATE FUNCTION cairn.append_many_1(p_tenant uuid, p_commands uuid[], p_hashes bytea[], p_streams uuid[], p_versions integer[], p_types text[], p_schemas smallint[], p_event_ids uuid[], p_actors uuid[], p_salts bytea[], p_metadata bytea[], p_payloads bytea[], p_reads uuid[], p_read_versions integer[]) RETURNS bytea
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    AS $$
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
ALTER FUNCTION cairn.append_many_1(p_tenant uuid, p_commands uuid[], p_hashes bytea[], p_streams uuid[], p_versions integer[], p_types text[], p_schemas smallint[], p_event_ids uuid[], p_actors uuid[], p_salts bytea[], p_metadata bytea[], p_payloads bytea[], p_reads uuid[], p_read_versions integer[]) OWNER TO cairn_owner;
CREATE FUNCTION cairn.append_one_1(p_tenant uuid, p_command uuid, p_hash bytea, p_stream uuid, p_version integer, p_type text, p_schema smallint, p_event_id uuid, p_actor uuid, p_salt bytea, p_metadata bytea, p_payload bytea, p_read uuid, p_read_version integer) RETURNS bytea
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    AS $$
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
ALTER FUNCTION cairn.append_one_1(p_tenant uuid, p_command uuid, p_hash bytea, p_stream uuid, p_version integer, p_type text, p_schema smallint, p_event_id uuid, p_actor uuid, p_salt bytea, p_metadata bytea, p_payload bytea, p_read uuid, p_read_version integer) OWNER TO cairn_owner;
CREATE FUNCTION cairn.begin_epoch_1(p_tenant uuid, p_after bigint, p_seen bigint, p_reason text) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
  v_clock timestamptz := clock_timestamp();
  v_epoch bigint;
begin
  perform set_config('cairn.tenant', p_tenant::text, true);
  update cairn.heads h
    set epoch = greatest((extract(epoch from v_clock) * 1000000)::bigint, h.epoch + 1, p_seen + 1)
    where h.tenant = p_tenant and h.position >= p_after
    returning h.epoch into v_epoch;
  if found then
    insert into cairn.epochs (tenant, epoch, after_position, reason) values (p_tenant, v_epoch, p_after, p_reason);
  end if;
  return v_epoch;
end $$;
ALTER FUNCTION cairn.begin_epoch_1(p_tenant uuid, p_after bigint, p_seen bigint, p_reason text) OWNER TO cairn_owner;
CREATE FUNCTION cairn.bound_tenant() RETURNS uuid
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN (NULLIF(current_setting('cairn.tenant'::text, true), ''::text))::uuid;
ALTER FUNCTION cairn.bound_tenant() OWNER TO cairn_owner;
CREATE FUNCTION cairn.dress_table_1(p_schema text, p_table text, p_append_only boolean, p_inline boolean) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
declare
  v_name text;
  v_names text[] := array[p_table];
begin
  if not p_append_only then
    v_names := v_names || array[p_table || '_now', p_table || '_past'];
    if to_regclass(format('%I.%I', p_schema, p_table || '_now')) is null then
      execute format('create table %1$I.%2$I partition of %1$I.%3$I for values from (9223372036854775807) to (maxvalue)',
        p_schema, p_table || '_now', p_table);
      execute format('create table %1$I.%2$I partition of %1$I.%3$I for values from (minvalue) to (9223372036854775807)',
        p_schema, p_table || '_past', p_table);
    end if;
  end if;
  foreach v_name in array v_names loop
    if not (select c.relforcerowsecurity from pg_class c
            where c.oid = to_regclass(format('%I.%I', p_schema, v_name))) then
      execute format('alter table %I.%I enable row level security', p_schema, v_name);
      execute format('alter table %I.%I force row level security', p_schema, v_name);
      execute format('create policy of_tenant on %I.%I using (tenant = cairn.bound_tenant()) '
        'with check (tenant = cairn.bound_tenant())', p_schema, v_name);
    end if;
  end loop;
  execute format('grant select on %I.%I to cairn_reader, cairn_writer', p_schema, p_table);
  if p_inline then
    execute format('grant insert, delete on %I.%I to cairn_writer', p_schema, p_table);
  end if;
end $_$;
ALTER FUNCTION cairn.dress_table_1(p_schema text, p_table text, p_append_only boolean, p_inline boolean) OWNER TO cairn_owner;
CREATE FUNCTION cairn.dress_table_2(p_schema text, p_table text, p_append_only boolean, p_inline boolean) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
declare
  v_name text;
  v_names text[] := array[p_table];
begin
  if not p_append_only then
    v_names := v_names || array[p_table || '_now', p_table || '_past'];
    if to_regclass(format('%I.%I', p_schema, p_table || '_now')) is null then
      execute format('create table %1$I.%2$I partition of %1$I.%3$I for values from (9223372036854775806) to (maxvalue)',
        p_schema, p_table || '_now', p_table);
      execute format('create table %1$I.%2$I partition of %1$I.%3$I for values from (minvalue) to (9223372036854775806)',
        p_schema, p_table || '_past', p_table);
    end if;
  end if;
  foreach v_name in array v_names loop
    if not (select c.relforcerowsecurity from pg_class c
            where c.oid = to_regclass(format('%I.%I', p_schema, v_name))) then
      execute format('alter table %I.%I enable row level security', p_schema, v_name);
      execute format('alter table %I.%I force row level security', p_schema, v_name);
      execute format('create policy of_tenant on %I.%I using (tenant = cairn.bound_tenant()) '
        'with check (tenant = cairn.bound_tenant())', p_schema, v_name);
    end if;
  end loop;
  execute format('grant select on %I.%I to cairn_reader, cairn_writer', p_schema, p_table);
  if p_inline then
    execute format('grant insert, delete on %I.%I to cairn_writer', p_schema, p_table);
  end if;
end $_$;
ALTER FUNCTION cairn.dress_table_2(p_schema text, p_table text, p_append_only boolean, p_inline boolean) OWNER TO cairn_owner;
CREATE FUNCTION cairn.erase_key_1(p_subject uuid, p_by uuid, p_reason text) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
  if not exists (
    select from cairn.events e
    where e.tenant = cairn.bound_tenant() and e.stream_id = p_subject and e.type = 'membership.forgotten'
  ) then
    raise exception using errcode = 'CA004', message = 'the log does not say that ' || p_subject || ' was forgotten';
  end if;
  delete from cairn.unique_digests d where d.tenant = cairn.bound_tenant() and d.subject = p_subject;
  insert into cairn.subject_keys as s (tenant, subject, erased_at, erased_by, reason)
    values (cairn.bound_tenant(), p_subject, clock_timestamp(), p_by, p_reason)
    on conflict (tenant, subject) do update
      set wrapped = null, number = null, erased_at = excluded.erased_at, erased_by = excluded.erased_by,
        reason = excluded.reason
      where s.wrapped is not null;
  return found;
end $$;
ALTER FUNCTION cairn.erase_key_1(p_subject uuid, p_by uuid, p_reason text) OWNER TO cairn_owner;
CREATE FUNCTION cairn.heartbeat_1(p_owner uuid, p_scopes text[], p_slices integer, p_lease interval) RETURNS TABLE(held_scope text, held_slice smallint)
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
  v_now timestamptz := clock_timestamp();
  v_until timestamptz := v_now + p_lease;
  v_scope text;
  v_alive integer;
  v_share integer;
  v_held integer;
begin
  foreach v_scope in array p_scopes loop
    perform pg_advisory_xact_lock(7203053, hashtext(v_scope)); -- one heartbeat at a time makes the shares exact
    insert into cairn.projectors as p (scope, owner, seen_at) values (v_scope, p_owner, v_now)
      on conflict (scope, owner) do update set seen_at = excluded.seen_at;
    delete from cairn.projectors p where p.scope = v_scope and p.seen_at < v_now - p_lease;
    insert into cairn.leases (scope, slice, until)
      select v_scope, s, '-infinity' from generate_series(0, p_slices - 1) s
      where not exists (select from cairn.leases l where l.scope = v_scope)
      on conflict do nothing;
    select count(*) into v_alive from cairn.projectors p where p.scope = v_scope;
    -- The first processes by id hold one more when it does not divide.
    select p_slices / v_alive + case when r.rank <= p_slices % v_alive then 1 else 0 end into v_share
      from (select p.owner, row_number() over (order by p.owner) as rank from cairn.projectors p
            where p.scope = v_scope) r
      where r.owner = p_owner;
    update cairn.leases l set until = v_until where l.scope = v_scope and l.owner = p_owner;
    get diagnostics v_held = row_count;
    if v_held > v_share then
      update cairn.leases l set owner = null, until = '-infinity' where l.scope = v_scope and l.slice in (
        select h.slice from cairn.leases h where h.scope = v_scope and h.owner = p_owner
        order by h.slice desc limit v_held - v_share);
    elsif v_held < v_share then
      update cairn.leases l set owner = p_owner, until = v_until where l.scope = v_scope and l.slice in (
        select h.slice from cairn.leases h where h.scope = v_scope and h.until < v_now
        order by h.slice limit v_share - v_held);
    end if;
    return query select l.scope, l.slice from cairn.leases l where l.scope = v_scope and l.owner = p_owner;
  end loop;
end $$;
ALTER FUNCTION cairn.heartbeat_1(p_owner uuid, p_scopes text[], p_slices integer, p_lease interval) OWNER TO cairn_owner;
CREATE FUNCTION cairn.identity() RETURNS text
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    RETURN (((((SELECT (s.system_identifier)::text AS system_identifier FROM pg_control_system() s(pg_control_version, catalog_version_no, system_identifier, pg_control_last_modified)) || '/'::text) || (SELECT (c.timeline_id)::text AS timeline_id FROM pg_control_checkpoint() c(checkpoint_lsn, redo_lsn, redo_wal_file, timeline_id, prev_timeline_id, full_page_writes, next_xid, next_oid, next_multixact_id, next_multi_offset, oldest_xid, oldest_xid_dbid, oldest_active_xid, oldest_multi_xid, oldest_multi_dbid, oldest_commit_ts_xid, newest_commit_ts_xid, checkpoint_time))) || '/'::text) || (SELECT (d.oid)::text AS oid FROM pg_database d WHERE (d.datname = current_database())));
ALTER FUNCTION cairn.identity() OWNER TO cairn_owner;
CREATE FUNCTION cairn.judge_1(p_tenant uuid, p_commands uuid[], p_hashes bytea[], p_check_units integer[], p_check_streams uuid[], p_check_versions integer[], p_check_writes integer[], OUT outcomes smallint[], OUT positions bigint[], OUT conflicts uuid[], OUT versions integer[]) RETURNS record
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
  v_ahead jsonb := '{}'; -- stream -> its version once the units judged good so far are appended
  v_actual integer;
  v_position bigint;
  v_hash bytea;
begin
  outcomes := array_fill(0::smallint, array[cardinality(p_commands)]);
  positions := array_fill(null::bigint, array[cardinality(p_commands)]);
  conflicts := array_fill(null::uuid, array[cardinality(p_commands)]);
  versions := array_fill(null::integer, array[cardinality(p_commands)]);
  for i in 1 .. cardinality(p_commands) loop
    select d.position, d.request_hash into v_position, v_hash from (
      select e.position, e.request_hash from cairn.events e
        where e.tenant = p_tenant and e.command_id = p_commands[i] and e.request_hash is not null
      union all
      select c.position, c.request_hash from cairn.empty_commands c
        where c.tenant = p_tenant and c.command_id = p_commands[i]) d;
    if found then
      outcomes[i] := case when v_hash = p_hashes[i] then 1 else 3 end;
      positions[i] := v_position;
      continue;
    end if;
    if p_commands[i] = any (p_commands[:i - 1]) then
      outcomes[i] := 2; -- the same command twice in a batch: the second is to ask again
      continue;
    end if;
    for j in 1 .. cardinality(p_check_units) loop
      continue when p_check_units[j] <> i;
      v_actual := coalesce((v_ahead ->> p_check_streams[j]::text)::integer, (
        select e.stream_version from cairn.events e
        where e.tenant = p_tenant and e.stream_id = p_check_streams[j] order by e.stream_version desc limit 1), 0);
      if v_actual <> p_check_versions[j] then
        outcomes[i] := 2;
        conflicts[i] := p_check_streams[j];
        versions[i] := v_actual;
        exit;
      end if;
    end loop;
    if outcomes[i] = 0 then
      for j in 1 .. cardinality(p_check_units) loop
        continue when p_check_units[j] <> i;
        v_ahead := jsonb_set(v_ahead, array[p_check_streams[j]::text],
          to_jsonb(p_check_versions[j] + p_check_writes[j]));
      end loop;
    end if;
  end loop;
end $$;
ALTER FUNCTION cairn.judge_1(p_tenant uuid, p_commands uuid[], p_hashes bytea[], p_check_units integer[], p_check_streams uuid[], p_check_versions integer[], p_check_writes integer[], OUT outcomes smallint[], OUT positions bigint[], OUT conflicts uuid[], OUT versions integer[]) OWNER TO cairn_owner;
CREATE TABLE cairn.tenant_keys (
    tenant uuid NOT NULL,
    number integer NOT NULL,
    kek text NOT NULL,
    wrapped bytea NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT tenant_keys_number_check CHECK ((number > 0))
);
ALTER TABLE ONLY cairn.tenant_keys FORCE ROW LEVEL SECURITY;
ALTER TABLE cairn.tenant_keys OWNER TO cairn_owner;
CREATE FUNCTION cairn.keks_in_use_1() RETURNS SETOF text
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    BEGIN ATOMIC
 SELECT DISTINCT k.kek
    FROM cairn.tenant_keys k;
END;
ALTER FUNCTION cairn.keks_in_use_1() OWNER TO cairn_owner;
CREATE FUNCTION cairn.leaf_1(tenant uuid, pos bigint, event_id uuid, stream_id uuid, stream_version integer, type text, schema_version smallint, recorded_us bigint, actor uuid, command_id uuid, salt bytea, payload bytea, metadata bytea) RETURNS bytea
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN sha256(((((((((((((('\x0001'::bytea || uuid_send(tenant)) || int8send(pos)) || uuid_send(event_id)) || uuid_send(stream_id)) || int4send(stream_version)) || int2send((octet_length(type))::smallint)) || convert_to(type, 'UTF8'::name)) || int2send(schema_version)) || int8send(recorded_us)) || uuid_send(actor)) || uuid_send(command_id)) || sha256((substr(sha256((salt || '\x01'::bytea)), 1, 16) || payload))) || sha256((substr(sha256((salt || '\x02'::bytea)), 1, 16) || metadata))));
ALTER FUNCTION cairn.leaf_1(tenant uuid, pos bigint, event_id uuid, stream_id uuid, stream_version integer, type text, schema_version smallint, recorded_us bigint, actor uuid, command_id uuid, salt bytea, payload bytea, metadata bytea) OWNER TO cairn_owner;
CREATE FUNCTION cairn.open_incarnation_1() RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
  v_identity text := cairn.identity();
  v_epoch bigint := (extract(epoch from clock_timestamp()) * 1000000)::bigint;
  v_last text;
begin
  if pg_is_in_recovery() then -- its timeline is not decided yet: who opened it now would miss the new epoch
    raise exception using errcode = 'CA003', message = 'the database is still recovering';
  end if;
  perform pg_advisory_xact_lock(7203052);
  select i.identity into v_last from cairn.incarnation i;
  if v_last = v_identity then
    return false;
  end if;
  insert into cairn.incarnation (identity) values (v_identity)
    on conflict (one) do update set identity = excluded.identity;
  if v_last is null then
    return false;
  end if;
  with bumped as (
    update cairn.heads h set epoch = greatest(v_epoch, h.epoch + 1) returning h.tenant, h.epoch, h.position
  )
  insert into cairn.epochs (tenant, epoch, after_position, reason)
    select b.tenant, b.epoch, b.position, 'restored: ' || v_last || ' became ' || v_identity from bumped b;
  return true;
end $$;
ALTER FUNCTION cairn.open_incarnation_1() OWNER TO cairn_owner;
CREATE FUNCTION cairn.open_log(p_tenant uuid) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
  v_now timestamptz := clock_timestamp();
  v_epoch bigint := (extract(epoch from v_now) * 1000000)::bigint;
begin
  insert into cairn.heads (tenant, position, epoch, recorded_at) values (p_tenant, 0, v_epoch, v_now)
    on conflict (tenant) do nothing;
  if found then
    insert into cairn.epochs (tenant, epoch, after_position, reason) values (p_tenant, v_epoch, 0, 'opened');
  end if;
end $$;
ALTER FUNCTION cairn.open_log(p_tenant uuid) OWNER TO cairn_owner;
CREATE FUNCTION cairn.position_at(p_tenant uuid, p_instant timestamp with time zone) RETURNS bigint
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
  v_low bigint := 0;
  v_high bigint := coalesce((select h.position from cairn.heads h where h.tenant = p_tenant), 0);
  v_middle bigint;
begin
  while v_low < v_high loop
    v_middle := (v_low + v_high + 1) / 2;
    if (select e.recorded_at from cairn.events e where e.tenant = p_tenant and e.position = v_middle) <= p_instant then
      v_low := v_middle;
    else
      v_high := v_middle - 1;
    end if;
  end loop;
  return v_low;
end $$;
ALTER FUNCTION cairn.position_at(p_tenant uuid, p_instant timestamp with time zone) OWNER TO cairn_owner;
CREATE FUNCTION cairn.refuse_change() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
  raise exception using errcode = 'CA001', message = 'the log is append-only: ' || tg_op || ' on ' || tg_table_name;
end $$;
ALTER FUNCTION cairn.refuse_change() OWNER TO cairn_owner;
CREATE FUNCTION cairn.rewrap_keys_1(p_number integer, p_kek text, p_wrapped bytea, p_subjects uuid[], p_keys bytea[]) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
  v_tenant uuid := cairn.bound_tenant();
begin
  perform from cairn.tenant_keys k where k.tenant = v_tenant for update;
  if p_number is distinct from (select max(k.number) from cairn.tenant_keys k where k.tenant = v_tenant) then
    return false;
  end if;
  perform from cairn.subject_keys s where s.tenant = v_tenant for update;
  if exists (
    select from (select s.subject from cairn.subject_keys s where s.tenant = v_tenant and s.wrapped is not null) s
    full join unnest(p_subjects) as g (subject) on g.subject = s.subject
    where g.subject is null or s.subject is null
  ) then
    return false;
  end if;
  insert into cairn.tenant_keys (tenant, number, kek, wrapped) values (v_tenant, p_number + 1, p_kek, p_wrapped);
  update cairn.subject_keys s set number = p_number + 1, wrapped = g.wrapped
    from unnest(p_subjects, p_keys) as g (subject, wrapped)
    where s.tenant = v_tenant and s.subject = g.subject;
  delete from cairn.tenant_keys k where k.tenant = v_tenant and k.number <= p_number;
  return true;
end $$;
ALTER FUNCTION cairn.rewrap_keys_1(p_number integer, p_kek text, p_wrapped bytea, p_subjects uuid[], p_keys bytea[]) OWNER TO cairn_owner;
CREATE TABLE cairn.builds (
    model text NOT NULL,
    build integer NOT NULL,
    version integer NOT NULL,
    schema_name text NOT NULL,
    table_names text[] NOT NULL,
    state text NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    switched_at timestamp with time zone,
    CONSTRAINT builds_build_check CHECK ((build > 0)),
    CONSTRAINT builds_state_check CHECK ((state = ANY (ARRAY['building'::text, 'rebuilding'::text, 'scratch'::text, 'live'::text, 'kept'::text])))
);
ALTER TABLE cairn.builds OWNER TO cairn_owner;
CREATE TABLE cairn.checkpoints (
    tenant uuid NOT NULL,
    model text NOT NULL,
    build integer NOT NULL,
    "position" bigint NOT NULL,
    owner uuid NOT NULL,
    parked integer DEFAULT 0 NOT NULL,
    CONSTRAINT checkpoints_parked_check CHECK ((parked >= 0)),
    CONSTRAINT checkpoints_position_check CHECK (("position" >= 0))
)
WITH (fillfactor='50');
ALTER TABLE ONLY cairn.checkpoints FORCE ROW LEVEL SECURITY;
ALTER TABLE cairn.checkpoints OWNER TO cairn_owner;
CREATE TABLE cairn.deliveries (
    tenant uuid NOT NULL,
    model text NOT NULL,
    build integer NOT NULL,
    range bigint NOT NULL,
    handled bigint DEFAULT 0 NOT NULL,
    handled_xor bigint DEFAULT 0 NOT NULL,
    ignored bigint DEFAULT 0 NOT NULL,
    ignored_xor bigint DEFAULT 0 NOT NULL,
    parked bigint DEFAULT 0 NOT NULL,
    parked_xor bigint DEFAULT 0 NOT NULL,
    skipped bigint DEFAULT 0 NOT NULL,
    skipped_xor bigint DEFAULT 0 NOT NULL
)
WITH (fillfactor='70');
ALTER TABLE ONLY cairn.deliveries FORCE ROW LEVEL SECURITY;
ALTER TABLE cairn.deliveries OWNER TO cairn_owner;
CREATE TABLE cairn.empty_commands (
    tenant uuid NOT NULL,
    command_id uuid NOT NULL,
    request_hash bytea NOT NULL,
    "position" bigint NOT NULL,
    recorded_at timestamp with time zone NOT NULL,
    stream_id uuid NOT NULL,
    stream_version integer NOT NULL
);
ALTER TABLE ONLY cairn.empty_commands FORCE ROW LEVEL SECURITY;
ALTER TABLE cairn.empty_commands OWNER TO cairn_owner;
CREATE TABLE cairn.epochs (
    tenant uuid NOT NULL,
    epoch bigint NOT NULL,
    after_position bigint NOT NULL,
    reason text NOT NULL
);
ALTER TABLE ONLY cairn.epochs FORCE ROW LEVEL SECURITY;
ALTER TABLE cairn.epochs OWNER TO cairn_owner;
CREATE TABLE cairn.events (
    tenant uuid NOT NULL,
    "position" bigint NOT NULL,
    recorded_at timestamp with time zone NOT NULL,
    stream_version integer NOT NULL,
    schema_version smallint NOT NULL,
    stream_id uuid NOT NULL,
    event_id uuid NOT NULL,
    actor uuid NOT NULL,
    command_id uuid NOT NULL,
    type text NOT NULL,
    request_hash bytea,
    salt bytea NOT NULL,
    leaf bytea NOT NULL,
    metadata bytea NOT NULL,
    payload bytea NOT NULL,
    CONSTRAINT events_position_check CHECK (("position" > 0)),
    CONSTRAINT events_stream_version_check CHECK ((stream_version > 0))
);
ALTER TABLE ONLY cairn.events ALTER COLUMN metadata SET STORAGE MAIN;
ALTER TABLE ONLY cairn.events ALTER COLUMN payload SET STORAGE MAIN;
ALTER TABLE ONLY cairn.events FORCE ROW LEVEL SECURITY;
ALTER TABLE cairn.events OWNER TO cairn_owner;
CREATE TABLE cairn.heads (
    tenant uuid NOT NULL,
    "position" bigint NOT NULL,
    epoch bigint NOT NULL,
    recorded_at timestamp with time zone NOT NULL,
    CONSTRAINT heads_position_check CHECK (("position" >= 0))
)
WITH (fillfactor='50');
ALTER TABLE ONLY cairn.heads FORCE ROW LEVEL SECURITY;
ALTER TABLE cairn.heads OWNER TO cairn_owner;
CREATE TABLE cairn.incarnation (
    one boolean DEFAULT true NOT NULL,
    identity text NOT NULL,
    CONSTRAINT incarnation_one_check CHECK (one)
);
ALTER TABLE cairn.incarnation OWNER TO cairn_owner;
CREATE TABLE cairn.last_active (
    tenant uuid NOT NULL,
    member_id uuid NOT NULL,
    active_at timestamp with time zone NOT NULL
)
WITH (fillfactor='50');
ALTER TABLE ONLY cairn.last_active FORCE ROW LEVEL SECURITY;
ALTER TABLE cairn.last_active OWNER TO cairn_owner;
CREATE TABLE cairn.leases (
    scope text NOT NULL,
    slice smallint NOT NULL,
    owner uuid,
    until timestamp with time zone NOT NULL
);
ALTER TABLE cairn.leases OWNER TO cairn_owner;
CREATE VIEW cairn.log WITH (security_invoker='true') AS
 SELECT e.tenant,
    e."position",
    ( SELECT max(p.epoch) AS max
           FROM cairn.epochs p
          WHERE ((p.tenant = e.tenant) AND (p.after_position < e."position"))) AS epoch,
    e.recorded_at,
    e.event_id,
    e.stream_id,
    e.stream_version,
    e.type,
    e.schema_version,
    e.actor,
    e.command_id,
    COALESCE(((m.metadata ->> 'correlation_id'::text))::uuid, e.command_id) AS correlation_id,
    ((m.metadata ->> 'causation_id'::text))::uuid AS causation_id,
    (convert_from(e.payload, 'UTF8'::name))::jsonb AS payload,
    m.metadata,
    e.leaf
   FROM (cairn.events e
     CROSS JOIN LATERAL ( SELECT (convert_from(e.metadata, 'UTF8'::name))::jsonb AS metadata) m);
ALTER VIEW cairn.log OWNER TO cairn_owner;
CREATE TABLE cairn.operations (
    tenant uuid NOT NULL,
    operation_id uuid NOT NULL,
    kind text NOT NULL,
    owner uuid NOT NULL,
    until timestamp with time zone NOT NULL,
    attempts integer NOT NULL,
    done bigint NOT NULL,
    total bigint NOT NULL,
    updated_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT operations_attempts_check CHECK ((attempts >= 0)),
    CONSTRAINT operations_check CHECK ((total >= done)),
    CONSTRAINT operations_done_check CHECK ((done >= 0))
)
WITH (fillfactor='50');
ALTER TABLE ONLY cairn.operations FORCE ROW LEVEL SECURITY;
ALTER TABLE cairn.operations OWNER TO cairn_owner;
CREATE TABLE cairn.parked (
    tenant uuid NOT NULL,
    model text NOT NULL,
    build integer NOT NULL,
    "position" bigint NOT NULL,
    key text NOT NULL,
    type text NOT NULL,
    error text,
    since timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    skipped_at timestamp with time zone,
    skipped_by uuid,
    reason text
);
ALTER TABLE ONLY cairn.parked FORCE ROW LEVEL SECURITY;
ALTER TABLE cairn.parked OWNER TO cairn_owner;
CREATE TABLE cairn.projectors (
    scope text NOT NULL,
    owner uuid NOT NULL,
    seen_at timestamp with time zone NOT NULL
);
ALTER TABLE cairn.projectors OWNER TO cairn_owner;
CREATE TABLE cairn.published (
    tenant uuid NOT NULL,
    epoch bigint NOT NULL,
    "position" bigint NOT NULL,
    stream_created timestamp with time zone NOT NULL,
    sequence bigint NOT NULL
)
WITH (fillfactor='50');
ALTER TABLE ONLY cairn.published FORCE ROW LEVEL SECURITY;
ALTER TABLE cairn.published OWNER TO cairn_owner;
CREATE TABLE cairn.relay_lease (
    one boolean DEFAULT true NOT NULL,
    owner uuid,
    fence bigint DEFAULT 0 NOT NULL,
    until timestamp with time zone DEFAULT '-infinity'::timestamp with time zone NOT NULL,
    CONSTRAINT relay_lease_one_check CHECK (one)
);
ALTER TABLE cairn.relay_lease OWNER TO cairn_owner;
CREATE TABLE cairn.republications (
    tenant uuid NOT NULL,
    id uuid NOT NULL,
    after_position bigint NOT NULL,
    to_position bigint NOT NULL,
    done_position bigint NOT NULL,
    asked_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    done_at timestamp with time zone,
    CONSTRAINT republications_after_position_check CHECK ((after_position >= 0)),
    CONSTRAINT republications_check CHECK ((to_position > after_position))
);
ALTER TABLE ONLY cairn.republications FORCE ROW LEVEL SECURITY;
ALTER TABLE cairn.republications OWNER TO cairn_owner;
CREATE TABLE cairn.snapshots (
    tenant uuid NOT NULL,
    stream_id uuid NOT NULL,
    stream_version integer NOT NULL,
    fingerprint bytea NOT NULL,
    state bytea NOT NULL
);
ALTER TABLE ONLY cairn.snapshots FORCE ROW LEVEL SECURITY;
ALTER TABLE cairn.snapshots OWNER TO cairn_owner;
CREATE TABLE cairn.subject_keys (
    tenant uuid NOT NULL,
    subject uuid NOT NULL,
    number integer,
    wrapped bytea,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    erased_at timestamp with time zone,
    erased_by uuid,
    reason text,
    CONSTRAINT subject_keys_check CHECK ((((wrapped IS NULL) = (erased_at IS NOT NULL)) AND ((wrapped IS NULL) = (number IS NULL))))
);
ALTER TABLE ONLY cairn.subject_keys FORCE ROW LEVEL SECURITY;
ALTER TABLE cairn.subject_keys OWNER TO cairn_owner;
CREATE TABLE cairn.unique_digests (
    tenant uuid NOT NULL,
    field text NOT NULL,
    digest bytea NOT NULL,
    subject uuid NOT NULL
);
ALTER TABLE ONLY cairn.unique_digests FORCE ROW LEVEL SECURITY;
ALTER TABLE cairn.unique_digests OWNER TO cairn_owner;
CREATE TABLE cairn.workers (
    id uuid NOT NULL,
    kind text NOT NULL,
    host text NOT NULL,
    started_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    beat_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    moved_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    waiting boolean DEFAULT false NOT NULL,
    detail text DEFAULT ''::text NOT NULL
)
WITH (fillfactor='50');
ALTER TABLE cairn.workers OWNER TO cairn_owner;
CREATE TABLE public.alembic_version (
    version_num character varying(32) NOT NULL
);
ALTER TABLE public.alembic_version OWNER TO postgres;
ALTER TABLE ONLY cairn.builds
    ADD CONSTRAINT builds_pkey PRIMARY KEY (model, build);
ALTER TABLE ONLY cairn.builds
    ADD CONSTRAINT builds_schema_name_key UNIQUE (schema_name);
ALTER TABLE ONLY cairn.checkpoints
    ADD CONSTRAINT checkpoints_pkey PRIMARY KEY (tenant, model, build);
ALTER TABLE ONLY cairn.deliveries
    ADD CONSTRAINT deliveries_pkey PRIMARY KEY (tenant, model, build, range);
ALTER TABLE ONLY cairn.empty_commands
    ADD CONSTRAINT empty_commands_pkey PRIMARY KEY (tenant, command_id);
ALTER TABLE ONLY cairn.epochs
    ADD CONSTRAINT epochs_pkey PRIMARY KEY (tenant, epoch);
ALTER TABLE ONLY cairn.events
    ADD CONSTRAINT events_pkey PRIMARY KEY (tenant, "position");
ALTER TABLE ONLY cairn.events
    ADD CONSTRAINT events_tenant_stream_id_stream_version_key UNIQUE (tenant, stream_id, stream_version);
ALTER TABLE ONLY cairn.heads
    ADD CONSTRAINT heads_pkey PRIMARY KEY (tenant);
ALTER TABLE ONLY cairn.incarnation
    ADD CONSTRAINT incarnation_pkey PRIMARY KEY (one);
ALTER TABLE ONLY cairn.last_active
    ADD CONSTRAINT last_active_pkey PRIMARY KEY (tenant, member_id);
ALTER TABLE ONLY cairn.leases
    ADD CONSTRAINT leases_pkey PRIMARY KEY (scope, slice);
ALTER TABLE ONLY cairn.operations
    ADD CONSTRAINT operations_pkey PRIMARY KEY (tenant, operation_id);
ALTER TABLE ONLY cairn.parked
    ADD CONSTRAINT parked_pkey PRIMARY KEY (tenant, model, build, "position");
ALTER TABLE ONLY cairn.projectors
    ADD CONSTRAINT projectors_pkey PRIMARY KEY (scope, owner);
ALTER TABLE ONLY cairn.published
    ADD CONSTRAINT published_pkey PRIMARY KEY (tenant);
ALTER TABLE ONLY cairn.relay_lease
    ADD CONSTRAINT relay_lease_pkey PRIMARY KEY (one);
ALTER TABLE ONLY cairn.republications
    ADD CONSTRAINT republications_pkey PRIMARY KEY (tenant, id);
ALTER TABLE ONLY cairn.snapshots
    ADD CONSTRAINT snapshots_pkey PRIMARY KEY (tenant, stream_id);
ALTER TABLE ONLY cairn.subject_keys
    ADD CONSTRAINT subject_keys_pkey PRIMARY KEY (tenant, subject);
ALTER TABLE ONLY cairn.tenant_keys
    ADD CONSTRAINT tenant_keys_pkey PRIMARY KEY (tenant, number);
ALTER TABLE ONLY cairn.unique_digests
    ADD CONSTRAINT unique_digests_pkey PRIMARY KEY (tenant, field, digest);
ALTER TABLE ONLY cairn.workers
    ADD CONSTRAINT workers_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);
CREATE UNIQUE INDEX builds_live ON cairn.builds USING btree (model) WHERE (state = 'live'::text);
CREATE UNIQUE INDEX events_command ON cairn.events USING btree (tenant, command_id) WHERE (request_hash IS NOT NULL);
CREATE INDEX operations_age ON cairn.operations USING btree (updated_at);
CREATE INDEX parked_key ON cairn.parked USING btree (tenant, model, build, key, "position") WHERE (skipped_at IS NULL);
CREATE INDEX republications_open ON cairn.republications USING btree (asked_at) WHERE (done_at IS NULL);
CREATE INDEX subject_keys_number ON cairn.subject_keys USING btree (tenant, number);
CREATE INDEX unique_digests_subject ON cairn.unique_digests USING btree (tenant, subject);
CREATE TRIGGER append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON cairn.empty_commands FOR EACH STATEMENT EXECUTE FUNCTION cairn.refuse_change();
CREATE TRIGGER append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON cairn.events FOR EACH STATEMENT EXECUTE FUNCTION cairn.refuse_change();
ALTER TABLE ONLY cairn.subject_keys
    ADD CONSTRAINT subject_keys_tenant_number_fkey FOREIGN KEY (tenant, number) REFERENCES cairn.tenant_keys(tenant, number);
ALTER TABLE cairn.checkpoints ENABLE ROW LEVEL SECURITY;
ALTER TABLE cairn.deliveries ENABLE ROW LEVEL SECURITY;
ALTER TABLE cairn.empty_commands ENABLE ROW LEVEL SECURITY;
ALTER TABLE cairn.epochs ENABLE ROW LEVEL SECURITY;
ALTER TABLE cairn.events ENABLE ROW LEVEL SECURITY;
CREATE POLICY every_checkpoint ON cairn.checkpoints FOR SELECT TO cairn_projector USING (true);
CREATE POLICY every_company ON cairn.operations TO cairn_projector USING (true) WITH CHECK (true);
CREATE POLICY every_company ON cairn.published TO cairn_projector USING (true) WITH CHECK (true);
CREATE POLICY every_company ON cairn.republications TO cairn_projector USING (true) WITH CHECK (true);
CREATE POLICY every_epoch ON cairn.epochs FOR SELECT TO cairn_projector USING (true);
CREATE POLICY every_head ON cairn.heads FOR SELECT TO cairn_projector USING (true);
CREATE POLICY every_parked ON cairn.parked FOR SELECT TO cairn_projector USING (true);
ALTER TABLE cairn.heads ENABLE ROW LEVEL SECURITY;
ALTER TABLE cairn.last_active ENABLE ROW LEVEL SECURITY;
CREATE POLICY of_tenant ON cairn.checkpoints USING ((tenant = cairn.bound_tenant())) WITH CHECK ((tenant = cairn.bound_tenant()));
CREATE POLICY of_tenant ON cairn.deliveries USING ((tenant = cairn.bound_tenant())) WITH CHECK ((tenant = cairn.bound_tenant()));
CREATE POLICY of_tenant ON cairn.empty_commands USING ((tenant = cairn.bound_tenant())) WITH CHECK ((tenant = cairn.bound_tenant()));
CREATE POLICY of_tenant ON cairn.epochs USING ((tenant = cairn.bound_tenant())) WITH CHECK ((tenant = cairn.bound_tenant()));
CREATE POLICY of_tenant ON cairn.events USING ((tenant = cairn.bound_tenant())) WITH CHECK ((tenant = cairn.bound_tenant()));
CREATE POLICY of_tenant ON cairn.heads USING ((tenant = cairn.bound_tenant())) WITH CHECK ((tenant = cairn.bound_tenant()));
CREATE POLICY of_tenant ON cairn.last_active USING ((tenant = cairn.bound_tenant())) WITH CHECK ((tenant = cairn.bound_tenant()));
CREATE POLICY of_tenant ON cairn.operations USING ((tenant = cairn.bound_tenant())) WITH CHECK ((tenant = cairn.bound_tenant()));
CREATE POLICY of_tenant ON cairn.parked USING ((tenant = cairn.bound_tenant())) WITH CHECK ((tenant = cairn.bound_tenant()));
CREATE POLICY of_tenant ON cairn.published USING ((tenant = cairn.bound_tenant())) WITH CHECK ((tenant = cairn.bound_tenant()));
CREATE POLICY of_tenant ON cairn.republications USING ((tenant = cairn.bound_tenant())) WITH CHECK ((tenant = cairn.bound_tenant()));
CREATE POLICY of_tenant ON cairn.snapshots USING ((tenant = cairn.bound_tenant())) WITH CHECK ((tenant = cairn.bound_tenant()));
CREATE POLICY of_tenant ON cairn.subject_keys USING ((tenant = cairn.bound_tenant())) WITH CHECK ((tenant = cairn.bound_tenant()));
CREATE POLICY of_tenant ON cairn.tenant_keys USING ((tenant = cairn.bound_tenant())) WITH CHECK ((tenant = cairn.bound_tenant()));
CREATE POLICY of_tenant ON cairn.unique_digests USING ((tenant = cairn.bound_tenant())) WITH CHECK ((tenant = cairn.bound_tenant()));
ALTER TABLE cairn.operations ENABLE ROW LEVEL SECURITY;
CREATE POLICY owner_epochs ON cairn.epochs TO cairn_owner USING (true) WITH CHECK (true);
CREATE POLICY owner_heads ON cairn.heads TO cairn_owner USING (true) WITH CHECK (true);
CREATE POLICY owner_tenant_keys ON cairn.tenant_keys FOR SELECT TO cairn_owner USING (true);
ALTER TABLE cairn.parked ENABLE ROW LEVEL SECURITY;
ALTER TABLE cairn.published ENABLE ROW LEVEL SECURITY;
ALTER TABLE cairn.republications ENABLE ROW LEVEL SECURITY;
ALTER TABLE cairn.snapshots ENABLE ROW LEVEL SECURITY;
ALTER TABLE cairn.subject_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE cairn.tenant_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE cairn.unique_digests ENABLE ROW LEVEL SECURITY;
GRANT USAGE ON SCHEMA cairn TO cairn_writer;
GRANT USAGE ON SCHEMA cairn TO cairn_projector;
GRANT USAGE ON SCHEMA cairn TO cairn_reader;
GRANT USAGE ON SCHEMA read TO cairn_writer;
GRANT ALL ON SCHEMA read TO cairn_projector;
GRANT USAGE ON SCHEMA read TO cairn_reader;
REVOKE ALL ON FUNCTION cairn.append_1(p_tenant uuid, p_commands uuid[], p_hashes bytea[], p_check_units integer[], p_check_streams uuid[], p_check_versions integer[], p_check_writes integer[], p_units integer[], p_streams uuid[], p_versions integer[], p_types text[], p_schemas smallint[], p_event_ids uuid[], p_actors uuid[], p_salts bytea[], p_metadata bytea[], p_payloads bytea[], OUT head bigint, OUT recorded_at timestamp with time zone, OUT epoch bigint, OUT leaves bytea[], OUT outcomes smallint[], OUT positions bigint[], OUT conflicts uuid[], OUT versions integer[]) FROM PUBLIC;
GRANT ALL ON FUNCTION cairn.append_1(p_tenant uuid, p_commands uuid[], p_hashes bytea[], p_check_units integer[], p_check_streams uuid[], p_check_versions integer[], p_check_writes integer[], p_units integer[], p_streams uuid[], p_versions integer[], p_types text[], p_schemas smallint[], p_event_ids uuid[], p_actors uuid[], p_salts bytea[], p_metadata bytea[], p_payloads bytea[], OUT head bigint, OUT recorded_at timestamp with time zone, OUT epoch bigint, OUT leaves bytea[], OUT outcomes smallint[], OUT positions bigint[], OUT conflicts uuid[], OUT versions integer[]) TO cairn_writer;
REVOKE ALL ON FUNCTION cairn.append_many_1(p_tenant uuid, p_commands uuid[], p_hashes bytea[], p_streams uuid[], p_versions integer[], p_types text[], p_schemas smallint[], p_event_ids uuid[], p_actors uuid[], p_salts bytea[], p_metadata bytea[], p_payloads bytea[], p_reads uuid[], p_read_versions integer[]) FROM PUBLIC;
GRANT ALL ON FUNCTION cairn.append_many_1(p_tenant uuid, p_commands uuid[], p_hashes bytea[], p_streams uuid[], p_versions integer[], p_types text[], p_schemas smallint[], p_event_ids uuid[], p_actors uuid[], p_salts bytea[], p_metadata bytea[], p_payloads bytea[], p_reads uuid[], p_read_versions integer[]) TO cairn_writer;
REVOKE ALL ON FUNCTION cairn.append_one_1(p_tenant uuid, p_command uuid, p_hash bytea, p_stream uuid, p_version integer, p_type text, p_schema smallint, p_event_id uuid, p_actor uuid, p_salt bytea, p_metadata bytea, p_payload bytea, p_read uuid, p_read_version integer) FROM PUBLIC;
GRANT ALL ON FUNCTION cairn.append_one_1(p_tenant uuid, p_command uuid, p_hash bytea, p_stream uuid, p_version integer, p_type text, p_schema smallint, p_event_id uuid, p_actor uuid, p_salt bytea, p_metadata bytea, p_payload bytea, p_read uuid, p_read_version integer) TO cairn_writer;
REVOKE ALL ON FUNCTION cairn.begin_epoch_1(p_tenant uuid, p_after bigint, p_seen bigint, p_reason text) FROM PUBLIC;
GRANT ALL ON FUNCTION cairn.begin_epoch_1(p_tenant uuid, p_after bigint, p_seen bigint, p_reason text) TO cairn_projector;
REVOKE ALL ON FUNCTION cairn.bound_tenant() FROM PUBLIC;
GRANT ALL ON FUNCTION cairn.bound_tenant() TO cairn_writer;
GRANT ALL ON FUNCTION cairn.bound_tenant() TO cairn_projector;
GRANT ALL ON FUNCTION cairn.bound_tenant() TO cairn_reader;
REVOKE ALL ON FUNCTION cairn.dress_table_1(p_schema text, p_table text, p_append_only boolean, p_inline boolean) FROM PUBLIC;
GRANT ALL ON FUNCTION cairn.dress_table_1(p_schema text, p_table text, p_append_only boolean, p_inline boolean) TO cairn_projector;
REVOKE ALL ON FUNCTION cairn.dress_table_2(p_schema text, p_table text, p_append_only boolean, p_inline boolean) FROM PUBLIC;
GRANT ALL ON FUNCTION cairn.dress_table_2(p_schema text, p_table text, p_append_only boolean, p_inline boolean) TO cairn_projector;
REVOKE ALL ON FUNCTION cairn.erase_key_1(p_subject uuid, p_by uuid, p_reason text) FROM PUBLIC;
GRANT ALL ON FUNCTION cairn.erase_key_1(p_subject uuid, p_by uuid, p_reason text) TO cairn_writer;
REVOKE ALL ON FUNCTION cairn.heartbeat_1(p_owner uuid, p_scopes text[], p_slices integer, p_lease interval) FROM PUBLIC;
GRANT ALL ON FUNCTION cairn.heartbeat_1(p_owner uuid, p_scopes text[], p_slices integer, p_lease interval) TO cairn_projector;
REVOKE ALL ON FUNCTION cairn.identity() FROM PUBLIC;
REVOKE ALL ON FUNCTION cairn.judge_1(p_tenant uuid, p_commands uuid[], p_hashes bytea[], p_check_units integer[], p_check_streams uuid[], p_check_versions integer[], p_check_writes integer[], OUT outcomes smallint[], OUT positions bigint[], OUT conflicts uuid[], OUT versions integer[]) FROM PUBLIC;
GRANT SELECT,INSERT ON TABLE cairn.tenant_keys TO cairn_writer;
GRANT SELECT ON TABLE cairn.tenant_keys TO cairn_reader;
GRANT SELECT(tenant) ON TABLE cairn.tenant_keys TO cairn_projector;
GRANT SELECT(number) ON TABLE cairn.tenant_keys TO cairn_projector;
GRANT SELECT(kek) ON TABLE cairn.tenant_keys TO cairn_projector;
GRANT SELECT(created_at) ON TABLE cairn.tenant_keys TO cairn_projector;
REVOKE ALL ON FUNCTION cairn.keks_in_use_1() FROM PUBLIC;
GRANT ALL ON FUNCTION cairn.keks_in_use_1() TO cairn_writer;
GRANT ALL ON FUNCTION cairn.keks_in_use_1() TO cairn_reader;
GRANT ALL ON FUNCTION cairn.keks_in_use_1() TO cairn_projector;
REVOKE ALL ON FUNCTION cairn.leaf_1(tenant uuid, pos bigint, event_id uuid, stream_id uuid, stream_version integer, type text, schema_version smallint, recorded_us bigint, actor uuid, command_id uuid, salt bytea, payload bytea, metadata bytea) FROM PUBLIC;
GRANT ALL ON FUNCTION cairn.leaf_1(tenant uuid, pos bigint, event_id uuid, stream_id uuid, stream_version integer, type text, schema_version smallint, recorded_us bigint, actor uuid, command_id uuid, salt bytea, payload bytea, metadata bytea) TO cairn_writer;
GRANT ALL ON FUNCTION cairn.leaf_1(tenant uuid, pos bigint, event_id uuid, stream_id uuid, stream_version integer, type text, schema_version smallint, recorded_us bigint, actor uuid, command_id uuid, salt bytea, payload bytea, metadata bytea) TO cairn_projector;
GRANT ALL ON FUNCTION cairn.leaf_1(tenant uuid, pos bigint, event_id uuid, stream_id uuid, stream_version integer, type text, schema_version smallint, recorded_us bigint, actor uuid, command_id uuid, salt bytea, payload bytea, metadata bytea) TO cairn_reader;
REVOKE ALL ON FUNCTION cairn.open_incarnation_1() FROM PUBLIC;
GRANT ALL ON FUNCTION cairn.open_incarnation_1() TO cairn_writer;
GRANT ALL ON FUNCTION cairn.open_incarnation_1() TO cairn_projector;
REVOKE ALL ON FUNCTION cairn.open_log(p_tenant uuid) FROM PUBLIC;
REVOKE ALL ON FUNCTION cairn.position_at(p_tenant uuid, p_instant timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION cairn.position_at(p_tenant uuid, p_instant timestamp with time zone) TO cairn_writer;
GRANT ALL ON FUNCTION cairn.position_at(p_tenant uuid, p_instant timestamp with time zone) TO cairn_projector;
GRANT ALL ON FUNCTION cairn.position_at(p_tenant uuid, p_instant timestamp with time zone) TO cairn_reader;
REVOKE ALL ON FUNCTION cairn.refuse_change() FROM PUBLIC;
REVOKE ALL ON FUNCTION cairn.rewrap_keys_1(p_number integer, p_kek text, p_wrapped bytea, p_subjects uuid[], p_keys bytea[]) FROM PUBLIC;
GRANT ALL ON FUNCTION cairn.rewrap_keys_1(p_number integer, p_kek text, p_wrapped bytea, p_subjects uuid[], p_keys bytea[]) TO cairn_writer;
GRANT SELECT ON TABLE cairn.builds TO cairn_writer;
GRANT SELECT ON TABLE cairn.builds TO cairn_reader;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE cairn.builds TO cairn_projector;
GRANT SELECT ON TABLE cairn.checkpoints TO cairn_writer;
GRANT SELECT ON TABLE cairn.checkpoints TO cairn_reader;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE cairn.checkpoints TO cairn_projector;
GRANT SELECT ON TABLE cairn.deliveries TO cairn_writer;
GRANT SELECT ON TABLE cairn.deliveries TO cairn_reader;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE cairn.deliveries TO cairn_projector;
GRANT SELECT ON TABLE cairn.empty_commands TO cairn_writer;
GRANT SELECT ON TABLE cairn.empty_commands TO cairn_projector;
GRANT SELECT ON TABLE cairn.empty_commands TO cairn_reader;
GRANT SELECT ON TABLE cairn.epochs TO cairn_writer;
GRANT SELECT ON TABLE cairn.epochs TO cairn_projector;
GRANT SELECT ON TABLE cairn.epochs TO cairn_reader;
GRANT SELECT ON TABLE cairn.events TO cairn_writer;
GRANT SELECT ON TABLE cairn.events TO cairn_projector;
GRANT SELECT ON TABLE cairn.events TO cairn_reader;
GRANT SELECT ON TABLE cairn.heads TO cairn_writer;
GRANT SELECT ON TABLE cairn.heads TO cairn_projector;
GRANT SELECT ON TABLE cairn.heads TO cairn_reader;
GRANT SELECT ON TABLE cairn.last_active TO cairn_reader;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE cairn.last_active TO cairn_writer;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE cairn.leases TO cairn_projector;
GRANT SELECT ON TABLE cairn.log TO cairn_writer;
GRANT SELECT ON TABLE cairn.log TO cairn_projector;
GRANT SELECT ON TABLE cairn.log TO cairn_reader;
GRANT SELECT ON TABLE cairn.operations TO cairn_writer;
GRANT SELECT ON TABLE cairn.operations TO cairn_reader;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE cairn.operations TO cairn_projector;
GRANT SELECT ON TABLE cairn.parked TO cairn_writer;
GRANT SELECT ON TABLE cairn.parked TO cairn_reader;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE cairn.parked TO cairn_projector;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE cairn.projectors TO cairn_projector;
GRANT SELECT ON TABLE cairn.published TO cairn_writer;
GRANT SELECT ON TABLE cairn.published TO cairn_reader;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE cairn.published TO cairn_projector;
GRANT SELECT,UPDATE ON TABLE cairn.relay_lease TO cairn_projector;
GRANT SELECT ON TABLE cairn.republications TO cairn_writer;
GRANT SELECT ON TABLE cairn.republications TO cairn_reader;
GRANT SELECT,INSERT,UPDATE ON TABLE cairn.republications TO cairn_projector;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE cairn.snapshots TO cairn_writer;
GRANT SELECT ON TABLE cairn.snapshots TO cairn_projector;
GRANT SELECT ON TABLE cairn.snapshots TO cairn_reader;
GRANT SELECT,INSERT ON TABLE cairn.subject_keys TO cairn_writer;
GRANT SELECT ON TABLE cairn.subject_keys TO cairn_reader;
GRANT SELECT(tenant) ON TABLE cairn.subject_keys TO cairn_projector;
GRANT SELECT(subject) ON TABLE cairn.subject_keys TO cairn_projector;
GRANT SELECT(number) ON TABLE cairn.subject_keys TO cairn_projector;
GRANT SELECT(created_at) ON TABLE cairn.subject_keys TO cairn_projector;
GRANT SELECT(erased_at) ON TABLE cairn.subject_keys TO cairn_projector;
GRANT SELECT(erased_by) ON TABLE cairn.subject_keys TO cairn_projector;
GRANT SELECT(reason) ON TABLE cairn.subject_keys TO cairn_projector;
GRANT SELECT,INSERT,DELETE ON TABLE cairn.unique_digests TO cairn_writer;
GRANT SELECT ON TABLE cairn.workers TO cairn_writer;
GRANT SELECT ON TABLE cairn.workers TO cairn_reader;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE cairn.workers TO cairn_projector;
GRANT SELECT ON TABLE public.alembic_version TO cairn_writer;
GRANT SELECT ON TABLE public.alembic_version TO cairn_projector;
GRANT SELECT ON TABLE public.alembic_version TO cairn_reader;
