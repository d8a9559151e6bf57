-- Pages of records as a user sees them: those of the mirror that he did not draft on, and his drafts. {braces} are
-- filled with names of columns and with the conditions of `pfa_records.py`, never with values. `valid_to > at` is written so
-- that it leaves out the past when it is not asked for.

-- name: page
select * from ({parts}) as p order by {order} limit %(limit)s

-- name: mirrored : each record's draft by itself: a join could be planned to read all of them
select r.record_id, r.record_no, r.connection_id, r.identity, r.ordinal, r.upstream_version, {fields}, r.others, r.absent,
  r.removed, null::jsonb as drafted, null::jsonb as behind, null::text as base_version, null::bigint as base_position,
  null::bigint as modified_position, null::timestamptz as modified_at, null::jsonb as computed
from {records} r
where r.mirror_key = %(mirror_key)s and r.connection_id = %(connection_id)s and {removed}
  and r.valid_from <= %(at)s and r.valid_to >= %(at)s::bigint + 1 and {conditions}
  and not exists (
    select from pfa_drafts d where d.record_id = r.record_id and d.user_id = %(user_id)s
      and d.valid_from <= %(at)s and d.valid_to >= %(at)s::bigint + 1 offset 0
  )

-- name: drafted
select d.record_id, d.record_no, d.connection_id, d.identity, r.ordinal, r.upstream_version, {fields}, r.others, r.absent,
  d.removed, d.drafted, d.behind, d.base_version, d.base_position, d.modified_position, d.modified_at, d.computed
from (
  select r.* from {drafts} r
  where r.user_id = %(user_id)s and r.mirror_key = %(mirror_key)s and r.connection_id = %(connection_id)s and {removed}
    and r.valid_from <= %(at)s and r.valid_to >= %(at)s::bigint + 1 and {conditions}
  order by {order} {limited}
) d
cross join lateral (
  select r.ordinal, r.upstream_version, r.others, r.absent from pfa_records r
  where r.record_id = d.record_id and r.valid_from <= %(at)s and r.valid_to >= %(at)s::bigint + 1 limit 1
) r

-- name: ordered : in the order of an index, as far as it takes
({part} order by {order} limit %(limit)s)

-- name: gathered : the keys of all that match, in order, and of those the first that the user did not draft on, whole
(select r.record_id, r.record_no, r.connection_id, r.identity, r.ordinal, r.upstream_version, {fields}, r.others, r.absent,
  r.removed, null::jsonb as drafted, null::jsonb as behind, null::text as base_version, null::bigint as base_position,
  null::bigint as modified_position, null::timestamptz as modified_at, null::jsonb as computed
from (
  select k.record_id from (
    select r.record_id from {records} r
    where r.mirror_key = %(mirror_key)s and r.connection_id = %(connection_id)s and {removed}
      and r.valid_from <= %(at)s and r.valid_to >= %(at)s::bigint + 1 and {conditions}
    order by {order} offset 0
  ) k
  where not exists (
    select from pfa_drafts d where d.record_id = k.record_id and d.user_id = %(user_id)s
      and d.valid_from <= %(at)s and d.valid_to >= %(at)s::bigint + 1 offset 0
  )
  limit %(limit)s
) k
cross join lateral (
  select r.* from pfa_records r
  where r.record_id = k.record_id and r.valid_from <= %(at)s and r.valid_to >= %(at)s::bigint + 1 limit 1
) r)

-- name: sums : of the baseline and of a user, by one axis, as they are now
(select * from pfa_sums s where s.of = any (array[%(connection_id)s, %(drafts_id)s]::uuid[]) and s.axis = {axis}
   and s.valid_from <= %(at)s and s.valid_to >= %(at)s::bigint + 1)

-- name: sums_then : as they were: from key to key, and of each key the version that held, whatever versions there are
(with recursive k as (
  select f.* from unnest(array[%(connection_id)s, %(drafts_id)s]::uuid[]) as o (of)
  cross join lateral (
    select s.of, s.first, s.second, s.third from pfa_sums s where s.of = o.of and s.axis = {axis}
    order by s.first, s.second, s.third limit 1
  ) f
  union all
  select n.* from k cross join lateral (
    select s.of, s.first, s.second, s.third from pfa_sums s
    where s.of = k.of and s.axis = {axis} and (s.first, s.second, s.third) > (k.first, k.second, k.third)
    order by s.first, s.second, s.third limit 1
  ) n
)
select s.* from k cross join lateral (
  select s.* from pfa_sums s
  where s.of = k.of and s.axis = {axis} and s.first = k.first and s.second = k.second and s.third = k.third
    and s.valid_to >= %(at)s::bigint + 1 and s.valid_from <= %(at)s
  order by s.valid_to limit 1
) s)

-- name: existed : how many records a mirror knew at a position
select m.records + m.removed from pfa_mirrors m
where m.connection_id = %(connection_id)s and m.valid_from <= %(at)s and m.valid_to >= %(at)s::bigint + 1

-- name: alone : what takes milliseconds does not wait for parallel workers to begin
select set_config('max_parallel_workers_per_gather', '0', true)

-- name: once : the same, and one plan whatever the values: each condition names the one index that serves it
select set_config('max_parallel_workers_per_gather', '0', true), set_config('plan_cache_mode', 'force_generic_plan', true)

-- name: by_order : for pages in the order of an index, and what is found by a key: planned once, whatever the values
select set_config('max_parallel_workers_per_gather', '0', true), set_config('plan_cache_mode', 'force_generic_plan', true),
  set_config('enable_sort', 'off', true), set_config('enable_incremental_sort', 'off', true),
  set_config('enable_bitmapscan', 'off', true), set_config('enable_seqscan', 'off', true)

-- name: counted : how many records some conditions mean, each counted up to a limit
select {counts}

-- name: count
(select count(*) from (
  select from {records} r
  where r.mirror_key = %(mirror_key)s and r.connection_id = %(connection_id)s and not r.removed
    and r.valid_from <= %(at)s and r.valid_to >= %(at)s::bigint + 1 and {condition} limit {limit}
) c)

-- name: count_of_group : the same from the sums: how many are in any of these groups, now
(select coalesce(sum(s.records), 0)::bigint from pfa_sums s
 where s.of = %(connection_id)s and s.axis = {axis} and {column} = any ({values}) and s.valid_to = 9223372036854775807)

-- name: looked : of the first records in the order they came, which have what is searched for
select count(*) from (
  select * from pfa_records r
  where r.mirror_key = %(mirror_key)s and r.connection_id = %(connection_id)s and not r.removed
    and r.valid_from <= %(at)s and r.valid_to >= %(at)s::bigint + 1 and {conditions}
  order by r.record_no limit 500
) r
where {looked}

-- name: groups : those that a user's view has, each with its number of records
select {column}, sum(s.records)::bigint from {sums} s group by 1 having sum(s.records) > 0

-- name: drafted_of : whether all that was recorded of a mirror is shown, which state that is, and of some records those
-- that a user drafted on
select p.position is not null and coalesce(m.position, 0) <= p.position and not exists (
    select from cairn.parked k where k.tenant = cairn.bound_tenant() and k.model = %(model)s
  ), h.epoch, (select b.build from cairn.builds b where b.model = %(model)s and b.state = 'live'), m.position, array(
    select d.record_id from pfa_drafts d
    where d.record_id = any (%(record_ids)s::uuid[]) and d.user_id = %(user_id)s and d.valid_to = 9223372036854775807
  )
from (select cairn.bound_tenant() as tenant) t
left join cairn.heads h on h.tenant = t.tenant
left join pfa_position p on true
left join lateral (
  select e.position from cairn.events e
  where e.tenant = t.tenant and e.stream_id = %(mirror_id)s order by e.stream_version desc limit 1
) m on true

-- name: matching : every record that is meant, up to a limit
select * from ({parts}) as p limit %(limit)s

-- name: total : how many records are meant
select count(*) from ({parts}) as p

-- name: total_of_groups : the same where groups alone say which are meant
select coalesce(sum(s.records), 0)::bigint from {sums} s where {conditions}

-- name: terms : the names of a connection's other fields, and the reasons of absence
select t.connection_id, t.fields, t.reasons from pfa_terms t
where t.connection_id = %(connection_id)s and t.valid_from <= %(at)s and t.valid_to >= %(at)s::bigint + 1

-- name: records : some records of the mirror, as they stood at a position
select {columns}, r.valid_from as since from unnest(%(record_ids)s::uuid[]) as k (record_id)
cross join lateral (
  select r.* from pfa_records r
  where r.record_id = k.record_id and r.valid_from <= %(at)s and r.valid_to >= %(at)s::bigint + 1 limit 1
) r
where r.connection_id = %(connection_id)s

-- name: draft : what a user drafted on a record
select {columns} from pfa_drafts d
where d.record_id = %(record_id)s and d.user_id = %(user_id)s and d.connection_id = %(connection_id)s
  and d.valid_from <= %(at)s and d.valid_to >= %(at)s::bigint + 1

-- name: versions : of a record, the latest first
select {columns}, r.valid_from as since from pfa_records r
where r.record_id = %(record_id)s and r.connection_id = %(connection_id)s
  and r.valid_from <= %(at)s and r.valid_from < %(before)s
order by r.valid_from desc limit %(limit)s

-- name: recorded : when events were
select e.position, e.recorded_at from cairn.events e
where e.tenant = cairn.bound_tenant() and e.position = any (%(positions)s::bigint[])

-- name: look_for : what the tables of a build's own show from here on
select set_config('cairn.search', %(search)s, true)

-- name: now_and_past : of a table of a build's own
(select * from {now} union all select * from {past})

-- name: live_schema : of a model
select b.schema_name from cairn.builds b where b.model = %(model)s and b.state = 'live'
