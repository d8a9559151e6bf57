-- When each member was last active. Not truth, not in the log, and no part of any answer about the past.
set role cairn_owner;
create table cairn.last_active (
  tenant uuid not null,
  member_id uuid not null,
  active_at timestamptz not null,
  primary key (tenant, member_id)
) with (fillfactor = 50);
alter table cairn.last_active enable row level security;
alter table cairn.last_active force row level security;
create policy of_tenant on cairn.last_active using (tenant = cairn.bound_tenant())
  with check (tenant = cairn.bound_tenant());
grant select on cairn.last_active to cairn_reader;
grant select, insert, update, delete on cairn.last_active to cairn_writer;
reset role;
