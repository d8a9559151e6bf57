-- Work in the background: who does it, and how far it is. Nothing here is truth. What is to be done, and that it is done,
-- are events; a row only keeps two workers from doing the same thing at once, and shows that it moves.

set role cairn_owner;

create table cairn.operations (
  tenant uuid not null,
  operation_id uuid not null,
  kind text not null,
  owner uuid not null,
  until timestamptz not null, -- the lease, by the database's clock; infinity: it is done, and nobody does it again
  attempts integer not null check (attempts >= 0), -- ended in order, an attempt does not count
  done bigint not null check (done >= 0),
  total bigint not null check (total >= done),
  updated_at timestamptz not null default clock_timestamp(),
  primary key (tenant, operation_id)
) with (fillfactor = 50);
create index operations_age on cairn.operations (updated_at);
alter table cairn.operations enable row level security;
alter table cairn.operations force row level security;
create policy of_tenant on cairn.operations using (tenant = cairn.bound_tenant())
  with check (tenant = cairn.bound_tenant());
create policy every_company on cairn.operations to cairn_projector using (true) with check (true);
grant select on cairn.operations to cairn_writer, cairn_reader;
grant select, insert, update, delete on cairn.operations to cairn_projector;
reset role;
