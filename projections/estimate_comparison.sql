-- name: lines_by_line : pairs of lines of one id that are not alike, and lines that are in one version only
select a.line_id, b.line_id,
  a.quantity, a.unit, a.unit_price, a.extension, a.submitted, a.pricing,
  b.quantity, b.unit, b.unit_price, b.extension, b.submitted, b.pricing
from (
  select l.* from estimate_detail_lines l
  where l.estimate_id = %(was)s and l.valid_from <= %(at)s and l.valid_to > %(at)s
) a
full join (
  select l.* from estimate_detail_lines l
  where l.estimate_id = %(now)s and l.valid_from <= %(at)s and l.valid_to > %(at)s
) b on b.line_id = a.line_id
where a.line_id is null or b.line_id is null or (
  a.wbs_path, a.description, a.quantity, a.unit, a.unit_price, a.extension, a.submitted, a.code, a.code_set,
    a.code_edition, a.cost_type, a.note, a.quote_reference, a.firmness, a.pricing, a.conversion
) is distinct from (
  b.wbs_path, b.description, b.quantity, b.unit, b.unit_price, b.extension, b.submitted, b.code, b.code_set,
    b.code_edition, b.cost_type, b.note, b.quote_reference, b.firmness, b.pricing, b.conversion
)
order by coalesce(b.ordinal, a.ordinal), coalesce(b.line_id, a.line_id)

-- name: lines_by_code : the same, the nth of a code (or description) and unit with the nth
select a.line_id, b.line_id,
  a.quantity, a.unit, a.unit_price, a.extension, a.submitted, a.pricing,
  b.quantity, b.unit, b.unit_price, b.extension, b.submitted, b.pricing
from (
  select l.*, coalesce(l.code, lower(l.description)) as called,
    row_number() over (partition by coalesce(l.code, lower(l.description)), l.unit order by l.ordinal) as nth
  from estimate_detail_lines l
  where l.estimate_id = %(was)s and l.valid_from <= %(at)s and l.valid_to > %(at)s
) a
full join (
  select l.*, coalesce(l.code, lower(l.description)) as called,
    row_number() over (partition by coalesce(l.code, lower(l.description)), l.unit order by l.ordinal) as nth
  from estimate_detail_lines l
  where l.estimate_id = %(now)s and l.valid_from <= %(at)s and l.valid_to > %(at)s
) b on b.called = a.called and b.unit = a.unit and b.nth = a.nth
where a.line_id is null or b.line_id is null or (
  a.wbs_path, a.description, a.quantity, a.unit, a.unit_price, a.extension, a.submitted, a.code, a.code_set,
    a.code_edition, a.cost_type, a.note, a.quote_reference, a.firmness, a.pricing, a.conversion
) is distinct from (
  b.wbs_path, b.description, b.quantity, b.unit, b.unit_price, b.extension, b.submitted, b.code, b.code_set,
    b.code_edition, b.cost_type, b.note, b.quote_reference, b.firmness, b.pricing, b.conversion
)
order by coalesce(b.ordinal, a.ordinal), coalesce(b.line_id, a.line_id)

-- name: total_changes : each version of the head in which a total moved, the newest first
select t.position, t.recorded_at, t.actor, t.stream_version, t.base_was, t.base_now, t.final_bid_was, t.final_bid_now,
  t.final_bid_now - t.final_bid_was as difference
from (
  select e.valid_from as position, e.updated_at as recorded_at, e.updated_by as actor, e.stream_version,
    lag(e.base_total, 1, 0::numeric) over w as base_was, e.base_total as base_now,
    lag(e.final_bid, 1, 0::numeric) over w as final_bid_was, e.final_bid as final_bid_now
  from estimate_detail_estimates e
  where e.estimate_id = %(estimate_id)s and e.valid_from <= %(at)s and e.valid_to > %(since)s
  window w as (order by e.valid_from)
) t
where t.position > %(since)s and (t.base_was <> t.base_now or t.final_bid_was <> t.final_bid_now)
order by t.position desc
limit %(limit)s

-- name: total_changes_by_actor : the same, added up
select t.actor, count(*)::integer as changes, sum(t.final_bid_now - t.final_bid_was) as difference
from (
  select e.valid_from as position, e.updated_by as actor,
    lag(e.base_total, 1, 0::numeric) over w as base_was, e.base_total as base_now,
    lag(e.final_bid, 1, 0::numeric) over w as final_bid_was, e.final_bid as final_bid_now
  from estimate_detail_estimates e
  where e.estimate_id = %(estimate_id)s and e.valid_from <= %(at)s and e.valid_to > %(since)s
  window w as (order by e.valid_from)
) t
where t.position > %(since)s and (t.base_was <> t.base_now or t.final_bid_was <> t.final_bid_now)
group by t.actor
order by abs(sum(t.final_bid_now - t.final_bid_was)) desc, t.actor

-- name: lines : some of a version's lines, in full
select estimate_id, line_id, ordinal, wbs_path, description, quantity, unit, unit_price, extension, submitted, code,
  code_set, code_edition, cost_type, note, quote_reference, firmness, pricing, conversion, updated_at
from estimate_detail_lines
where estimate_id = %(estimate_id)s and line_id = any (%(line_ids)s)
  and valid_from <= %(at)s and valid_to > %(at)s
