-- What the engine runs. {braces} are filled with identifiers of a build's tables and columns, or with the statement of
-- that name, never with values.

-- name: claim : makes this process the only one that may move the checkpoint on; waits for one that is doing so
insert into cairn.checkpoints as c (tenant, model, build, position, owner)
values (cairn.bound_tenant(), %(model)s, %(build)s, 0, %(owner)s)
on conflict (tenant, model, build) do update set owner = excluded.owner
returning c.position

-- name: begin : binds a batch's transaction, and says how it works. Each key by the primary key, whatever the statistics
-- say of a table that has just begun to grow. Nobody waits for the disk: rows and checkpoint are lost together, and made
-- again. And a switch of a live model waits for this transaction, or this one for it.
select set_config('cairn.tenant', %(tenant)s, true),
  set_config('plan_cache_mode', 'force_generic_plan', true), set_config('enable_hashjoin', 'off', true),
  set_config('enable_mergejoin', 'off', true), set_config('enable_seqscan', 'off', true),
  set_config('enable_bitmapscan', 'off', true), set_config('jit', 'off', true),
  set_config('synchronous_commit', 'off', true),
  (select count(pg_advisory_xact_lock_shared(7203055, hashtext(model))) from unnest(%(live)s::text[]) as model)

-- name: lock : the checkpoints that are still where we left them and ours; what is missing somebody else has taken over
select c.model, c.build, c.parked
from unnest(%(models)s::text[], %(builds)s::integer[]) as b (model, build)
join cairn.checkpoints c on c.tenant = cairn.bound_tenant() and c.model = b.model and c.build = b.build
where c.position = %(position)s and c.owner = %(owner)s
for update of c

-- name: waiting_keys
select distinct p.key from cairn.parked p
where p.tenant = cairn.bound_tenant() and p.model = %(model)s and p.build = %(build)s and p.skipped_at is null

-- name: advance : together with what became of the events
with delivered as (
  {deliver}
)
update cairn.checkpoints c set position = %(reached)s, parked = c.parked + b.parked
from unnest(%(moved_models)s::text[], %(moved_builds)s::integer[], %(parked)s::integer[]) as b (model, build, parked)
where c.tenant = cairn.bound_tenant() and c.model = b.model and c.build = b.build
  and c.position = %(position)s and c.owner = %(owner)s
returning c.position

-- name: park
insert into cairn.parked (tenant, model, build, position, key, type, error)
values (cairn.bound_tenant(), %(model)s, %(build)s, %(position)s, %(key)s, %(type)s, %(error)s)

-- name: behind : companies whose log goes beyond a checkpoint of the builds asked for
select h.tenant, h.position, b.model, b.build, coalesce(c.position, 0)
from cairn.heads h
cross join unnest(%(models)s::text[], %(builds)s::integer[]) as b (model, build)
left join cairn.checkpoints c on c.tenant = h.tenant and c.model = b.model and c.build = b.build
where h.position > coalesce(c.position, 0)
order by h.tenant

-- name: current : the rows that hold now, of the keys asked for, with where they lie. One look-up a key: a join would
-- be planned from the statistics of a table that has just begun to grow.
select {columns}, t.valid_from, t.ctid::text from unnest({arrays}) as k ({names})
cross join lateral (
  select t.*, t.ctid from {table} t
  where t.tenant = cairn.bound_tenant() and {matches} and t.valid_to = 9223372036854775807 limit 1
) t

-- name: current_of_groups : the same, of all keys of the groups asked for
select {columns}, t.valid_from, t.ctid::text from unnest({groups}) as g (of)
cross join lateral (
  select t.*, t.ctid from {table} t
  where t.tenant = cairn.bound_tenant() and t.{group} = g.of and t.valid_to = 9223372036854775807 offset 0
) t

-- name: close : takes out versions that held, by where they lie; they are inserted again as past ones
delete from {table} t where t.ctid = any (%(places)s::tid[]) and t.valid_to = 9223372036854775807

-- name: places : where the versions lie that hold, of keys, for `close_places`: one look-up a key, as above. Not in one
-- statement with the deletion: of a company that the statistics do not know, all rows would be read for each key.
select set_config('cairn.places', coalesce(array_agg(found.place), '{{}}')::text, true)
from unnest({arrays}) as k ({names})
cross join lateral (
  select t.ctid as place from {table} t
  where t.tenant = cairn.bound_tenant() and {matches} and t.valid_to = 9223372036854775807 limit 1
) as found

-- name: close_places : takes them out
delete from {table} t
where t.ctid = any (current_setting('cairn.places')::tid[]) and t.valid_to = 9223372036854775807

-- name: by_place : for the statements that name rows by where they lie
select set_config('enable_indexscan', 'off', true), set_config('enable_indexonlyscan', 'off', true),
  set_config('enable_bitmapscan', 'off', true), set_config('enable_seqscan', 'off', true)

-- name: by_key : for the others
select set_config('enable_indexscan', 'on', true), set_config('enable_indexonlyscan', 'on', true),
  set_config('enable_bitmapscan', 'on', true), set_config('enable_seqscan', 'on', true)

-- name: insert : the arrays side by side in a select list: as functions in FROM each would be written down and read again
insert into {table} (tenant, {columns}, valid_from, valid_to)
select v.tenant, {values}, v.valid_from, v.valid_to
from (
  select (select cairn.bound_tenant()) as tenant, {arrays},
    unnest(%(valid_from)s::bigint[]) as valid_from, unnest(%(valid_to)s::bigint[]) as valid_to
) as v

-- name: insert_few : the same, from one document
insert into {table} (tenant, {columns}, valid_from, valid_to)
select cairn.bound_tenant(), {columns}, v.valid_from, v.valid_to
from rows from (
  json_to_recordset(%(rows)s::json) as ({typed}), unnest(%(valid_from)s::bigint[]), unnest(%(valid_to)s::bigint[])
) as v ({columns}, valid_from, valid_to)

-- name: replace_few : the same, where versions that hold are put in the place of those that did; past ones are added
insert into {table} (tenant, {columns}, valid_from, valid_to)
select cairn.bound_tenant(), {columns}, v.valid_from, v.valid_to
from rows from (
  json_to_recordset(%(rows)s::json) as ({typed}), unnest(%(valid_from)s::bigint[]), unnest(%(valid_to)s::bigint[])
) as v ({columns}, valid_from, valid_to)
on conflict (tenant, {keys}, valid_to) do update set {replaced}

-- name: digest : of the whole history up to a position, whatever the order of the rows
select count(*), coalesce(bit_xor(hashtextextended(r.row, 0)), 0), coalesce(sum(hashtextextended(r.row, 1)::numeric), 0)::text
from (
  select row({columns}, t.valid_from, case when t.valid_to > %(at)s then 9223372036854775807 else t.valid_to end)::text as row
  from {table} t where t.tenant = cairn.bound_tenant() and t.valid_from <= %(at)s
) r

-- name: types : of a table's columns
select a.attname::text, format_type(a.atttypid, null)
from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace
where n.nspname = %(schema)s and c.relname = %(table)s and a.attnum > 0 and not a.attisdropped
