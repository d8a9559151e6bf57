-- name: members
select count(*) from access_members
where member_id = any (%(ids)s) and removed_at is null and valid_from <= %(at)s and valid_to > %(at)s

-- name: projects
select count(*) from project_list_projects
where project_id = any (%(ids)s) and deleted_at is null and valid_from <= %(at)s and valid_to > %(at)s

-- name: estimates
select count(*) from estimate_detail_estimates
where estimate_id = any (%(ids)s) and valid_from <= %(at)s and valid_to > %(at)s

-- name: lines
select count(*), coalesce(sum(l.quantity), 0), coalesce(sum(l.extension), 0)
from unnest(%(ids)s::uuid[], %(line_ids)s::uuid[]) as w (estimate_id, line_id)
join estimate_detail_lines l on l.estimate_id = w.estimate_id and l.line_id = w.line_id
  and l.valid_from <= %(at)s and l.valid_to > %(at)s

-- name: codes
select count(*)
from unnest(%(ids)s::uuid[], %(codes)s::text[]) as w (codeset_id, code)
join code_sets_codes c on c.codeset_id = w.codeset_id and c.code = w.code
  and c.valid_from <= %(at)s and c.valid_to > %(at)s

-- name: prices
select count(*), coalesce(sum(p.unit_price), 0)
from unnest(%(ids)s::uuid[], %(codes)s::text[], %(units)s::text[], %(cost_types)s::text[])
  as w (pricebook_id, code, unit, cost_type)
join price_books_prices p on p.pricebook_id = w.pricebook_id and p.code = w.code and p.unit = w.unit
  and p.cost_type = w.cost_type and p.valid_from <= %(at)s and p.valid_to > %(at)s

-- name: connections
select count(*) from connections_connections
where connection_id = any (%(ids)s) and valid_from <= %(at)s and valid_to > %(at)s

-- name: mappings : fields of the mappings that hold
select count(*), coalesce(sum(jsonb_array_length(m.mapping -> 'fields')), 0)
from connections_connections c
join connections_mappings m on m.connection_id = c.connection_id and m.version = c.mapping_version
where c.connection_id = any (%(ids)s) and c.valid_from <= %(at)s and c.valid_to > %(at)s

-- name: mapping_fields
select coalesce(sum(jsonb_array_length(m.mapping -> 'fields')), 0)
from connections_connections c
join connections_mappings m on m.connection_id = c.connection_id and m.version = c.mapping_version
where c.connection_id = any (%(ids)s) and c.valid_from <= %(at)s and c.valid_to > %(at)s
