-- The log: who may touch it, what it holds, and the one function that writes it.
-- Habits kept from the first table on, so that a distributed engine can hold it: the tenant leads every key and every
-- predicate, no foreign key leaves a tenant, functions take the tenant and use no volatile call inside a statement.

do $$
begin
  execute format('grant create on database %I to cairn_owner, cairn_projector', current_database());
  execute format('grant cairn_owner to %I', current_user);
end $$;

create schema cairn authorization cairn_owner;
set role cairn_owner;
grant usage on schema cairn to cairn_writer, cairn_projector, cairn_reader;

-- The tenant this transaction is bound to; null when it is bound to none, and then no row is visible.
create function cairn.bound_tenant() returns uuid
language sql stable parallel safe
return nullif(current_setting('cairn.tenant', true), '')::uuid;

-- One row per company: how far its log goes. Its row lock is what makes positions gapless.
create table cairn.heads (
  tenant uuid primary key,
  position bigint not null check (position >= 0),
  epoch bigint not null,
  recorded_at timestamptz not null
) with (fillfactor = 50); -- room for the new version beside the old: every append updates one row

-- Which incarnation of the log a position belongs to. `after_position` is the last position of the one before.
create table cairn.epochs (
  tenant uuid not null,
  epoch bigint not null,
  after_position bigint not null,
  reason text not null,
  primary key (tenant, epoch)
);

create table cairn.events (
  tenant uuid not null,
  position bigint not null check (position > 0),
  recorded_at timestamptz not null,
  stream_version integer not null check (stream_version > 0),
  schema_version smallint not null,
  stream_id uuid not null,
  event_id uuid not null,
  actor uuid not null,
  command_id uuid not null,
  type text not null,
  request_hash bytea,  -- 8 bytes, on the first event of a command only: it tells apart two requests, not millions
  salt bytea not null, -- 16 random bytes: see cairn.leaf_1
  leaf bytea not null, -- cairn.leaf_1
  metadata bytea not null, -- JSON: correlation and causation, address, user agent
  payload bytea not null,
  primary key (tenant, position),
  unique (tenant, stream_id, stream_version)
);
alter table cairn.events alter column payload set storage main, alter column metadata set storage main;

-- A command is one row here: its first event. It serves "was this id used before" for ever.
create unique index events_command on cairn.events (tenant, command_id) where request_hash is not null;

-- Commands that found nothing to do: remembered, so that a late retry is answered as the first try was.
create table cairn.empty_commands (
  tenant uuid not null,
  command_id uuid not null,
  request_hash bytea not null,
  position bigint not null, -- where the log stood, and when
  recorded_at timestamptz not null,
  stream_id uuid not null, -- the command's own stream, and its version then
  stream_version integer not null,
  primary key (tenant, command_id)
);

-- Folded states of long streams: a cache, safe to delete at any time.
create table cairn.snapshots (
  tenant uuid not null,
  stream_id uuid not null,
  stream_version integer not null,
  fingerprint bytea not null,
  state bytea not null,
  primary key (tenant, stream_id)
);

-- The database this log was last opened in. A restored or forked one differs, and must begin a new epoch.
create table cairn.incarnation (
  one boolean primary key default true check (one),
  identity text not null
);

do $$
declare
  table_name text;
begin
  foreach table_name in array array['heads', 'epochs', 'events', 'empty_commands', 'snapshots'] loop
    execute format('alter table cairn.%I enable row level security', table_name);
    execute format('alter table cairn.%I force row level security', table_name);
    execute format(
      'create policy of_tenant on cairn.%I using (tenant = cairn.bound_tenant()) '
      'with check (tenant = cairn.bound_tenant())', table_name);
    execute format('grant select on cairn.%I to cairn_writer, cairn_projector, cairn_reader', table_name);
  end loop;
end $$;
grant insert, update, delete on cairn.snapshots to cairn_writer;

-- Workers follow every company: they may see how far each log goes, and nothing else unbound.
create policy every_head on cairn.heads for select to cairn_projector using (true);
create policy every_epoch on cairn.epochs for select to cairn_projector using (true);
-- The owner begins epochs, once for all companies; no application role can become it.
create policy owner_heads on cairn.heads to cairn_owner using (true) with check (true);
create policy owner_epochs on cairn.epochs to cairn_owner using (true) with check (true);

create function cairn.refuse_change() returns trigger
language plpgsql as $$
begin
  raise exception using errcode = 'CA001', message = 'the log is append-only: ' || tg_op || ' on ' || tg_table_name;
end $$;
create trigger append_only before update or delete or truncate on cairn.events
  for each statement execute function cairn.refuse_change();
create trigger append_only before update or delete or truncate on cairn.empty_commands
  for each statement execute function cairn.refuse_change();

-- Leaf layout 1, hashed as RFC 6962 hashes a leaf (0x00 first). All integers big-endian, ids 16 bytes:
-- 0x00 | 0x01 layout | tenant | position i64 | event id | stream id | stream version i32 | type length i16, type UTF-8
-- | schema version i16 | recorded_at i64 microseconds since 1970 | actor | command id
-- | sha256(payload salt, payload) | sha256(metadata salt, metadata)
-- The payload's salt is the first 16 bytes of sha256(salt, 0x01), the metadata's of sha256(salt, 0x02): either body can be
-- dropped later, with the salt, and nothing guessed of it, while the other one's salt is kept.
create function cairn.leaf_1(
  tenant uuid, pos bigint, event_id uuid, stream_id uuid, stream_version integer, type text, schema_version smallint,
  recorded_us bigint, actor uuid, command_id uuid, salt bytea, payload bytea, metadata bytea
) returns bytea
language sql immutable parallel safe
return sha256(
  '\x0001'::bytea || uuid_send(tenant) || int8send(pos) || uuid_send(event_id) || uuid_send(stream_id)
  || int4send(stream_version) || int2send(octet_length(type)::smallint) || convert_to(type, 'UTF8')
  || int2send(schema_version) || int8send(recorded_us) || uuid_send(actor) || uuid_send(command_id)
  || sha256(substr(sha256(salt || '\x01'::bytea), 1, 16) || payload)
  || sha256(substr(sha256(salt || '\x02'::bytea), 1, 16) || metadata)
);

-- Opens a company's log at its first append. The epoch is the instant it began, in microseconds: later epochs are greater.
create function cairn.open_log(p_tenant uuid) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
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

-- The slow judgement of a batch, unit by unit, when some unit may not be appended. Outcomes as append_1 answers them.
create function cairn.judge_1(
  p_tenant uuid, p_commands uuid[], p_hashes bytea[],
  p_check_units integer[], p_check_streams uuid[], p_check_versions integer[], p_check_writes integer[],
  out outcomes smallint[], out positions bigint[], out conflicts uuid[], out versions integer[]
)
language plpgsql set search_path = pg_catalog, pg_temp as $$
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

-- Appends a batch of units. A unit is one command: all of its events or none. Units do not share each other's fate,
-- unless they touch the same stream: then they are judged in their order.
--
-- Per unit: p_commands, p_hashes (8 bytes of the request's digest).
-- Per check, the command's own stream first: the unit (from 1), a stream, the version it must have when the unit's turn comes (0: it must not exist), and
-- how many events the unit adds to it (0: it was only read).
-- Per event: the unit, the stream, its new version, and the rest of the row. A unit's events lie together.
--
-- Answers one row: the head before, the instant, the epoch, the leaves of the events appended, in order. And per unit its
-- outcome: 0 appended, 1 done before, 2 version conflict, 3 the id was used by another request; with, when any is not 0,
-- the position of the first time's first event (1) or the stream in conflict and its actual version (2).
create function cairn.append_1(
  p_tenant uuid, p_commands uuid[], p_hashes bytea[],
  p_check_units integer[], p_check_streams uuid[], p_check_versions integer[], p_check_writes integer[],
  p_units integer[], p_streams uuid[], p_versions integer[], p_types text[], p_schemas smallint[], p_event_ids uuid[],
  p_actors uuid[], p_salts bytea[], p_metadata bytea[], p_payloads bytea[],
  out head bigint, out recorded_at timestamptz, out epoch bigint, out leaves bytea[],
  out outcomes smallint[], out positions bigint[], out conflicts uuid[], out versions integer[]
)
language plpgsql security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
as $$
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

-- The position a company's log had reached at an instant: its last event recorded at or before it. 0: none yet.
-- A search by halving, because recorded_at never falls as positions rise: no index is needed for it.
create function cairn.position_at(p_tenant uuid, p_instant timestamptz) returns bigint
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
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

-- What this database is: cluster, timeline and database. A dump restored elsewhere, or a recovery to an earlier moment,
-- differs in one of the three.
create function cairn.identity() returns text
language sql stable set search_path = pg_catalog, pg_temp
return (select s.system_identifier::text from pg_control_system() s) || '/'
  || (select c.timeline_id::text from pg_control_checkpoint() c) || '/'
  || (select d.oid::text from pg_database d where d.datname = current_database());

-- Begins a new epoch for every company when this database is not the one the log was last opened in. Answers whether it
-- did. Cursors and tokens of the older epoch are then refused where they would be ahead.
create function cairn.open_incarnation_1() returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
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

-- The log as an auditor reads it: payloads and metadata as jsonb, each event with the epoch it was written in.
create view cairn.log with (security_invoker = true) as
select e.tenant, e.position,
  (select max(p.epoch) from cairn.epochs p where p.tenant = e.tenant and p.after_position < e.position) as epoch,
  e.recorded_at, e.event_id, e.stream_id, e.stream_version, e.type, e.schema_version, e.actor, e.command_id,
  coalesce((m.metadata ->> 'correlation_id')::uuid, e.command_id) as correlation_id,
  (m.metadata ->> 'causation_id')::uuid as causation_id,
  convert_from(e.payload, 'UTF8')::jsonb as payload, m.metadata, e.leaf
from cairn.events e cross join lateral (select convert_from(e.metadata, 'UTF8')::jsonb as metadata) m;
grant select on cairn.log to cairn_writer, cairn_projector, cairn_reader;

revoke execute on all functions in schema cairn from public;
grant execute on function cairn.append_1 to cairn_writer;
grant execute on function cairn.open_incarnation_1() to cairn_writer, cairn_projector;
grant execute on function cairn.bound_tenant(), cairn.position_at, cairn.leaf_1
  to cairn_writer, cairn_projector, cairn_reader;
reset role;
