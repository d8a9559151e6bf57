-- What records add up to, from sums alone, and the days between which they lie, each from the first entry of an index.

-- name: figures : by two groups, of the baseline (`mine` false) and what a user's drafts make of it (`mine` true)
select s.of <> %(connection_id)s as mine, {by}, sum(s.records)::bigint as records, sum(s.actualised)::bigint as actualised,
  sum(s.discontinued)::bigint as discontinued, sum(s.plan_cost)::bigint as plan_cost,
  sum(s.plan_missing)::bigint as plan_missing, sum(s.forecast_cost)::bigint as forecast_cost,
  sum(s.forecast_missing)::bigint as forecast_missing, sum(s.actual_cost)::bigint as actual_cost,
  sum(s.actual_missing)::bigint as actual_missing, sum(s.remaining)::bigint as remaining
from {sums} s
group by 1, {by}

-- name: bounds : of each day the least and the most, of the baseline, of the records that the user did not draft on, and of
-- his drafts
select {bounds}

-- name: bound : of the mirror
(select r.{day} from pfa_records r
 where r.mirror_key = %(mirror_key)s and r.connection_id = %(connection_id)s and not r.removed and r.{day} is not null
   and r.valid_from <= %(at)s and r.valid_to >= %(at)s::bigint + 1
 order by r.{day} {way}, r.record_no {way} limit 1)

-- name: bound_of_undrafted : of what the user did not draft on
(select r.{day} from pfa_records r
 where r.mirror_key = %(mirror_key)s and r.connection_id = %(connection_id)s and not r.removed and r.{day} is not null
   and r.valid_from <= %(at)s and r.valid_to >= %(at)s::bigint + 1
   and not exists (
     select from pfa_drafts d where d.record_id = r.record_id and d.user_id = %(user_id)s
       and d.valid_from <= %(at)s and d.valid_to >= %(at)s::bigint + 1 offset 0
   )
 order by r.{day} {way}, r.record_no {way} limit 1)

-- name: bounds_then : the same from all the records that there were long ago, which were few
select {bounds} from (
  select r.*, exists (
    select from pfa_drafts d where d.record_id = r.record_id and d.user_id = %(user_id)s
      and d.valid_from <= %(at)s and d.valid_to >= %(at)s::bigint + 1 offset 0
  ) as drafted
  from pfa_records r
  where r.mirror_key = %(mirror_key)s and r.connection_id = %(connection_id)s and not r.removed
    and r.valid_from <= %(at)s and r.valid_to >= %(at)s::bigint + 1 and r.record_no < (%(at)s::bigint + 1) * 4096
) r

-- name: bound_of_drafts
(select d.{day} from pfa_drafts d
 where d.user_id = %(user_id)s and d.mirror_key = %(mirror_key)s and d.connection_id = %(connection_id)s and not d.removed
   and d.{day} is not null and d.valid_from <= %(at)s and d.valid_to >= %(at)s::bigint + 1
 order by d.{day} {way}, d.record_no {way} limit 1)

-- name: state : of a mirror, and of what a user drafted on it
select m.records, m.removed, coalesce(d.drafts, 0) as drafts, coalesce(d.behind, 0) as behind,
  coalesce(d.removed, 0) as drafts_removed, m.mapping_version, m.currency, m.run_id, m.run_mode, m.run_began_at,
  m.run_processed, m.last_synced_at, m.last_run_id
from pfa_mirrors m
left join pfa_drafters d on d.connection_id = m.connection_id and d.user_id = %(user_id)s
  and d.valid_from <= %(at)s and d.valid_to >= %(at)s::bigint + 1
where m.connection_id = %(connection_id)s and m.valid_from <= %(at)s and m.valid_to >= %(at)s::bigint + 1
