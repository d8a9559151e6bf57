-- name: lock_model : one change of a model's builds at a time
select pg_advisory_xact_lock(7203054, hashtext(%(model)s))

-- name: hold_appends : an inline model stands still until this transaction ends; its applies hold the same lock shared
select pg_advisory_xact_lock(7203055, hashtext(%(model)s))

-- name: builds
select model, build, version, schema_name, state, table_names from cairn.builds where model = any (%(models)s) order by model, build

-- name: next_build
select coalesce(max(build), 0) + 1 from cairn.builds where model = %(model)s

-- name: add_build
insert into cairn.builds (model, build, version, schema_name, table_names, state)
values (%(model)s, %(build)s, %(version)s, %(schema_name)s, %(table_names)s, %(state)s)

-- name: set_state
update cairn.builds set state = %(state)s, switched_at = case when %(state)s = 'live' then clock_timestamp() else switched_at end
where model = %(model)s and build = %(build)s

-- name: dress_table
select cairn.dress_table_2(%(schema)s, %(table)s, %(append_only)s, %(inline)s)

-- name: use_schema : for this transaction
select set_config('search_path', %(schema)s, true)

-- name: create_schema
create schema if not exists {schema}

-- name: grant_schema
grant usage on schema {schema} to cairn_reader, cairn_writer

-- name: drop_schema
drop schema if exists {schema} cascade

-- name: drop_view
drop view if exists {view}

-- name: point_view
create view {view} with (security_invoker = true) as select * from {table}

-- name: position_view : how far the live build has come in the bound company's log
create view {view} with (security_invoker = true) as
select c.position from cairn.checkpoints c
where c.tenant = cairn.bound_tenant() and c.model = {model} and c.build = {build}

-- name: head_view : an inline model is always at the head
create view {view} with (security_invoker = true) as
select h.position from cairn.heads h where h.tenant = cairn.bound_tenant()

-- name: grant_view
grant select on {view} to cairn_reader, cairn_writer

-- name: lock_wait : a switch gives way to readers, then tries again
select set_config('lock_timeout', %(milliseconds)s, true)

-- name: forget_builds_row
delete from cairn.builds where model = %(model)s and build = %(build)s

-- name: forget_checkpoints
delete from cairn.checkpoints where tenant = cairn.bound_tenant() and model = %(model)s and build = %(build)s

-- name: forget_deliveries
delete from cairn.deliveries where tenant = cairn.bound_tenant() and model = %(model)s and build = %(build)s

-- name: forget_parked
delete from cairn.parked where tenant = cairn.bound_tenant() and model = %(model)s and build = %(build)s

-- name: check_once : which company a transaction is bound to is asked once a statement, not once a row
alter policy of_tenant on {table} with check (tenant = (select cairn.bound_tenant()))
