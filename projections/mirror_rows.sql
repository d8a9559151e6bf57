-- What a sync asks of the mirror, of the rows of `pfa`.

-- name: differing : which of these records the mirror does not have just so, and how it has them
select w.place, r.record_id is not null as known, coalesce(r.removed, false) as removed,
  r.digest is not distinct from w.digest as same, coalesce(r.valid_from, 0) as since, r.upstream_version
from unnest(%(record_ids)s::uuid[], %(digests)s::uuid[], %(versions)s::text[])
  with ordinality as w (record_id, digest, version, place)
left join pfa_records r on r.record_id = w.record_id and r.valid_from <= %(at)s and r.valid_to > %(at)s
where r.record_id is null or r.removed or r.digest <> w.digest
  or (w.version is not null and r.upstream_version is distinct from w.version)

-- name: living : those of these records that are not gone
select record_id from pfa_records
where record_id = any (%(record_ids)s) and not removed and valid_from <= %(at)s and valid_to > %(at)s

-- name: present : a page of what a mirror has that is not gone, those after a number
select record_no, record_id from pfa_records
where mirror_key = %(mirror_key)s and connection_id = %(connection_id)s and record_no > %(after)s and not removed
  and valid_from <= %(at)s and valid_to > %(at)s
order by record_no
limit %(limit)s
