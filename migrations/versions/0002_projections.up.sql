-- What the projection engine keeps about read models. The read models' own tables are made by the engine, one schema per
-- build, owned by cairn_projector; queries reach them through the views of the schema `read`.

do $$
begin
  -- Roles belong to the cluster: write only what differs.
  if not exists (
    select from pg_db_role_setting s join pg_roles r on r.oid = s.setrole
    where r.rolname = 'cairn_reader' and s.setdatabase = 0 and 'search_path=read' = any (s.setconfig)
  ) then
    alter role cairn_reader set search_path = 'read';
  end if;
end $$;

set role cairn_owner;

create schema read;
grant usage on schema read to cairn_writer, cairn_projector, cairn_reader;
grant create on schema read to cairn_projector;

-- Every build of every read model. At most one of a model is live: the one that the views of `read` show.
create table cairn.builds (
  model text not null,
  build integer not null check (build > 0),
  version integer not null,
  schema_name text not null unique,
  table_names text[] not null,
  state text not null check (state in ('building', 'rebuilding', 'scratch', 'live', 'kept')),
  created_at timestamptz not null default clock_timestamp(),
  switched_at timestamptz,
  primary key (model, build)
);
create unique index builds_live on cairn.builds (model) where state = 'live';

-- How far a build has come in a company's log, and the process that alone may move it on.
create table cairn.checkpoints (
  tenant uuid not null,
  model text not null,
  build integer not null,
  position bigint not null check (position >= 0),
  owner uuid not null,
  parked integer not null default 0 check (parked >= 0), -- events that wait
  primary key (tenant, model, build)
) with (fillfactor = 50);

-- The proof of delivery: per 1,024 positions, what became of each event, counted and with the exclusive or of the first
-- eight bytes of their leaves. Together they must equal the log's.
create table cairn.deliveries (
  tenant uuid not null,
  model text not null,
  build integer not null,
  range bigint not null, -- (position - 1) / 1024
  handled bigint not null default 0,
  handled_xor bigint not null default 0,
  ignored bigint not null default 0,
  ignored_xor bigint not null default 0,
  parked bigint not null default 0,
  parked_xor bigint not null default 0,
  skipped bigint not null default 0,
  skipped_xor bigint not null default 0,
  primary key (tenant, model, build, range)
) with (fillfactor = 70);

-- Events that wait because their key failed, and those that somebody chose to skip.
create table cairn.parked (
  tenant uuid not null,
  model text not null,
  build integer not null,
  position bigint not null,
  key text not null,
  type text not null,
  error text, -- null: it waits behind one that failed
  since timestamptz not null default clock_timestamp(),
  skipped_at timestamptz,
  skipped_by uuid,
  reason text,
  primary key (tenant, model, build, position)
);
create index parked_key on cairn.parked (tenant, model, build, key, position) where skipped_at is null;

do $$
declare
  table_name text;
begin
  foreach table_name in array array['checkpoints', 'deliveries', 'parked'] loop
    execute format('alter table cairn.%I enable row level security', table_name);
    execute format('alter table cairn.%I force row level security', table_name);
    execute format(
      'create policy of_tenant on cairn.%I using (tenant = cairn.bound_tenant()) '
      'with check (tenant = cairn.bound_tenant())', table_name);
    execute format('grant select on cairn.%I to cairn_writer, cairn_reader', table_name);
    execute format('grant select, insert, update, delete on cairn.%I to cairn_projector', table_name);
  end loop;
end $$;
-- The projector follows every company: it may see all progress, drop that of builds that are gone, and list what waits.
create policy every_checkpoint on cairn.checkpoints for select to cairn_projector using (true);
create policy every_parked on cairn.parked for select to cairn_projector using (true);

grant select on cairn.builds to cairn_writer, cairn_reader;
grant select, insert, update, delete on cairn.builds to cairn_projector;

-- Projector processes that are alive, and the slices of companies each holds. A scope is what they work on: one version
-- of one read model. The database's clock decides.
create table cairn.projectors (
  scope text not null,
  owner uuid not null,
  seen_at timestamptz not null,
  primary key (scope, owner)
);
create table cairn.leases (
  scope text not null,
  slice smallint not null,
  owner uuid,
  until timestamptz not null,
  primary key (scope, slice)
);
grant select, insert, update, delete on cairn.projectors, cairn.leases to cairn_projector;

-- One heartbeat of a process: says that it lives, renews what it holds, gives back what is over its even share and takes
-- what is free or expired up to it. Answers what it holds now.
create function cairn.heartbeat_1(p_owner uuid, p_scopes text[], p_slices integer, p_lease interval)
returns table (held_scope text, held_slice smallint)
language plpgsql set search_path = pg_catalog, pg_temp as $$
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

-- Makes a table of a build what every read-model table is: split by valid_to into what holds now and what held in the past
-- (unless rows are only ever added), forced row-level security, and who may do what. Harmless when done before.
create function cairn.dress_table_1(p_schema text, p_table text, p_append_only boolean, p_inline boolean) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
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
end $$;
revoke execute on function cairn.heartbeat_1, cairn.dress_table_1 from public;
grant execute on function cairn.heartbeat_1, cairn.dress_table_1 to cairn_projector;
reset role;
