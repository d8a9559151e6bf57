-- Keys, wrapped: a company's by a key-encryption key that the database never sees, a subject's by the company's. A subject
-- is a person, named by the id of the stream about them, or the company itself.

set role cairn_owner;

-- The key of a company. A new number replaces the one before, which is then gone: `cairn.rewrap_keys_1`.
create table cairn.tenant_keys (
  tenant uuid not null,
  number integer not null check (number > 0),
  kek text not null, -- which key-encryption key wraps it
  wrapped bytea not null,
  created_at timestamptz not null default clock_timestamp(),
  primary key (tenant, number)
);

-- The key of a subject; once erased a tombstone, so that no second key is ever made.
create table cairn.subject_keys (
  tenant uuid not null,
  subject uuid not null,
  number integer, -- of the company's key that wraps it
  wrapped bytea,
  created_at timestamptz not null default clock_timestamp(),
  erased_at timestamptz,
  erased_by uuid,
  reason text,
  primary key (tenant, subject),
  -- The company's key cannot be replaced while somebody wraps a new one with it.
  foreign key (tenant, number) references cairn.tenant_keys (tenant, number),
  check ((wrapped is null) = (erased_at is not null) and (wrapped is null) = (number is null))
);
create index subject_keys_number on cairn.subject_keys (tenant, number);

-- What must be unique in a company and is about a person: a keyed digest of it, for as long as it is in use.
create table cairn.unique_digests (
  tenant uuid not null,
  field text not null,
  digest bytea not null,
  subject uuid not null,
  primary key (tenant, field, digest)
);
create index unique_digests_subject on cairn.unique_digests (tenant, subject);

do $$
declare
  table_name text;
begin
  foreach table_name in array array['tenant_keys', 'subject_keys', 'unique_digests'] loop
    execute format('alter table cairn.%I enable row level security', table_name);
    execute format('alter table cairn.%I force row level security', table_name);
    execute format(
      'create policy of_tenant on cairn.%I using (tenant = cairn.bound_tenant()) '
      'with check (tenant = cairn.bound_tenant())', table_name);
  end loop;
end $$;

-- Who answers queries may open, who writes may make keys too. Workers see which keys there are, and never a key.
grant select on cairn.tenant_keys, cairn.subject_keys to cairn_writer, cairn_reader;
grant insert on cairn.tenant_keys, cairn.subject_keys to cairn_writer;
grant select (tenant, number, kek, created_at) on cairn.tenant_keys to cairn_projector;
grant select (tenant, subject, number, created_at, erased_at, erased_by, reason) on cairn.subject_keys
  to cairn_projector;
grant select, insert, delete on cairn.unique_digests to cairn_writer;

-- The owner looks across companies for one purpose: which key-encryption keys are needed.
create policy owner_tenant_keys on cairn.tenant_keys for select to cairn_owner using (true);

create function cairn.keks_in_use_1() returns setof text
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
  select distinct k.kek from cairn.tenant_keys k;
end;

-- Destroys the key of a subject of the bound company. Only what the log says was forgotten: in the transaction of that
-- event, or at any time after it. Answers whether there was a key.
create function cairn.erase_key_1(p_subject uuid, p_by uuid, p_reason text) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
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

-- Replaces the company's key and what it wraps, all at once. Refused when another number is in use, or when the subjects
-- given are not exactly those that have a key: then somebody was faster, and it must be tried again.
create function cairn.rewrap_keys_1(
  p_number integer, p_kek text, p_wrapped bytea, p_subjects uuid[], p_keys bytea[]
) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
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

revoke execute on function cairn.keks_in_use_1(), cairn.erase_key_1, cairn.rewrap_keys_1 from public;
grant execute on function cairn.keks_in_use_1() to cairn_writer, cairn_reader, cairn_projector;
grant execute on function cairn.erase_key_1, cairn.rewrap_keys_1 to cairn_writer;

-- A cache, in which the names of members may be: their states are no longer kept here.
truncate cairn.snapshots;
reset role;
