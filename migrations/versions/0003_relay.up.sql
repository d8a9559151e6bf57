-- What the workers keep. Nothing here is truth: the log is, and the broker is asked.

set role cairn_owner;

-- The one relay that may publish. The database's clock decides; `fence` counts the changes of hands.
create table cairn.relay_lease (
  one boolean primary key default true check (one),
  owner uuid,
  fence bigint not null default 0,
  until timestamptz not null default '-infinity'
);
insert into cairn.relay_lease default values;
grant select, update on cairn.relay_lease to cairn_projector;

-- What the broker was seen to hold: the last event of each company, and the stream's sequence it got. It tells a message
-- that the broker lost from one that it was told to drop with age, and is never a reason to leave an event out otherwise.
create table cairn.published (
  tenant uuid primary key,
  epoch bigint not null,
  position bigint not null,
  stream_created timestamptz not null,
  sequence bigint not null
) with (fillfactor = 50);
alter table cairn.published enable row level security;
alter table cairn.published force row level security;
create policy of_tenant on cairn.published using (tenant = cairn.bound_tenant())
  with check (tenant = cairn.bound_tenant());
create policy every_company on cairn.published to cairn_projector using (true) with check (true);
grant select on cairn.published to cairn_writer, cairn_reader;
grant select, insert, update, delete on cairn.published to cairn_projector;

-- Ranges to be published once more: positions above `after_position` up to `to_position`.
create table cairn.republications (
  tenant uuid not null,
  id uuid not null,
  after_position bigint not null check (after_position >= 0),
  to_position bigint not null check (to_position > after_position),
  done_position bigint not null,
  asked_at timestamptz not null default clock_timestamp(),
  done_at timestamptz,
  primary key (tenant, id)
);
create index republications_open on cairn.republications (asked_at) where done_at is null;
alter table cairn.republications enable row level security;
alter table cairn.republications force row level security;
create policy of_tenant on cairn.republications using (tenant = cairn.bound_tenant())
  with check (tenant = cairn.bound_tenant());
create policy every_company on cairn.republications to cairn_projector using (true) with check (true);
grant select on cairn.republications to cairn_writer, cairn_reader;
grant select, insert, update on cairn.republications to cairn_projector;

-- Worker processes: alive (beat_at), and moving (moved_at: made progress, or found nothing to do). No company's data.
create table cairn.workers (
  id uuid primary key,
  kind text not null,
  host text not null,
  started_at timestamptz not null default clock_timestamp(),
  beat_at timestamptz not null default clock_timestamp(),
  moved_at timestamptz not null default clock_timestamp(),
  waiting boolean not null default false,
  detail text not null default ''
) with (fillfactor = 50);
grant select on cairn.workers to cairn_writer, cairn_reader;
grant select, insert, update, delete on cairn.workers to cairn_projector;

-- Begins a new epoch behind `p_after`, because the broker holds events of this log's present epoch that the log does not:
-- it was restored by means that leave no other trace. Greater than `p_seen`, the epoch the broker holds.
create function cairn.begin_epoch_1(p_tenant uuid, p_after bigint, p_seen bigint, p_reason text) returns bigint
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
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
revoke execute on function cairn.begin_epoch_1 from public;
grant execute on function cairn.begin_epoch_1 to cairn_projector;
reset role;
