-- Mirrored records, what people drafted over them, and what both add up to. `mirror_key` stands for the connection in
-- indexes, in four bytes instead of the company's and the connection's 32: it may be another's too, so that
-- every question names the connection as well. `record_no` is the default order and the last word in every other.
-- Who reads records_now, records_past and their like by those names sees only what he searches for, `cairn.search`: a
-- policy of theirs does what no condition may, for @@ is not leakproof, so that behind row-level security it gets no index.

-- name: schema
create table if not exists pfa_records (
  tenant uuid not null,
  valid_from bigint not null,
  valid_to bigint not null,
  record_no bigint not null,
  plan_cost bigint,
  forecast_cost bigint,
  actual_cost bigint,
  monthly_rate bigint,
  purchase_price bigint,
  mirror_key integer not null,
  ordinal integer not null,
  mapping_version integer not null,
  plan_start date,
  plan_end date,
  forecast_start date,
  forecast_end date,
  actual_start date,
  actual_end date,
  connection_id uuid not null,
  record_id uuid not null,
  digest uuid not null,
  is_actualised boolean,
  is_discontinued boolean,
  removed boolean not null,
  identity text not null,
  upstream_version text,
  category text collate "C" not null,
  source text collate "C" not null,
  record_class text collate "C" not null,
  area text collate "C" not null,
  description text,
  others text,
  absent text,
  words text not null,
  primary key (tenant, record_id, valid_to)
) partition by range (valid_to);
create index if not exists pfa_records_words on pfa_records using gin ((array_to_tsvector(string_to_array(words, ' '))))
  where not removed;
create index if not exists pfa_records_number on pfa_records (mirror_key, record_no) where not removed;
create index if not exists pfa_records_removed on pfa_records (mirror_key, record_no) where removed;
create index if not exists pfa_records_category on pfa_records (mirror_key, category) where not removed;
create index if not exists pfa_records_source on pfa_records (mirror_key, source) where not removed;
create index if not exists pfa_records_class on pfa_records (mirror_key, record_class) where not removed;
create index if not exists pfa_records_area on pfa_records (mirror_key, area) where not removed;
create index if not exists pfa_records_plan on pfa_records (mirror_key, plan_cost, record_no) where not removed;
create index if not exists pfa_records_forecast on pfa_records (mirror_key, forecast_cost, record_no) where not removed;
create index if not exists pfa_records_actual on pfa_records (mirror_key, actual_cost, record_no) where not removed;
create index if not exists pfa_records_plan_start on pfa_records (mirror_key, plan_start, record_no) where not removed;
create index if not exists pfa_records_plan_end on pfa_records (mirror_key, plan_end, record_no) where not removed;
create index if not exists pfa_records_forecast_start
  on pfa_records (mirror_key, forecast_start, record_no) where not removed;
create index if not exists pfa_records_forecast_end
  on pfa_records (mirror_key, forecast_end, record_no) where not removed;
create index if not exists pfa_records_actual_start
  on pfa_records (mirror_key, actual_start, record_no) where not removed;
create index if not exists pfa_records_actual_end on pfa_records (mirror_key, actual_end, record_no) where not removed;
create table if not exists pfa_drafts (
  tenant uuid not null,
  valid_from bigint not null,
  valid_to bigint not null,
  record_no bigint not null,
  plan_cost bigint,
  forecast_cost bigint,
  actual_cost bigint,
  monthly_rate bigint,
  purchase_price bigint,
  base_position bigint not null,
  modified_position bigint not null,
  modified_at timestamptz not null,
  mirror_key integer not null,
  plan_start date,
  plan_end date,
  forecast_start date,
  forecast_end date,
  actual_start date,
  actual_end date,
  connection_id uuid not null,
  record_id uuid not null,
  user_id uuid not null,
  is_actualised boolean,
  is_discontinued boolean,
  removed boolean not null,
  identity text not null,
  base_version text,
  category text collate "C" not null,
  source text collate "C" not null,
  record_class text collate "C" not null,
  area text collate "C" not null,
  description text,
  words text not null,
  drafted jsonb not null,
  behind jsonb,
  computed jsonb,
  primary key (tenant, record_id, user_id, valid_to)
) partition by range (valid_to);
create index if not exists pfa_drafts_number on pfa_drafts (user_id, mirror_key, record_no);
create index if not exists pfa_drafts_category on pfa_drafts (user_id, mirror_key, category, record_no);
create index if not exists pfa_drafts_source on pfa_drafts (user_id, mirror_key, source, record_no);
create index if not exists pfa_drafts_class on pfa_drafts (user_id, mirror_key, record_class, record_no);
create index if not exists pfa_drafts_area on pfa_drafts (user_id, mirror_key, area, record_no);
create index if not exists pfa_drafts_plan on pfa_drafts (user_id, mirror_key, plan_cost, record_no);
create index if not exists pfa_drafts_forecast on pfa_drafts (user_id, mirror_key, forecast_cost, record_no);
create index if not exists pfa_drafts_actual on pfa_drafts (user_id, mirror_key, actual_cost, record_no);
create index if not exists pfa_drafts_plan_start on pfa_drafts (user_id, mirror_key, plan_start, record_no);
create index if not exists pfa_drafts_plan_end on pfa_drafts (user_id, mirror_key, plan_end, record_no);
create index if not exists pfa_drafts_forecast_start on pfa_drafts (user_id, mirror_key, forecast_start, record_no);
create index if not exists pfa_drafts_forecast_end on pfa_drafts (user_id, mirror_key, forecast_end, record_no);
create index if not exists pfa_drafts_actual_start on pfa_drafts (user_id, mirror_key, actual_start, record_no);
create index if not exists pfa_drafts_actual_end on pfa_drafts (user_id, mirror_key, actual_end, record_no);
create index if not exists pfa_drafts_words on pfa_drafts using gin ((array_to_tsvector(string_to_array(words, ' '))))
  where not removed;
do $$
declare
  table_name text;
begin
  foreach table_name in array array['pfa_records', 'pfa_drafts'] loop
    if to_regclass(table_name || '_now') is null then
      execute format('create table %1$I partition of %2$I for values from (9223372036854775806) to (maxvalue)',
        table_name || '_now', table_name);
      execute format('create table %1$I partition of %2$I for values from (minvalue) to (9223372036854775806)',
        table_name || '_past', table_name);
    end if;
  end loop;
  foreach table_name in array array['pfa_records_now', 'pfa_records_past', 'pfa_drafts_now', 'pfa_drafts_past'] loop
    if not exists (
      select from pg_policy where polrelid = to_regclass(table_name) and polname = 'what_is_searched_for'
    ) then
      execute format($policy$
        create policy what_is_searched_for on %I as restrictive for select to cairn_reader using (
          array_to_tsvector(string_to_array(words, ' '))
          @@ nullif(current_setting('cairn.search', true), '')::tsquery
        )$policy$, table_name);
      execute format('grant select on %I to cairn_reader', table_name);
    end if;
  end loop;
end $$;
create table if not exists pfa_terms (
  tenant uuid not null,
  connection_id uuid not null,
  fields jsonb not null,
  reasons jsonb not null,
  valid_from bigint not null,
  valid_to bigint not null,
  primary key (tenant, connection_id, valid_to)
) partition by range (valid_to);
create table if not exists pfa_drafters (
  tenant uuid not null,
  connection_id uuid not null,
  user_id uuid not null,
  drafts integer not null,
  behind integer not null,
  removed integer not null,
  valid_from bigint not null,
  valid_to bigint not null,
  primary key (tenant, connection_id, user_id, valid_to)
) partition by range (valid_to);
create table if not exists pfa_sums (
  tenant uuid not null,
  valid_from bigint not null,
  valid_to bigint not null,
  of uuid not null,
  plan_cost bigint not null,
  forecast_cost bigint not null,
  actual_cost bigint not null,
  remaining bigint not null,
  records integer not null,
  actualised integer not null,
  discontinued integer not null,
  plan_missing integer not null,
  forecast_missing integer not null,
  actual_missing integer not null,
  axis smallint not null,
  first text collate "C" not null,
  second text collate "C" not null,
  third text collate "C" not null,
  primary key (tenant, of, axis, first, second, third, valid_to)
) partition by range (valid_to);
create table if not exists pfa_mirrors (
  tenant uuid not null,
  connection_id uuid not null,
  records integer not null,
  removed integer not null,
  mapping_version integer not null,
  currency text,
  run_id uuid,
  run_mode text,
  run_began_at timestamptz,
  run_processed integer not null,
  last_synced_at timestamptz,
  last_run_id uuid,
  valid_from bigint not null,
  valid_to bigint not null,
  primary key (tenant, connection_id, valid_to)
) partition by range (valid_to)
