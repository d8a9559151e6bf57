-- The roles that own, write, project and read. They belong to the cluster, so that several databases share them: make
-- what is missing, change only what differs, and one database at a time. Restoring a dump elsewhere needs them first.
do $$
declare
  role_name text;
begin
  perform pg_advisory_xact_lock(7203051);
  foreach role_name in array array['cairn_owner', 'cairn_writer', 'cairn_projector', 'cairn_reader', 'cairn_jobs'] loop
    if not exists (select from pg_roles where rolname = role_name) then
      begin
        execute format('create role %I nosuperuser nobypassrls nocreatedb nocreaterole noinherit login', role_name);
      exception when duplicate_object or unique_violation then
        null; -- somebody in another database was faster: the lock is per database
      end;
    end if;
  end loop;
  -- A paused process must not hold for long what its successor needs.
  if not exists (
    select from pg_db_role_setting s join pg_roles r on r.oid = s.setrole
    where r.rolname = 'cairn_reader' and s.setdatabase = 0
  ) then
    alter role cairn_projector set idle_in_transaction_session_timeout = '5s';
    alter role cairn_writer set idle_in_transaction_session_timeout = '5s';
    alter role cairn_reader set idle_in_transaction_session_timeout = '60s';
  end if;
end $$;
