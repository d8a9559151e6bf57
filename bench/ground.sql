-- name: sizes
select pg_table_size(t.oid)::float8 / n.rows, pg_indexes_size(t.oid)::float8 / n.rows
from (select %(table)s::regclass::oid as oid) t, (select greatest(count(*), 1) as rows from cairn.events) n

-- name: average_bytes
select avg(octet_length(payload))::float8, avg(octet_length(metadata))::float8, count(*) from cairn.events
